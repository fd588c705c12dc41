// Package selfmade makes a folder to try the control plane with, on this machine alone.
package selfmade

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// files has the settings of the control plane, a configuration of a service "backend", and
// the bootstrap file of a gRPC client that gets it. They are for the addresses of the hint.
//
//go:embed settings.yaml backend.json bootstrap.json
var files embed.FS

const hint = `The folder is %[1]s. It stays: "go run ./examples/minimal %[1]s" uses it again.
Try, in another shell:

  cd %[1]s
  curl -K curl https://127.0.0.1:5681/tokens/dataplane -d '{"mesh": "default", "name": "client-1", "validFor": "24h"}' -o token
  curl -K curl https://127.0.0.1:5681/configuration -T backend.json
  curl -K curl https://127.0.0.1:5681/metrics

`

// Folder returns the folder that the arguments of a program name. Without one it makes a
// folder and prints what to try.
func Folder(args []string) (string, error) {
	switch len(args) {
	case 0:
	case 1:
		return args[0], nil
	default:
		return "", errors.New("want one folder at most")
	}
	folder, err := os.MkdirTemp("", "minimal-")
	if err != nil {
		return "", err
	}
	fmt.Printf(hint, folder)
	return folder, Fill(folder)
}

// Fill writes what the control plane reads into a folder, and what its clients need: of
// those, curl says how to reach the admin API. The certificate is good for a day, for this
// machine alone.
func Fill(folder string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: "minimal"},
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:                  true, // the clients trust it as its own authority
		BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	secret := rand.Text()
	curl := fmt.Sprintf("cacert = \"certificate.pem\"\nheader = \"Authorization: Bearer %s\"\nheader = \"Content-Type: application/json\"\nfail-with-body\n", secret)
	if err := os.CopyFS(folder, files); err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"certificate.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		"key.pem":         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"admin.secret":    []byte(secret + "\n"),
		"curl":            []byte(curl),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
