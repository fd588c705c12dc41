package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// runCertificates makes a certificate authority, and certificates of the global control plane
// and of zones.
func runCertificates(_ context.Context, flags *flag.FlagSet, args []string, _ *slog.Logger) error {
	dir := flags.String("dir", "", "`folder` for ca.pem, global.pem and zone-NAME.pem")
	zones := flags.String("zones", "", "`names` of the zones, separated by commas")
	if err := parse(flags, args, "dir", "zones"); err != nil {
		return err
	}
	names := []string{globalName}
	for zone := range strings.SplitSeq(*zones, ",") {
		names = append(names, zoneName(zone))
	}
	return newCertificates(*dir, names...)
}

// newCertificates writes the certificate of a new authority to ca.pem in a folder, and a
// certificate and its key to NAME.pem for each name.
func newCertificates(dir string, names ...string) error {
	ca, err := newAuthority(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ca.issue(name, filepath.Join(dir, name+".pem")); err != nil {
			return err
		}
	}
	return nil
}

// authority is a certificate authority for the life of the process: its key is only in
// memory.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newAuthority makes an authority, and writes its certificate to a file.
func newAuthority(file string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: "CA of the example"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{certificate, key}, writePEM(file, &pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue writes a certificate for a server and its key to a file.
func (a *authority) issue(name, file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file,
		&pem.Block{Type: "CERTIFICATE", Bytes: certificate},
		&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

func writePEM(file string, blocks ...*pem.Block) error {
	var text bytes.Buffer
	for _, block := range blocks {
		if err := pem.Encode(&text, block); err != nil {
			return err
		}
	}
	return os.WriteFile(file, text.Bytes(), 0o600)
}
