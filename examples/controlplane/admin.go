package main

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/zone"
)

// newAdmin returns what a control plane serves on its socket: the API of package httpapi, to
// which more can be added. Whoever can open the socket is the operator.
func newAdmin(store keystore.KeyStore, dataplanes dataplane.Issuer, zones zone.Issuer, authorize httpapi.Authorizer, log *slog.Logger) (*http.ServeMux, error) {
	api, err := httpapi.New(store, dataplanes, zones, authorize, httpapi.WithLogger(log))
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", api)
	return mux, nil
}

const actorOperator = "operator"

// authorizeAll lets the operator do everything.
func authorizeAll(*http.Request, httpapi.Request) (actor string, err error) {
	return actorOperator, nil
}

// authorizeInZone lets the operator do what lasts: the next snapshot of the global control
// plane would overwrite a revocation list that was changed in a zone.
func authorizeInZone(_ *http.Request, what httpapi.Request) (actor string, err error) {
	if what.Action == httpapi.Revoke || what.Action == httpapi.Restore {
		return actorOperator, httpapi.Denied("a zone has its revocation lists from the global control plane: change them there")
	}
	return actorOperator, nil
}

// reportUsage tells which keys this process has seen in use, for whoever decides about
// removing one.
func reportUsage(validator dataplane.Validator) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(validator.Usage())
	}
}
