package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// maxRequest is how long an operator's request may be, in bytes.
const maxRequest = 64 << 10

// dataplaneRequest asks for a dataplane token, zoneRequest for a zone token.
type (
	dataplaneRequest struct {
		Mesh     string              `json:"mesh"`
		Name     string              `json:"name,omitempty"`
		Tags     map[string][]string `json:"tags,omitempty"`
		ValidFor string              `json:"validFor"` // such as "720h"
	}
	zoneRequest struct {
		Zone     string   `json:"zone"`
		Scope    []string `json:"scope"`
		ValidFor string   `json:"validFor"`
	}
)

// issueDataplane answers requests for dataplane tokens with the bare token.
func issueDataplane(issuer dataplane.Issuer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var ask dataplaneRequest
		validFor, err := decode(w, r, &ask, &ask.ValidFor)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		raw, err := issuer.Issue(r.Context(), token.Dataplane{Mesh: ask.Mesh, Name: ask.Name, Tags: ask.Tags}, validFor)
		answerToken(w, raw, err)
	}
}

// issueZone answers requests for zone tokens with the bare token.
func issueZone(issuer zone.Issuer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var ask zoneRequest
		validFor, err := decode(w, r, &ask, &ask.ValidFor)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		raw, err := issuer.Issue(r.Context(), token.Zone{Zone: ask.Zone, Scope: ask.Scope}, validFor)
		answerToken(w, raw, err)
	}
}

func decode(w http.ResponseWriter, r *http.Request, ask any, validFor *string) (time.Duration, error) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(ask); err != nil {
		return 0, fmt.Errorf("unreadable request: %w", err)
	}
	return time.ParseDuration(*validFor)
}

func answerToken(w http.ResponseWriter, raw string, err error) {
	switch {
	case errors.Is(err, token.ErrNotIssuable):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.Is(err, signing.ErrNoKey):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, token.ErrUnavailable):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, raw)
	}
}

// reportUsage tells which keys this process has seen in use, for whoever decides about
// removing one.
func reportUsage(validator dataplane.Validator) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(validator.Usage())
	}
}
