package signing

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/meshpass/meshpass/token"
)

// maxEncodedSize is the maximum size of an encoded key, in bytes. A private key
// of MaxBits takes 6,400 as PEM; the rest is room for white space.
const maxEncodedSize = 16 << 10

const pemBegin = "-----BEGIN "

// contents says what an encoding holds, in words for an error.
type contents string

const (
	pkcs1PrivateKey contents = "an RSA private key (PKCS#1)" // RFC 8017, appendix A.1.2
	pkcs1PublicKey  contents = "an RSA public key (PKCS#1)"  // RFC 8017, appendix A.1.1
	pkcs8PrivateKey contents = "a private key (PKCS#8)"      // RFC 5208, section 5
	pkixPublicKey   contents = "a public key (PKIX)"         // RFC 5280, section 4.1
	sec1PrivateKey  contents = "an EC private key"           // RFC 5915, section 3
	encryptedKey    contents = "an encrypted private key"    // RFC 5208, section 6
	certificate     contents = "a certificate"               // RFC 5280, section 4.1
)

// private reports whether c must be kept secret.
func (c contents) private() bool {
	return c == pkcs1PrivateKey || c == pkcs8PrivateKey || c == sec1PrivateKey || c == encryptedKey
}

// pemTypes holds the labels of PEM blocks that users confuse (RFC 7468). The
// first four are supported.
var pemTypes = map[string]contents{
	"RSA PRIVATE KEY":       pkcs1PrivateKey,
	"PRIVATE KEY":           pkcs8PrivateKey,
	"RSA PUBLIC KEY":        pkcs1PublicKey,
	"PUBLIC KEY":            pkixPublicKey,
	"EC PRIVATE KEY":        sec1PrivateKey,
	"ENCRYPTED PRIVATE KEY": encryptedKey,
	"CERTIFICATE":           certificate,
}

// open returns the DER encoding in data: raw DER, or one PEM block with nothing
// but a byte order mark and white space around it. It identifies the content by label and shape only:
// the key in it may still be unusable.
func open(data []byte, wanted string) (what contents, der []byte, inPEM bool, err error) {
	text, err := token.PlainText(data)
	switch {
	case err != nil:
		return "", nil, false, unusable("UTF-16 or UTF-32 (save it as UTF-8)", wanted)
	case len(text) == 0:
		return "", nil, false, unusable("nothing", wanted)
	case len(data) > maxEncodedSize:
		return "", nil, false, unusable(fmt.Sprintf("%d bytes, which is more than any key takes", len(data)), wanted)
	case bytes.HasPrefix(text, []byte(pemBegin)):
		what, der, err = openPEM(text, wanted)
		return what, der, true, err
	case bytes.Contains(text, []byte(pemBegin)):
		return "", nil, false, unusable("text before the PEM block", wanted)
	}
	what, fault := inspect(data)
	if fault != "" {
		return "", nil, false, unusable("no PEM block, but "+fault, wanted)
	}
	return what, data, false, nil
}

func openPEM(text []byte, wanted string) (contents, []byte, error) {
	if bytes.Count(text, []byte(pemBegin)) > 1 {
		return "", nil, unusable("more than one PEM block", wanted)
	}
	block, rest := pem.Decode(text)
	if block == nil {
		return "", nil, unusable("a damaged PEM block (check its line breaks and its last line)", wanted)
	}
	if len(rest) > 0 {
		return "", nil, unusable("extra content after the PEM block", wanted)
	}
	labelled, known := pemTypes[block.Type]
	if !known {
		return "", nil, unusable("a PEM block of "+describePEMType(block.Type), wanted)
	}
	if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return encryptedKey, block.Bytes, nil // RFC 1421, section 4.6.1.1
	}
	if len(block.Headers) > 0 {
		return "", nil, unusable("a PEM block with headers", wanted)
	}
	if labelled == sec1PrivateKey || labelled == encryptedKey || labelled == certificate {
		return labelled, nil, nil // the caller rejects it by its label
	}
	what, fault := inspect(block.Bytes)
	if fault != "" {
		return "", nil, unusable(fmt.Sprintf("a damaged PEM block of type %q: %s", block.Type, fault), wanted)
	}
	if what != labelled {
		return "", nil, unusable(fmt.Sprintf("a PEM block of type %q that holds %s", block.Type, what), wanted)
	}
	return what, block.Bytes, nil
}

// describePEMType quotes a label only if it looks like one: the label of a
// malformed block may be secret content.
func describePEMType(label string) string {
	if label == "" || len(label) > 64 || strings.Trim(label, "ABCDEFGHIJKLMNOPQRSTUVWXYZ ") != "" {
		return "an unknown type"
	}
	return fmt.Sprintf("type %q", label)
}

// inspect identifies the content of der by the elements of its outermost
// SEQUENCE, or returns the fault.
func inspect(der []byte) (what contents, fault string) {
	var elements []asn1.RawValue
	rest, err := asn1.Unmarshal(der, &elements)
	if err != nil {
		return "", "bytes that are not DER"
	}
	if len(rest) > 0 {
		return "", fmt.Sprintf("%d bytes after the end of the DER encoding", len(rest))
	}
	var shape []byte
	for _, element := range elements[:min(len(elements), 4)] {
		letter := byte('?')
		switch {
		case element.Class != asn1.ClassUniversal:
		case element.Tag == asn1.TagInteger:
			letter = 'i'
		case element.Tag == asn1.TagSequence:
			letter = 's'
		case element.Tag == asn1.TagOctetString:
			letter = 'o'
		case element.Tag == asn1.TagBitString:
			letter = 'b'
		}
		shape = append(shape, letter)
	}
	switch s := string(shape); {
	case s == "iiii":
		return pkcs1PrivateKey, ""
	case s == "ii":
		return pkcs1PublicKey, ""
	case strings.HasPrefix(s, "iso"):
		return pkcs8PrivateKey, ""
	case s == "sb":
		return pkixPublicKey, ""
	case strings.HasPrefix(s, "io"):
		return sec1PrivateKey, ""
	case s == "so":
		return encryptedKey, ""
	case s == "ssb":
		return certificate, ""
	}
	return "", "DER that is not a key"
}

// oidRSA is the algorithm of the supported PKCS#8 and PKIX keys (RFC 8017,
// appendix A.1).
var oidRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}

// otherAlgorithms names the algorithms of common unsupported keys.
var otherAlgorithms = map[string]string{
	"1.2.840.10045.2.1":     "EC",      // RFC 5480, section 2.1.1
	"1.3.101.112":           "Ed25519", // RFC 8410, section 3
	"1.2.840.113549.1.1.10": "RSA-PSS", // RFC 4055, section 3.1
}

func describeAlgorithm(oid asn1.ObjectIdentifier) string {
	if name, known := otherAlgorithms[oid.String()]; known {
		return "of algorithm " + name
	}
	return "of an algorithm other than RSA"
}
