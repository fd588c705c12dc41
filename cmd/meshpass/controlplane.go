package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const controlPlanesHelp = `Give the address of a control plane's REST API with --control-plane or MESHPASS_CONTROL_PLANE:

  https://HOST:PORT     over TLS; if the system does not trust its certificate, --ca-cert names a PEM file with the
                        authority
  http://HOST:PORT      without TLS: others on the network can read the tokens
  unix:PATH             through a Unix socket on this machine

A control plane issues and renews tokens, lists, adds, removes and prunes revocations, and lists, adds and removes cutoffs
and signing keys. No private key is sent to it or comes from it. A Kuma control plane only issues tokens.

If it requires authentication, --auth-token-file names a file with a bearer token, or MESHPASS_AUTH_TOKEN holds it.`

// controlPlane is a control plane behind its REST API.
type controlPlane struct {
	*httpapi.Client
	name     string
	timeout  time.Duration
	problems []error // of the list that the last call was about
}

func (a *app) openControlPlane(address string) (*controlPlane, error) {
	if a.encryptionKeyFile != "" {
		return nil, usagef("--encryption-key-file is for --store, not for a control plane")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	base := address
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		socket = strings.TrimPrefix(socket, "//")
		if socket == "" {
			return nil, usagef("a control plane's address is unix: and the path of a socket, such as unix:/run/control-plane/admin.sock")
		}
		base = "http://localhost"
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
	} else if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("cannot read the control plane's address, want one such as https://localhost:5682 or unix:/run/control-plane/admin.sock")
	} else if u.User != nil {
		return nil, usagef("a control plane's address must not have a user or password: put a bearer token into a file, for --auth-token-file")
	} else if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		a.say("warning: without https, others on the network to %s can read the tokens", u.Host)
	}
	if a.caCert != "" {
		roots, err := a.readRoots(a.caCert)
		if err != nil {
			return nil, fmt.Errorf("--ca-cert: %w", err)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	c := &controlPlane{name: address, timeout: a.timeout}
	options := []httpapi.ClientOption{httpapi.WithListProblems(func(_ context.Context, problem string) {
		c.problems = append(c.problems, errors.New(problem))
	})}
	bearer := strings.TrimSpace(a.getenv("MESHPASS_AUTH_TOKEN"))
	if a.authTokenFile != "" {
		raw, err := a.readToken(a.authTokenFile)
		if err != nil {
			return nil, fmt.Errorf("--auth-token-file: %w", err)
		}
		bearer = raw
	}
	if bearer != "" {
		options = append(options, httpapi.WithBearer(func(context.Context) (string, error) { return bearer, nil }))
	}
	var err error
	if c.Client, err = httpapi.NewClient(base, &http.Client{Transport: transport}, options...); err != nil {
		return nil, &usageError{err}
	}
	return c, nil
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// readRoots reads the certificates of certificate authorities.
func (a *app) readRoots(path string) (*x509.CertPool, error) {
	data, err := a.read(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	text, err := plainText(path, data)
	if err != nil {
		return nil, err
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, advise(fmt.Errorf("%s has no certificate", nameOf(path)), "want a PEM file with the authority's certificate")
	}
	return roots, nil
}

func (c *controlPlane) String() string { return c.name }

func (c *controlPlane) IssueDataplane(ctx context.Context, claims token.Dataplane, validFor time.Duration) (token.Issued, error) {
	raw, err := c.Client.IssueDataplane(ctx, claims, validFor)
	return raw, c.explain(err)
}

func (c *controlPlane) IssueZone(ctx context.Context, claims token.Zone, validFor time.Duration) (token.Issued, error) {
	raw, err := c.Client.IssueZone(ctx, claims, validFor)
	return raw, c.explain(err)
}

func (c *controlPlane) revoked(ctx context.Context, of owner) (revoked revokedIDs, err error) {
	c.problems = nil
	if of.mesh == "" {
		revoked.ids, err = c.RevokedZone(ctx)
	} else {
		revoked.ids, revoked.lists, err = c.RevokedDataplaneLists(ctx, of.mesh)
	}
	revoked.problems = c.problems
	return revoked, c.explain(err)
}

func (c *controlPlane) revoke(ctx context.Context, of owner, ids []string) (revokedIDs, error) {
	c.problems = nil
	var err error
	if of.mesh == "" {
		err = c.RevokeZone(ctx, ids[0], ids[1:]...)
	} else {
		err = c.RevokeDataplane(ctx, of.mesh, ids[0], ids[1:]...)
	}
	return revokedIDs{problems: c.problems}, c.explain(err)
}

func (c *controlPlane) restore(ctx context.Context, of owner, ids []string) error {
	if of.mesh == "" {
		return c.explain(c.RestoreZone(ctx, ids[0], ids[1:]...))
	}
	return c.explain(c.RestoreDataplane(ctx, of.mesh, ids[0], ids[1:]...))
}

func (c *controlPlane) makeGlobalList(ctx context.Context, of owner) ([]httpapi.RevocationList, error) {
	lists, err := c.MakeGlobalList(ctx, of.mesh)
	return lists, c.explain(err)
}

func (c *controlPlane) cutoffs(ctx context.Context, of owner) (all cutoffs, err error) {
	if of.mesh == "" {
		list, floor, err := c.CutoffsZone(ctx)
		for _, z := range list {
			all.list = append(all.list, revocation.Cutoff{Before: z.Before, Zone: z.Zone, KeyID: z.KeyID})
		}
		all.floor = floor
		return all, c.explainCutoffs(err)
	}
	list, floor, err := c.CutoffsDataplane(ctx, of.mesh)
	for _, d := range list {
		all.list = append(all.list, revocation.Cutoff{Before: d.Before, Name: d.Name, Workload: d.Workload, KeyID: d.KeyID})
	}
	all.floor = floor
	return all, c.explainCutoffs(err)
}

func (c *controlPlane) preview(ctx context.Context, of owner, cutoff revocation.Cutoff) (preview, error) {
	var found preview
	if of.mesh == "" {
		z, affected, err := c.PreviewCutoffZone(ctx, zoneCutoff(cutoff))
		if err != nil {
			return preview{}, c.explainCutoffs(err)
		}
		found.cutoff, found.sessions = revocation.Cutoff{Before: z.Before, Zone: z.Zone, KeyID: z.KeyID}, affected.Sessions
		for _, use := range affected.Keys {
			found.uses = append(found.uses, keyUse{use.KeyID, use.Validations, use.LastUsed})
		}
		return found, nil
	}
	d, affected, err := c.PreviewCutoffDataplane(ctx, of.mesh, dataplaneCutoff(cutoff))
	if err != nil {
		return preview{}, c.explainCutoffs(err)
	}
	found.cutoff, found.sessions = revocation.Cutoff{Before: d.Before, Name: d.Name, Workload: d.Workload, KeyID: d.KeyID}, affected.Sessions
	for _, use := range affected.Keys {
		found.uses = append(found.uses, keyUse{use.KeyID, use.Validations, use.LastUsed})
	}
	return found, nil
}

func (c *controlPlane) prune(ctx context.Context, of owner, lifetime time.Duration, dryRun bool) (p revocation.Pruning, err error) {
	if of.mesh == "" {
		p, err = c.PruneZone(ctx, lifetime, dryRun)
	} else {
		p, err = c.PruneDataplane(ctx, of.mesh, lifetime, dryRun)
	}
	var answer *httpapi.Error
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		return p, advise(fmt.Errorf("%s: the control plane does not prune revocations: %w", c.name, err), "Kuma and older versions do not; check the address, or use the store, with --store")
	}
	return p, c.explain(err)
}

func (c *controlPlane) cutOff(ctx context.Context, of owner, cutoff revocation.Cutoff) (revocation.Cutoff, error) {
	if of.mesh == "" {
		z, err := c.CutOffZone(ctx, zoneCutoff(cutoff))
		return revocation.Cutoff{Before: z.Before, Zone: z.Zone, KeyID: z.KeyID}, c.explainCutoffs(err)
	}
	d, err := c.CutOffDataplane(ctx, of.mesh, dataplaneCutoff(cutoff))
	return revocation.Cutoff{Before: d.Before, Name: d.Name, Workload: d.Workload, KeyID: d.KeyID}, c.explainCutoffs(err)
}

func (c *controlPlane) removeCutoff(ctx context.Context, of owner, cutoff revocation.Cutoff) error {
	if of.mesh == "" {
		return c.explainCutoffs(c.RemoveCutoffZone(ctx, zoneCutoff(cutoff)))
	}
	return c.explainCutoffs(c.RemoveCutoffDataplane(ctx, of.mesh, dataplaneCutoff(cutoff)))
}

// errNoCutoffs: the control plane has no cutoffs, or it is none.
var errNoCutoffs = errors.New("the control plane does not serve cutoffs")

func (c *controlPlane) explainCutoffs(err error) error {
	var answer *httpapi.Error
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		return advise(fmt.Errorf("%s: %w: %w", c.name, errNoCutoffs, err), "Kuma and older versions do not; check the address, or use the store, with --store")
	}
	return c.explain(err)
}

func (c *controlPlane) keys(ctx context.Context, of owner) (list keyList, err error) {
	var keys []httpapi.PublicKey
	if of.mesh == "" {
		keys, err = c.ZoneKeys(ctx)
	} else {
		keys, err = c.DataplaneKeys(ctx, of.mesh)
	}
	for _, k := range keys {
		list.keys = append(list.keys, key{kid: k.KeyID, use: "verifies", public: k.Key, bits: k.Key.Bits(), fingerprint: k.Key.Fingerprint()})
	}
	return list, c.explain(err)
}

// keyStates lists the keys with what the control plane says of them. One of an older version
// lists its public keys alone.
func (c *controlPlane) keyStates(ctx context.Context, of owner) (list keyList, err error) {
	var states []httpapi.KeyState
	var problems []string
	if of.mesh == "" {
		states, problems, err = c.KeyStatesZone(ctx)
	} else {
		states, problems, err = c.KeyStatesDataplane(ctx, of.mesh)
	}
	var answer *httpapi.Error
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		return c.keys(ctx, of)
	}
	for _, k := range states {
		list.keys = append(list.keys, key{kid: k.KeyID, created: k.Created, use: keyUseText(k.State, k.Place, k.Problem != ""),
			bits: k.Bits, fingerprint: k.Fingerprint, used: k.Use})
	}
	for _, problem := range problems {
		list.problems = append(list.problems, errors.New(problem))
	}
	return list, c.explain(err)
}

