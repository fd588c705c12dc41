package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/meshpass/meshpass/keystore/etcd"
)

func (a *app) openEtcd(ctx context.Context, u storeURL) (*openedStore, error) {
	if err := u.allow("cacert", "cert", "key", "password-file", "tls"); err != nil {
		return nil, err
	}
	if u.hosts == "" {
		return nil, usagef("the URL of the store names no member of etcd, want one such as etcd://localhost:2379")
	}
	config := clientv3.Config{Username: u.user, Password: u.password}
	scheme := "https://"
	switch u.query.Get("tls") {
	case "":
		config.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if err := a.etcdCertificates(u, config.TLS); err != nil {
			return nil, err
		}
	case "off":
		if u.query.Has("cacert") || u.query.Has("cert") || u.query.Has("key") {
			return nil, usagef("the URL of the store has both tls=off and certificates, want one of them")
		}
		scheme = "http://"
	default:
		return nil, usagef("the URL of the store has an unknown value of tls, want off or no tls")
	}
	for host := range strings.SplitSeq(u.hosts, ",") {
		config.Endpoints = append(config.Endpoints, scheme+host)
	}
	if file := u.query.Get("password-file"); file != "" {
		password, err := a.readSecret(file)
		if err != nil {
			return nil, err
		}
		if _, err := plainText(file, password); err != nil {
			return nil, fmt.Errorf("password-file of the store's URL: %w", err)
		}
		// Only a line end is no part of a password.
		config.Password = strings.TrimRight(strings.TrimPrefix(string(password), "\ufeff"), "\r\n")
	}
	if (config.Username == "") != (config.Password == "") {
		return nil, usagef("etcd needs both a user and a password, or neither: give etcd://USER@HOST:2379?password-file=FILE, or MESHPASS_STORE with both")
	}
	var options []etcd.Option
	if strings.Trim(u.path, "/") != "" {
		options = append(options, etcd.WithPrefix(u.path))
	}
	store, err := etcd.Open(ctx, config, options...)
	if err != nil {
		return nil, (&storeService{name: u.String(), timeout: a.timeout}).explain(err, owner{})
	}
	return &openedStore{store, u.String(), func() { _ = store.Close() }}, nil
}

func (a *app) etcdCertificates(u storeURL, config *tls.Config) error {
	if file := u.query.Get("cacert"); file != "" {
		roots, err := a.readRoots(file)
		if err != nil {
			return fmt.Errorf("cacert of the store's URL: %w", err)
		}
		config.RootCAs = roots
	}
	cert, key := u.query.Get("cert"), u.query.Get("key")
	if (cert == "") != (key == "") {
		return usagef("the URL of the store has only one of cert and key, want both or none")
	}
	if cert == "" {
		return nil
	}
	var texts [2][]byte
	for i, file := range []string{cert, key} {
		data, err := a.read(file)
		if err == nil {
			texts[i], err = plainText(file, data)
		}
		if err != nil {
			return fmt.Errorf("cert and key of the store's URL: %w", err)
		}
	}
	pair, err := tls.X509KeyPair(texts[0], texts[1])
	if err != nil {
		return advise(fmt.Errorf("cert and key of the store's URL: %w", err), "want PEM files")
	}
	config.Certificates = []tls.Certificate{pair}
	return nil
}
