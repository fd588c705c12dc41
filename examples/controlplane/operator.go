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
)

// operator asks control planes through the sockets in their folders.
type operator struct{}

// request sends a request to the control plane whose folder is given, and returns the answer's body.
func (operator) request(ctx context.Context, dir, method, path string, body []byte) ([]byte, error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, adminSocket))
		},
	}}
	r, err := http.NewRequestWithContext(ctx, method, "http://admin"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(r)
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

func (o operator) token(ctx context.Context, dir, path string, request any) (string, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return "", err
	}
	raw, err := o.request(ctx, dir, http.MethodPost, path, body)
	return string(raw), err
}

// dataplaneToken has a control plane issue a dataplane token.
func (o operator) dataplaneToken(ctx context.Context, dir string, ask dataplaneRequest) (string, error) {
	return o.token(ctx, dir, "/tokens/dataplane", ask)
}

// zoneToken has the global control plane issue a zone token.
func (o operator) zoneToken(ctx context.Context, dir string, ask zoneRequest) (string, error) {
	return o.token(ctx, dir, "/tokens/zone", ask)
}

// usage asks a zone which keys it has seen in use.
func (o operator) usage(ctx context.Context, dir string) (uses []dataplane.KeyUse, err error) {
	answer, err := o.request(ctx, dir, http.MethodGet, "/usage", nil)
	if err != nil {
		return nil, err
	}
	return uses, json.Unmarshal(answer, &uses)
}

// metrics scrapes a control plane and returns the lines of the examples' metrics.
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