func (c *controlPlane) addKey(ctx context.Context, of owner, wanted wantedKey) (addedKey, error) {
	var was addedKey
	if !wanted.first { // for the advice alone: who may add keys need not be able to list them
		if before, err := c.keyStates(ctx, of); err == nil && len(before.keys) > 0 {
			was.oldest = before.keys[0].kid
		}
	}
	key, added := httpapi.KeyState{}, true
	var err error
	switch {
	case wanted.first && of.mesh == "":
		key, added, err = c.CreateKeyZone(ctx, wanted.public)
	case wanted.first:
		key, added, err = c.CreateKeyDataplane(ctx, of.mesh, wanted.public)
	case wanted.public != nil && of.mesh == "":
		key, added, err = c.AddExternalKeyZone(ctx, wanted.public)
	case wanted.public != nil:
		key, added, err = c.AddExternalKeyDataplane(ctx, of.mesh, wanted.public)
	case of.mesh == "":
		key, err = c.AddKeyZone(ctx, wanted.bits)
	default:
		key, err = c.AddKeyDataplane(ctx, of.mesh, wanted.bits)
	}
	if err != nil {
		return addedKey{}, c.explainKeys(err, of)
	}
	return addedKey{key.KeyID, added, was.oldest}, nil
}

func (c *controlPlane) removeKey(ctx context.Context, of owner, serial signing.Serial, how removal) error {
	removal := httpapi.KeyRemoval{Force: how.force, UnlessUsedSince: how.unusedSince}
	if of.mesh == "" {
		return c.explainKeys(c.RemoveKeyZone(ctx, serial, removal), of)
	}
	return c.explainKeys(c.RemoveKeyDataplane(ctx, of.mesh, serial, removal), of)
}

