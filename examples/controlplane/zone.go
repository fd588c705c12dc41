package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/metrics/prommetrics"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/zone"
)

// runZone runs a zone control plane. It admits the proxies of its zone with tokens of the
// global control plane, and with tokens that it issues itself.
func runZone(ctx context.Context, flags *flag.FlagSet, args []string, log *slog.Logger) error {
	folder := flags.String("dir", "", "`folder` of the control plane: store holds what the global one sent, own-keys the zone's keys, admin.sock serves the operator")
	name := flags.String("name", "", "name of the zone")
	mesh := flags.String("mesh", "default", "mesh of the zone's proxies")
	listen := flags.String("listen", "127.0.0.1:0", "`address` to serve proxies on")
	metrics := flags.String("metrics", "127.0.0.1:0", "`address` to serve /metrics on")
	certificate := flags.String("cert", "", "`file` with the certificate and its key, PEM")
	global := flags.String("global", "", "`address` of the global control plane")
	ca := flags.String("ca", "", "`file` with the certificate of the CA that signed the global control plane's certificate, PEM")
	tokenFile := flags.String("token-file", "", "`file` with the zone token, read again when it changes; it need not exist yet")
	configFile := flags.String("config", "", "`file` with the settings dpServer.authn.dpProxy, in the JSON of package config: how proxies authenticate")
	if err := parse(flags, args, "dir", "name", "cert", "global", "ca"); err != nil {
		return err
	}
	settings, err := readConfig(*configFile)
	if err != nil {
		return err
	}
	settings.LogReadings(log)
	creds, err := serverTLS(*certificate)
	if err != nil {
		return err
	}
	globalCreds, err := clientTLS(*ca, globalName)
	if err != nil {
		return err
	}
	store, err := dir.Open(filepath.Join(*folder, "store"))
	if err != nil {
		return err
	}
	own, err := dir.Open(filepath.Join(*folder, "own-keys"))
	if err != nil {
		return err
	}
	issuer, ownKeys, err := ownIssuer(ctx, own, *name, *mesh, settings.DPServer.Authn.DPProxy.DPToken.EnableIssuer)
	if err != nil {
		return err
	}
	noZones, err := zone.NewDisabledIssuer()
	if err != nil {
		return err
	}
	registry, observed := prometheus.NewRegistry(), prommetrics.New()
	registry.MustRegister(observed)
	proxies, err := settings.NewProxyAuthenticator(store, config.WithLogger(log), config.WithObserver(observed), config.WithValidatorOptions(ownKeys...))
	if err != nil {
		return err
	}
	defer proxies.Close()
	var use []httpapi.Option
	if proxies.Validator != nil {
		use = append(use, httpapi.WithDataplaneValidators(proxies.Validator))
	}
	admin, err := newAdmin(store, issuer, noZones, authorizeInZone, log, use...)
	if err != nil {
		return err
	}
	if proxies.Validator != nil { // there is none for the type none
		admin.Handle("GET /usage", reportUsage(proxies.Validator))
	}
	client := &globalClient{zone: *name, address: *global, creds: globalCreds, tokenFile: *tokenFile, store: store, log: log}
	registerContact(registry, client)

	guards, err := xdsauth.ServerOptions(proxies, xdsauth.WithLogger(log))
	if err != nil {
		return err
	}
	server := grpc.NewServer(serverOptions(creds, guards)...)
	if err := registerADS(ctx, server, *mesh, log); err != nil {
		return err
	}
	return runAll(ctx, client.run, func(ctx context.Context) error {
		return serve(ctx, addresses{*folder, *listen, *metrics}, server, admin, registry, log)
	})
}

// readConfig reads a configuration from a file and from the environment. Without a file it
// uses the environment and the defaults.
func readConfig(file string) (config.Config, error) {
	var document []byte
	if file != "" {
		var err error
		if document, err = os.ReadFile(file); err != nil {
			return config.Config{}, err
		}
	}
	return config.Read(document, os.LookupEnv)
}

// ownIssuer returns the issuer of a zone's own tokens, and the options with which the zone's
// validator accepts them. The keys are in a separate store, which the global control plane
// does not govern. Their kids are ZONE-SERIAL, which no global key can have. A zone whose
// issuer is not enabled issues and accepts no such tokens.
func ownIssuer(ctx context.Context, own keystore.KeyStore, zone, mesh string, enabled bool) (dataplane.Issuer, []dataplane.ValidatorOption, error) {
	if !enabled {
		issuer, err := dataplane.NewDisabledIssuer()
		return issuer, nil, err
	}
	if _, err := dataplane.EnsureKey(ctx, own, mesh); err != nil {
		return nil, nil, err
	}
	series := signing.DataplaneKeys(mesh)
	records, err := own.List(ctx, series.Scope(), series.KeyName(0))
	if err != nil {
		return nil, nil, err
	}
	latest, serial, err := series.Signing(records, nil, time.Time{})
	if err != nil {
		return nil, nil, err
	}
	private, err := signing.ParsePrivateKey(latest.Data)
	if err != nil {
		return nil, nil, err
	}
	kid := func(serial signing.Serial) string { return zone + "-" + serial.KeyID() }
	issuer, err := dataplane.NewOfflineIssuer(private, kid(serial))
	if err != nil {
		return nil, nil, err
	}
	var options []dataplane.ValidatorOption
	for _, key := range series.PublicSet(records, nil, nil).Keys() {
		if key.Err != nil {
			return nil, nil, key.Err
		}
		options = append(options, dataplane.WithPublicKey(mesh, kid(key.Serial), key.Public))
	}
	return issuer, options, nil
}

// registerContact exports whether the zone has contact with the global control plane. The
// staleness of the validator does not show that: it is about the zone's own store.
func registerContact(registry prometheus.Registerer, client *globalClient) {
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "controlplane_global_connected",
			Help: "1 while there is a stream from the global control plane.",
		}, func() float64 {
			if client.connected.Load() {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "controlplane_global_staleness_seconds",
			Help: "How long there has been no stream from the global control plane.",
		}, func() float64 { return client.staleness(time.Now()).Seconds() }),
	)
}
