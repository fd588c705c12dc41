package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// globalName is the name in the certificate of the global control plane. Each component has a
// different name, so that no zone can pose as the global control plane.
const globalName = "global"

// zoneName is the name in the certificate of a zone control plane.
func zoneName(zone string) string { return "zone-" + zone }

// serverTLS loads a certificate and its key from one PEM file.
func serverTLS(file string) (credentials.TransportCredentials, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(pem, pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}), nil
}

// clientTLS trusts the certificates of a CA, for servers of one name.
func clientTLS(caFile, name string) (credentials.TransportCredentials, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: the file has no certificate", caFile)
	}
	return credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS13}), nil
}

// dial returns a connection that notices when the server is gone.
func dial(address string, creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(creds),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingInterval, Timeout: pingInterval}))
}
