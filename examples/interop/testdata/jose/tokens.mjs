// Reads a JSON object from its standard input:
//
//   kid         the key's id
//   privateKey  PEM, PKCS#8
//   publicKey   PEM, PKIX (which jose calls SPKI)
//   sign        payloads to sign
//   verify      tokens to check
//
// and writes one to its standard output, with a result for each:
//
//   signed      tokens
//   verified    {"payload": ..., "header": ...} or {"error": the code}
import { createLocalJWKSet, exportJWK, importPKCS8, importSPKI, jwtVerify, SignJWT } from 'jose'

let input = ''
for await (const chunk of process.stdin) input += chunk
const { kid, privateKey, publicKey, sign, verify } = JSON.parse(input)

const signingKey = await importPKCS8(privateKey, 'RS256')
const jwk = await exportJWK(await importSPKI(publicKey, 'RS256', { extractable: true }))
const keys = createLocalJWKSet({ keys: [{ ...jwk, kid, alg: 'RS256', use: 'sig' }] })

const signed = []
for (const payload of sign) {
  signed.push(await new SignJWT(payload).setProtectedHeader({ alg: 'RS256', kid, typ: 'JWT' }).sign(signingKey))
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
console.log(JSON.stringify({ signed, verified }))
