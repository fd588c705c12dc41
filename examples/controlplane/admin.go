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

// newAdmin returns the handler for a control plane's socket: the API of package httpapi, to
// which callers can add more. A process that can open the socket acts as the operator.
func newAdmin(store keystore.KeyStore, dataplanes dataplane.Issuer, zones zone.Issuer, authorize httpapi.Authorizer, log *slog.Logger, options ...httpapi.Option) (*http.ServeMux, error) {
	api, err := httpapi.New(store, dataplanes, zones, authorize, append(options, httpapi.WithLogger(log))...)
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

// authorizeInZone lets the operator do everything except change revocation lists, cutoffs and
// keys: the next snapshot of the global control plane would overwrite the change.
func authorizeInZone(_ *http.Request, what httpapi.Request) (actor string, err error) {
	switch what.Action {
	case httpapi.Revoke, httpapi.Restore, httpapi.MakeGlobalList, httpapi.Prune:
		return actorOperator, httpapi.Denied("a zone gets its revocation lists from the global control plane: change them there")
	case httpapi.CutOff, httpapi.RemoveCutoff:
		return actorOperator, httpapi.Denied("a zone gets its cutoffs from the global control plane: change them there")
	case httpapi.CreateKey, httpapi.AddKey, httpapi.RemoveKey:
		return actorOperator, httpapi.Denied("a zone gets its public keys from the global control plane: change the keys there")
	}
	return actorOperator, nil
}

// reportUsage tells the operator which keys this process has seen in use, before the
// operator removes a key.
func reportUsage(validator dataplane.Validator) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(validator.Usage())
	}
}