// explainKeys is explain for changes of keys.
func (c *controlPlane) explainKeys(err error, of owner) error {
	var answer *httpapi.Error
	switch {
	case errors.Is(err, signing.ErrInUse):
		return fmt.Errorf("%s: %w", c.name, err)
	case errors.Is(err, signing.ErrNoKey):
		return advise(fmt.Errorf("%s: %w", c.name, err), `"meshpass keys list %s" shows the keys; if the name is right, make the first one with "meshpass keys add --first %s"`, of.flag(), of.flag())
	case errors.As(err, &answer) && answer.Status == http.StatusNotFound:
		return advise(fmt.Errorf("%s: the control plane does not change keys: %w", c.name, err), "Kuma and older versions do not; check the address, or use the store, with --store")
	}
	return c.explain(err)
}

// explain adds to an error of the control plane what to do about it.
func (c *controlPlane) explain(err error) error {
	if err == nil {
		return nil
	}
	var answer *httpapi.Error
	answered := errors.As(err, &answer)
	err = fmt.Errorf("%s: %w", c.name, err)
	switch {
	case errors.Is(err, httpapi.ErrUnauthenticated):
		return advise(err, "put a bearer token into a file, for --auth-token-file")
	case errors.Is(err, token.ErrDenied):
		return advise(err, "the control plane decides who may do this")
	case errors.Is(err, token.ErrIssuingDisabled):
		return advise(err, "make the token offline, with --signing-key-path and --kid")
	case errors.Is(err, signing.ErrNoKey):
		return advise(err, `check the name, or make the first key with "meshpass keys add --first"`)
	case errors.Is(err, context.DeadlineExceeded):
		return advise(fmt.Errorf("no answer within %s: %w", c.timeout, err), "check that the control plane runs and can be reached from here, or give it more time with --timeout")
	case answered && answer.Status == http.StatusNotFound:
		return advise(err, "is this the address of the control plane's REST API?")
	case answered:
		return err
	case errors.Is(err, token.ErrUnavailable):
		return advise(err, "check that the control plane runs, and that the address is that of its REST API")
	}
	return err
}
