// Command minimal is a control plane of one's own: xDS for proxies and for zones, an admin API and
// metrics, over TLS, with keys that rotate. All is in a folder; without one it makes one to try.
package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3" // for PUT /configuration
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/examples/minimal/selfmade"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/metrics/prommetrics"
	"github.com/meshpass/meshpass/zone"
)

// settings is what settings.yaml in the folder says.
type settings struct {
	Listen, Admin string             // the addresses for proxies and zones, and for the administrator
	Mesh          string             // the name of the mesh
	Leeway        time.Duration      // how long after its exp a token is still good, since clocks differ
	Rotation      dataplane.Rotation // every, publishdelay and maxlifetime, for all keys and their tokens
	Auth          config.Config      // the settings that Kuma documents
}

func main() {
	check(os.Chdir(must(selfmade.Folder(os.Args[1:]))))
	s := settings{Auth: config.Default()}
	document := yaml.NewDecoder(must(os.Open("settings.yaml")))
	document.KnownFields(true)
	check(document.Decode(&s))
	check(s.Auth.ApplyEnvironment(os.LookupEnv))
	s.Auth.LogReadings(slog.Default())

	// The keys of the mesh and of zones: made once, then rotated.
	ctx, store := context.Background(), must(dir.Open("store"))
	must(dataplane.EnsureKey(ctx, store, s.Mesh))
	must(zone.EnsureKey(ctx, store))
	go func() { check(dataplane.Rotate(ctx, store, s.Mesh, s.Rotation)) }()
	go func() { check(zone.Rotate(ctx, store, zone.Rotation(s.Rotation))) }()

	// Who issues tokens, and who validates them. The metrics count what they do.
	delay, most, metrics := s.Rotation.PublishDelay, s.Rotation.MaxLifetime, prommetrics.New()
	forProxies := must(s.Auth.NewDataplaneIssuer(store,
		dataplane.WithPublishDelay(delay), dataplane.WithMaxLifetime(most), dataplane.WithObserver(metrics)))
	forZones := must(s.Auth.NewZoneIssuer(store, zone.WithPublishDelay(delay), zone.WithMaxLifetime(most), zone.WithObserver(metrics)))
	proxies := must(s.Auth.NewProxyAuthenticator(store,
		config.WithValidatorOptions(dataplane.WithLeeway(s.Leeway), dataplane.WithObserver(metrics))))
	zones := must(s.Auth.NewKDSValidator(store, zone.WithLeeway(s.Leeway), zone.WithObserver(metrics)))

	// gRPC: one configuration under two services, each with a guard of its own.
	snapshots := cache.NewSnapshotCache(false, everyone{}, nil)
	ads := xds.NewServer(ctx, snapshots, nil)
	ofProxies, ofZones := discovery.AggregatedDiscoveryService_ServiceDesc, discovery.AggregatedDiscoveryService_ServiceDesc
	ofZones.ServiceName = "minimal.ZoneDiscoveryService"
	guards := append(must(xdsauth.ServerOptions(proxies, xdsauth.WithServicesGuardedElsewhere(ofZones.ServiceName))),
		must(grpcauth.ServerOptions(grpcauth.Zone(zone.NewAuthenticator(zones), zone.ScopeCP),
			grpcauth.WithServicesGuardedElsewhere(ofProxies.ServiceName)))...)
	server := grpc.NewServer(append(guards, grpc.Creds(must(credentials.NewServerTLSFromFile("certificate.pem", "key.pem"))))...)
	server.RegisterService(&ofProxies, ads)
	server.RegisterService(&ofZones, ads)

	// HTTP: for one administrator, who has a secret.
	admin := http.NewServeMux()
	admin.Handle("/", must(httpapi.New(store, forProxies, forZones,
		func(*http.Request, httpapi.Request) (string, error) { return "admin", nil },
		httpapi.WithDataplaneValidators(proxies.Validator), httpapi.WithZoneValidators(zones), httpapi.WithPublishDelay(delay))))
	admin.HandleFunc("PUT /configuration", func(w http.ResponseWriter, r *http.Request) {
		if err := configure(snapshots, http.MaxBytesReader(w, r.Body, 1<<20)); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	prometheus.MustRegister(metrics)
	admin.Handle("GET /metrics", promhttp.Handler())
	secret := strings.TrimSpace(string(must(os.ReadFile("admin.secret"))))
	web := httpapi.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if secret != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+secret)) == 1 {
			admin.ServeHTTP(w, r)
		} else {
			http.Error(w, "wrong secret", http.StatusUnauthorized)
		}
	}))

	streams, requests := must(net.Listen("tcp", s.Listen)), must(net.Listen("tcp", s.Admin))
	slog.Info("serving", "listen", streams.Addr().String(), "admin", requests.Addr().String())
	go func() { check(web.ServeTLS(requests, "certificate.pem", "key.pem")) }()
	check(server.Serve(streams))
}

// configure replaces what proxies and zones get by the resources of a DiscoveryResponse in JSON.
func configure(snapshots cache.SnapshotCache, from io.Reader) error {
	var all discovery.DiscoveryResponse
	document, err := io.ReadAll(from)
	if err := errors.Join(err, protojson.Unmarshal(document, &all)); err != nil {
		return err
	}
	resources := map[string][]types.Resource{}
	for _, packed := range all.GetResources() {
		resource, err := packed.UnmarshalNew()
		if err != nil {
			return err
		}
		resources[packed.GetTypeUrl()] = append(resources[packed.GetTypeUrl()], resource)
	}
	snapshot, err := cache.NewSnapshot(time.Now().Format(time.RFC3339Nano), resources)
	if err == nil {
		err = snapshots.SetSnapshot(context.Background(), everyone{}.ID(nil), snapshot)
	}
	return err
}

type everyone struct{} // gives all nodes the same configuration

func (everyone) ID(*core.Node) string { return "everyone" }

// must returns the value, unless there is an error, which ends the program.
func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal("minimal: ", err)
	}
	return value
}

func check(err error) { must(0, err) }
