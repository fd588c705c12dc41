package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/token"
)

// operator sends requests to control planes through the sockets in their folders.
type operator struct{}

// client returns a client of the control plane in a folder, whatever the host of the URL is.
func (operator) client(dir string) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, adminSocket))
		},
	}}
}

const adminURL = "http://admin"

// api returns a client of the httpapi of a control plane.
func (o operator) api(dir string) (*httpapi.Client, error) {
	return httpapi.NewClient(adminURL, o.client(dir))
}

// request sends a request to the control plane in a folder, and returns the body of the answer.
func (o operator) request(ctx context.Context, dir, method, path string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, adminURL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := o.client(dir).Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, bytes.TrimSpace(text))
	}
	return text, nil
}

// dataplaneToken asks a control plane for a dataplane token.
func (o operator) dataplaneToken(ctx context.Context, dir string, claims token.Dataplane) (string, error) {
	api, err := o.api(dir)
	if err != nil {
		return "", err
	}
	issued, err := api.IssueDataplane(ctx, claims, validFor)
	return issued.Token, err
}

// zoneToken asks the global control plane for a zone token.
func (o operator) zoneToken(ctx context.Context, dir string, claims token.Zone) (string, error) {
	api, err := o.api(dir)
	if err != nil {
		return "", err
	}
	issued, err := api.IssueZone(ctx, claims, validFor)
	return issued.Token, err
}

// usage asks a zone which keys it has seen in use.
func (o operator) usage(ctx context.Context, dir string) (uses []dataplane.KeyUse, err error) {
	answer, err := o.request(ctx, dir, http.MethodGet, "/usage", nil)
	if err != nil {
		return nil, err
	}
	return uses, json.Unmarshal(answer, &uses)
}

// metrics scrapes a control plane and returns the lines of our metrics.
func (operator) metrics(ctx context.Context, address string) ([]string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines, nil
}
