// Reads a JSON object from its standard input:
//
//   kid         the key's id
//   privateKey  PEM, PKCS#8
//   publicKey   PEM, PKIX (which jose calls SPKI)
//   keySet      the JSON Web Key Set to check tokens with
//   sign        tokens to sign: {"payload": ..., "typ": ...}
//   verify      tokens to check
//
// and writes one to its standard output, with a result for each:
//
//   keySet      a JSON Web Key Set with the public key
//   signed      tokens
//   verified    {"payload": ..., "header": ...} or {"error": the code}
import { createLocalJWKSet, exportJWK, importPKCS8, importSPKI, jwtVerify, SignJWT } from 'jose'

let input = ''
for await (const chunk of process.stdin) input += chunk
const { kid, privateKey, publicKey, keySet, sign, verify } = JSON.parse(input)

const signingKey = await importPKCS8(privateKey, 'RS256')
const jwk = await exportJWK(await importSPKI(publicKey, 'RS256', { extractable: true }))
const keys = createLocalJWKSet(keySet)

const signed = []
for (const { payload, typ } of sign) {
  signed.push(await new SignJWT(payload).setProtectedHeader({ alg: 'RS256', kid, typ }).sign(signingKey))
}

const verified = []
for (const token of verify) {
  try {
    const { payload, protectedHeader } = await jwtVerify(token, keys, {
      algorithms: ['RS256'],
      typ: 'JWT',
      requiredClaims: ['exp'],
    })
    verified.push({ payload, header: protectedHeader })
  } catch (error) {
    verified.push({ error: error.code ?? String(error) })
  }
}
console.log(JSON.stringify({ keySet: { keys: [{ ...jwk, kid, alg: 'RS256', use: 'sig' }] }, signed, verified }))
