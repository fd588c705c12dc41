package main

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/metrics/prommetrics"
	"github.com/meshpass/meshpass/zone"
)

// runGlobal runs a global control plane. It has the signing keys, issues tokens with them, and
// streams the public keys and the revocation lists to zones, which validate tokens themselves.
func runGlobal(ctx context.Context, flags *flag.FlagSet, args []string, log *slog.Logger) error {
	folder := flags.String("dir", "", "`folder` of the control plane: store holds the keys, admin.sock serves the operator")
	listen := flags.String("listen", "127.0.0.1:0", "`address` to serve zones on")
	metrics := flags.String("metrics", "127.0.0.1:0", "`address` to serve /metrics on")
	certificate := flags.String("cert", "", "`file` with the certificate and its key, PEM")
	mesh := flags.String("mesh", "default", "mesh to make a first signing key for")
	authType := flags.String("zone-authentication", authCPToken, "none or cpToken; PUT /zone-authentication turns it on at run time")
	publishDelay := flags.Duration("publish-delay", 0, "how old a new key must be before it signs")
	if err := parse(flags, args, "dir", "cert"); err != nil {
		return err
	}
	creds, err := serverTLS(*certificate)
	if err != nil {
		return err
	}
	store, err := dir.Open(filepath.Join(*folder, "store"))
	if err != nil {
		return err
	}
	if _, err := dataplane.EnsureKey(ctx, store, *mesh); err != nil {
		return err
	}
	if _, err := zone.EnsureKey(ctx, store); err != nil {
		return err
	}
	dataplanes, err := dataplane.NewIssuer(store, dataplane.WithPublishDelay(*publishDelay))
	if err != nil {
		return err
	}
	zones, err := zone.NewIssuer(store, zone.WithPublishDelay(*publishDelay))
	if err != nil {
		return err
	}
	registry, observed := prometheus.NewRegistry(), prommetrics.New()
	registry.MustRegister(observed)
	validator, err := zone.NewValidator(store, zone.WithLogger(log), zone.WithObserver(observed))
	if err != nil {
		return err
	}
	defer validator.Close()

	auth, err := newZoneAuthentication(*authType, validator, log)
	if err != nil {
		return err
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "controlplane_zone_streams_without_token",
		Help: "Open streams of zones that have no token. Turn on zone authentication when there are none.",
	}, func() float64 { return float64(auth.open()) }))

	guards, err := grpcauth.ServerOptions(auth.authenticate, grpcauth.WithLogger(log))
	if err != nil {
		return err
	}
	published := newPublisher(store, log)
	server := grpc.NewServer(serverOptions(creds, guards)...)
	server.RegisterService(&zoneSyncDesc, &globalServer{published, log})

	admin, err := newAdmin(store, dataplanes, zones, authorizeAll, log,
		httpapi.WithZoneValidators(validator), httpapi.WithPublishDelay(*publishDelay))
	if err != nil {
		return err
	}
	admin.HandleFunc("PUT /zone-authentication", func(w http.ResponseWriter, r *http.Request) {
		kind, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(len(authCPToken))))
		if err != nil || string(kind) != authCPToken {
			http.Error(w, "want "+authCPToken, http.StatusBadRequest)
			return
		}
		auth.turnOn()
	})
	return runAll(ctx, published.run, func(ctx context.Context) error {
		return serve(ctx, addresses{*folder, *listen, *metrics}, server, admin, registry, log)
	})
}

// globalServer serves zones.
type globalServer struct {
	published *publisher
	log       *slog.Logger
}

// snapshots implements zoneSyncServer.
func (s *globalServer) snapshots(stream snapshotServer) error {
	if err := logZone(stream.Context(), s.log); err != nil {
		return err
	}
	return sendSnapshots(s.published, stream)
}
