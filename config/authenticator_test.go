package config_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

const kid = "key-1"

// logged returns what a log has of a value.
func logged(t *testing.T, name string, value any) string {
	var text bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", name, value)
	slog.New(slog.NewJSONHandler(&text, nil)).Info("m", name, value)
	require.NotEmpty(t, text.String())
	return text.String()
}

func offlineDataplaneToken(t *testing.T, claims token.Dataplane) string {
	issuer, err := dataplane.NewOfflineIssuer(testKey(), kid)
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), claims, time.Hour)
	require.NoError(t, err)
	return issued.Token
}

func offlineZoneToken(t *testing.T, name, scope string) string {
	issuer, err := zone.NewOfflineIssuer(testKey(), kid)
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Zone{Zone: name, Scope: []string{scope}}, time.Hour)
	require.NoError(t, err)
	return issued.Token
}

// newStore returns a store with keys for mesh default and for zones.
func newStore(t *testing.T) keystore.KeyStore {
	store := keystore.NewMemory()
	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	_, err = zone.EnsureKey(t.Context(), store)
	require.NoError(t, err)
	return store
}

func read(t *testing.T, document string) config.Config {
	c, err := config.Read([]byte(document), nil)
	require.NoError(t, err)
	return c
}

func quiet() config.Option { return config.WithLogger(slog.New(slog.DiscardHandler)) }

func TestProxyAuthenticatorUsesTheKeysThatAreConfigured(t *testing.T) {
	store := newStore(t)
	issuer, err := config.Default().NewDataplaneIssuer(store)
	require.NoError(t, err)
	ofStore, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	require.NoError(t, err)
	offline := offlineDataplaneToken(t, token.Dataplane{Mesh: "default", Name: "dp-1"})
	ofDemo := offlineDataplaneToken(t, token.Dataplane{Mesh: "demo", Name: "dp-1"})

	inline := object{"kid": kid, "mesh": "default", "key": publicPEM()}
	file := object{"kid": kid, "keyFile": inFile(t, publicPEM())} // of every mesh
	for name, c := range map[string]struct {
		useSecrets bool
		keys       list
		accepted   []string
		refused    []string
	}{
		"the store's":             {true, nil, []string{ofStore.Token}, []string{offline, ofDemo}},
		"one of a mesh":           {false, list{inline}, []string{offline}, []string{ofStore.Token, ofDemo}},
		"one of every mesh":       {false, list{file}, []string{offline, ofDemo}, []string{ofStore.Token}},
		"the store's, and of one": {true, list{inline}, []string{ofStore.Token, offline}, []string{ofDemo}},
		"the store's, and of all": {true, list{file}, []string{ofStore.Token, offline, ofDemo}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			configured := read(t, set("dpServer.authn.dpProxy.dpToken.validator", object{"useSecrets": c.useSecrets, "publicKeys": c.keys}))
			proxies, err := configured.NewProxyAuthenticator(store, quiet())
			require.NoError(t, err)
			defer proxies.Close()
			require.NotNil(t, proxies.Validator)
			for _, raw := range c.accepted {
				session, err := proxies.Authenticate(t.Context(), raw)
				require.NoError(t, err)
				require.ErrorIs(t, session.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-2"}), token.ErrNotPermitted)
			}
			for _, raw := range c.refused {
				_, err := proxies.Authenticate(t.Context(), raw)
				require.ErrorIs(t, err, token.ErrUnknownKey)
			}
			_, err = proxies.Authenticate(t.Context(), "")
			require.ErrorIs(t, err, token.ErrInvalid)
		})
	}
}

func TestProxyAuthenticatorHeedsARevocationOfTheStoreForAConfiguredKey(t *testing.T) {
	store := newStore(t)
	raw := offlineDataplaneToken(t, token.Dataplane{Mesh: "default", Name: "dp-1"})
	c := read(t, set("dpServer.authn.dpProxy.dpToken.validator", object{"useSecrets": false, "publicKeys": list{object{"kid": kid, "key": publicPEM()}}}))
	proxies, err := c.NewProxyAuthenticator(store, quiet())
	require.NoError(t, err)
	defer proxies.Close()
	session, err := proxies.Authenticate(t.Context(), raw)
	require.NoError(t, err)
	ctx, release := session.Bind(t.Context())
	defer release()

	require.NoError(t, dataplane.Revoke(t.Context(), store, "default", session.(dataplane.Verified).Registered().ID))
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), token.ErrRevoked)
}

func TestProxyAuthenticatorEndsItsSessionsWhenItIsClosed(t *testing.T) {
	store := newStore(t)
	c := read(t, set(dpKeys, list{object{"kid": kid, "key": publicPEM()}}))
	proxies, err := c.NewProxyAuthenticator(store, quiet())
	require.NoError(t, err)
	session, err := proxies.Authenticate(t.Context(), offlineDataplaneToken(t, token.Dataplane{Mesh: "default"}))
	require.NoError(t, err)
	ctx, release := session.Bind(t.Context())
	defer release()
	require.NoError(t, proxies.Close())
	require.NoError(t, proxies.Close())
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), token.ErrClosed)
}

func TestProxyAuthenticatorNeedsTheFileOfAKeyWhenItIsMadeAndKeepsTheKeyAfterwards(t *testing.T) {
	path := inFile(t, publicPEM())
	c := read(t, set(dpKeys, list{object{"kid": kid, "keyFile": path}}))
	proxies, err := c.NewProxyAuthenticator(newStore(t), quiet())
	require.NoError(t, err)
	defer proxies.Close()

	_, err = proxies.Authenticate(t.Context(), offlineDataplaneToken(t, token.Dataplane{Mesh: "default"}))
	require.NoError(t, err) // after the first read of the validator
	require.NoError(t, os.Remove(path))
	_, err = proxies.Authenticate(t.Context(), offlineDataplaneToken(t, token.Dataplane{Mesh: "default"}))
	require.NoError(t, err)
	_, err = c.NewProxyAuthenticator(newStore(t), quiet())
	require.ErrorContains(t, err, dpKeys+`[0] (kid "key-1"): keyFile: `)
}

func TestProxyAuthenticatorOfTypeNoneLetsEveryProxyInAndLogsThat(t *testing.T) {
	var log bytes.Buffer
	c := read(t, set("dpServer.authn.dpProxy.type", "none"))
	proxies, err := c.NewProxyAuthenticator(nil, config.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	require.NoError(t, err)
	assert.Nil(t, proxies.Validator)
	session, err := proxies.Authenticate(t.Context(), "")
	require.NoError(t, err)
	require.NoError(t, session.Permits(dataplane.Proxy{Mesh: "default", Name: "whoever"}))
	require.NoError(t, proxies.Close())
	assert.Contains(t, log.String(), `level=WARN msg="proxies are not authenticated" setting=dpServer.authn.dpProxy.type type=none`)
}

func TestProxyAuthenticatorForServiceAccountsComesFromTheCaller(t *testing.T) {
	c := read(t, set("environment", "kubernetes"))
	_, err := c.NewProxyAuthenticator(nil)
	require.ErrorContains(t, err, "config: dpServer.authn.dpProxy.type: serviceAccountToken needs an authenticator of package dataplane/serviceaccount; pass it with WithServiceAccounts")

	broken := errors.New("no cluster")
	_, err = c.NewProxyAuthenticator(nil, config.WithServiceAccounts(func() (dataplane.Authenticator, error) { return nil, broken }))
	require.ErrorIs(t, err, broken)
	_, err = c.NewProxyAuthenticator(nil, config.WithServiceAccounts(func() (dataplane.Authenticator, error) { return nil, nil }))
	require.ErrorContains(t, err, "returned nil")

	validator, err := dataplane.NewValidator(newStore(t))
	require.NoError(t, err)
	defer validator.Close()
	own := dataplane.NewAuthenticator(validator)
	proxies, err := c.NewProxyAuthenticator(nil, config.WithServiceAccounts(func() (dataplane.Authenticator, error) { return own, nil }))
	require.NoError(t, err)
	assert.Equal(t, own, proxies.Authenticator)
	require.NoError(t, proxies.Close())

	c.DPServer.Authn.DPProxy.Type = config.TypeDPToken
	proxies, err = c.NewProxyAuthenticator(newStore(t), config.WithServiceAccounts(func() (dataplane.Authenticator, error) {
		t.Error("called for another type")
		return nil, nil
	}))
	require.NoError(t, err)
	require.NoError(t, proxies.Close())
}

func TestProxyAuthenticatorRefusesBadArguments(t *testing.T) {
	c := config.Default()
	_, err := c.NewProxyAuthenticator(nil)
	require.ErrorContains(t, err, "store is nil")
	_, err = c.NewProxyAuthenticator(newStore(t), nil)
	require.ErrorContains(t, err, "an option is nil")
	_, err = c.NewProxyAuthenticator(newStore(t), config.WithLogger(nil))
	require.ErrorContains(t, err, "logger is nil")
	_, err = c.NewProxyAuthenticator(newStore(t), config.WithServiceAccounts(nil))
	require.ErrorContains(t, err, "function is nil")
	_, err = c.NewProxyAuthenticator(newStore(t), config.WithValidatorOptions(dataplane.WithLeeway(time.Hour)))
	require.ErrorContains(t, err, "config: dpServer.authn.dpProxy: dataplane: ")
}

func TestProxyAuthenticatorUsesOptionsOfTheValidator(t *testing.T) {
	proxies, err := read(t, set(dpKeys, list{object{"kid": kid, "key": publicPEM()}})).NewProxyAuthenticator(newStore(t), quiet(),
		config.WithValidatorOptions(dataplane.WithMaxLifetime(time.Minute)))
	require.NoError(t, err)
	defer proxies.Close()
	_, err = proxies.Authenticate(t.Context(), offlineDataplaneToken(t, token.Dataplane{Mesh: "default"}))
	require.ErrorIs(t, err, token.ErrLifetime)
}

func TestConfigThatWasNotCheckedIsNotUsed(t *testing.T) {
	c := config.Default()
	c.DPServer.Authn.DPProxy.Type = "everyone"
	store := newStore(t)
	for name, make := range map[string]func() error{
		"NewAuthenticator":      func() error { _, err := c.NewProxyAuthenticator(store); return err },
		"NewDataplaneIssuer":    func() error { _, err := c.NewDataplaneIssuer(store); return err },
		"NewZoneIssuer":         func() error { _, err := c.NewZoneIssuer(store); return err },
		"NewZoneProxyValidator": func() error { _, err := c.NewZoneProxyValidator(store); return err },
		"NewKDSValidator":       func() error { _, err := c.NewKDSValidator(store); return err },
	} {
		require.ErrorContains(t, make(), `dpServer.authn.dpProxy.type: found "everyone"`, name)
	}
}

func TestTheIssuersRenewUntilTheLineageThatIsConfiguredEnds(t *testing.T) {
	store := newStore(t)
	validator, err := dataplane.NewValidator(store)
	require.NoError(t, err)
	defer validator.Close()
	zones, err := zone.NewValidator(store)
	require.NoError(t, err)
	defer zones.Close()
	renew := func(c config.Config, options ...dataplane.IssuerOption) (lineage time.Duration, err, zoneErr error) {
		issuer, err := c.NewDataplaneIssuer(store, append(options, dataplane.WithMaxLifetime(90*time.Minute))...)
		require.NoError(t, err)
		zoneIssuer, err := c.NewZoneIssuer(store, zone.WithMaxLifetime(90*time.Minute))
		require.NoError(t, err)
		first, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
		require.NoError(t, err)
		verified, err := validator.Validate(t.Context(), "default", first.Token)
		require.NoError(t, err)
		west, err := zoneIssuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
		require.NoError(t, err)
		ofWest, err := zones.Validate(t.Context(), "west", zone.ScopeCP, west.Token)
		require.NoError(t, err)

		renewed, err := issuer.Renew(t.Context(), verified, 90*time.Minute)
		_, zoneErr = zoneIssuer.Renew(t.Context(), ofWest, 90*time.Minute)
		return renewed.ExpiresAt.Sub(first.ExpiresAt) + time.Hour, err, zoneErr
	}

	_, err, zoneErr := renew(config.Default())
	require.ErrorIs(t, err, token.ErrIssuingDisabled)
	require.ErrorIs(t, zoneErr, token.ErrIssuingDisabled)

	c := read(t, set("meshpass.maxLineage", "1h10m"))
	lineage, err, zoneErr := renew(c)
	require.NoError(t, err)
	require.NoError(t, zoneErr)
	assert.InDelta(t, 70*time.Minute, lineage, float64(10*time.Second))
	lineage, err, _ = renew(c, dataplane.WithMaxLineage(80*time.Minute))
	require.NoError(t, err)
	assert.InDelta(t, 80*time.Minute, lineage, float64(10*time.Second), "the program's option takes precedence")

	c, err = config.Read([]byte(set("meshpass.maxLineage", "1h10m")), variables("MESHPASS_MAX_LINEAGE", "87600h"))
	require.NoError(t, err)
	lineage, err, _ = renew(c)
	require.NoError(t, err)
	assert.InDelta(t, 90*time.Minute, lineage, float64(10*time.Second), "as asked for, within the limit of the variable")
}

// countingReads is a store that counts how often a record or a list is read.
type countingReads struct {
	keystore.KeyStore
	keystore.Watcher
	reads atomic.Int32
}

func (s *countingReads) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	s.reads.Add(1)
	return s.KeyStore.Get(ctx, scope, name)
}

func (s *countingReads) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if scope != keystore.AllScopes { // which the validator reads, in its own time
		s.reads.Add(1)
	}
	return s.KeyStore.List(ctx, scope, prefix)
}

func TestTheIssuerOfAConfigurationTakesTheValidatorOfItsAuthenticator(t *testing.T) {
	memory := newStore(t)
	store := &countingReads{KeyStore: memory, Watcher: memory.(keystore.Watcher)}
	proxies, err := config.Default().NewProxyAuthenticator(store, quiet())
	require.NoError(t, err)
	defer proxies.Close()
	issuer, err := config.Default().NewDataplaneIssuer(store, dataplane.WithValidator(proxies.Validator))
	require.NoError(t, err)
	issue := func() {
		issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
		require.NoError(t, err)
		_, err = proxies.Authenticate(t.Context(), issued.Token) // which waits until the validator is ready
		require.NoError(t, err)
	}
	issue()
	issue() // read for the key, now that the validator says which signs
	before := store.reads.Load()
	issue()
	assert.Equal(t, before, store.reads.Load(), "the store is not read for a token more")
}

func TestTheIssuerOfAConfigurationTakesNoValidatorThatDoesNotUseTheKeysOfTheStore(t *testing.T) {
	store := newStore(t)
	c := read(t, set("dpServer.authn.dpProxy.dpToken.validator", object{"useSecrets": false, "publicKeys": list{object{"kid": kid, "key": publicPEM()}}}))
	proxies, err := c.NewProxyAuthenticator(store, quiet())
	require.NoError(t, err)
	defer proxies.Close()
	_, err = c.NewDataplaneIssuer(store, dataplane.WithValidator(proxies.Validator))
	require.ErrorContains(t, err, "does not follow the keys of this store")
}

func TestALineageIsADurationThatIssuersTake(t *testing.T) {
	for _, text := range []string{"1s", "87600h"} {
		_, err := read(t, set("meshpass.maxLineage", text)).NewDataplaneIssuer(newStore(t))
		require.NoError(t, err)
	}
	for _, text := range []string{"0", "999ms", "-1h", "87600h0m1s", "365d", "8760", "a year"} {
		_, err := config.Read([]byte(set("meshpass.maxLineage", text)), nil)
		require.EqualError(t, err, fmt.Sprintf("config: meshpass.maxLineage: found %q, want a duration from 1s to 87600h, such as 8760h", text))
	}
	_, err := config.Read([]byte(set("meshpass.maxLineage", 8760)), nil)
	require.EqualError(t, err, "config: meshpass.maxLineage: found a number, want a string")
}

func TestIssuerThatIsDisabledIssuesNothing(t *testing.T) {
	store := newStore(t)
	for _, in := range []struct{ dp, zoneProxy, kds bool }{{true, true, true}, {false, false, true}, {false, true, false}} {
		enabled := in.dp
		c := read(t, fmt.Sprintf(`{"dpServer": {"authn": {"dpProxy": {"dpToken": {"enableIssuer": %v}}, "zoneProxy": {"zoneToken": {"enableIssuer": %v}}}},
			"multizone": {"global": {"kds": {"auth": {"zoneToken": {"enableIssuer": %v}}}}}}`, in.dp, in.zoneProxy, in.kds))
		dataplanes, err := c.NewDataplaneIssuer(store)
		require.NoError(t, err)
		zones, err := c.NewZoneIssuer(store)
		require.NoError(t, err)
		_, ofDataplane := dataplanes.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
		_, ofZone := zones.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
		if enabled {
			require.NoError(t, ofDataplane)
			require.NoError(t, ofZone)
		} else {
			require.ErrorIs(t, ofDataplane, token.ErrIssuingDisabled)
			require.ErrorIs(t, ofZone, token.ErrIssuingDisabled)
		}
	}
}

func TestZoneValidatorUsesTheKeysThatAreConfigured(t *testing.T) {
	store := newStore(t)
	issuer, err := config.Default().NewZoneIssuer(store)
	require.NoError(t, err)
	keys := object{"useSecrets": false, "publicKeys": list{object{"kid": kid, "keyFile": inFile(t, publicPEM())}}}

	for name, c := range map[string]struct {
		scope    string
		entry    string
		document string
		validate func(config.Config) (zone.Validator, error)
	}{
		"proxies": {"ingress", "dpServer.authn.zoneProxy.zoneToken.validator", `{}`,
			func(c config.Config) (zone.Validator, error) { return c.NewZoneProxyValidator(store) }},
		"control planes": {zone.ScopeCP, "multizone.global.kds.auth.zoneToken.validator", set("multizone.global.kds.auth.type", "zoneToken"),
			func(c config.Config) (zone.Validator, error) { return c.NewKDSValidator(store) }},
	} {
		t.Run(name, func(t *testing.T) {
			ofStore, err := issuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{c.scope}}, time.Hour)
			require.NoError(t, err)
			offline := offlineZoneToken(t, "west", c.scope)

			withStore, err := c.validate(read(t, c.document))
			require.NoError(t, err)
			defer withStore.Close()
			_, err = withStore.Validate(t.Context(), "west", c.scope, ofStore.Token)
			require.NoError(t, err)
			_, err = withStore.Validate(t.Context(), "west", c.scope, offline)
			require.ErrorIs(t, err, token.ErrUnknownKey)

			configured := read(t, c.document)
			withKeys := read(t, set(c.entry, keys))
			configured.DPServer.Authn.ZoneProxy.ZoneToken = withKeys.DPServer.Authn.ZoneProxy.ZoneToken
			configured.Multizone.Global.KDS.Auth.ZoneToken = withKeys.Multizone.Global.KDS.Auth.ZoneToken
			withoutStore, err := c.validate(configured)
			require.NoError(t, err)
			defer withoutStore.Close()
			_, err = withoutStore.Validate(t.Context(), "west", c.scope, offline)
			require.NoError(t, err)
			_, err = withoutStore.Validate(t.Context(), "west", c.scope, ofStore.Token)
			require.ErrorIs(t, err, token.ErrUnknownKey)
		})
	}
}

func TestZoneValidatorIsThereForTheTypeOfZoneTokensAlone(t *testing.T) {
	_, err := config.Default().NewKDSValidator(newStore(t))
	require.ErrorContains(t, err, "config: multizone.global.kds.auth.type is not set, so there is nothing to validate; set it to zoneToken")
	_, err = read(t, set("multizone.global.kds.auth.type", "none")).NewKDSValidator(newStore(t))
	require.ErrorContains(t, err, "config: multizone.global.kds.auth.type: none uses no zone tokens")
	_, err = read(t, set("environment", "kubernetes")).NewZoneProxyValidator(newStore(t))
	require.ErrorContains(t, err, "config: dpServer.authn.zoneProxy.type: serviceAccountToken uses no zone tokens")
	_, err = config.Default().NewZoneProxyValidator(nil)
	require.ErrorContains(t, err, "store is nil")
}

// witness is an observer that remembers what it was told.
type witness struct{ outcomes []observe.Outcome }

func (w *witness) Observe(o observe.Outcome) { w.outcomes = append(w.outcomes, o) }

func TestAnObserverIsToldOfTheTokensOfEverythingThatAConfigurationMakes(t *testing.T) {
	w, c, store := &witness{}, config.Default(), newStore(t)
	c.Multizone.Global.KDS.Auth.Type = config.TypeZoneToken
	proxies, err := c.NewProxyAuthenticator(store, config.WithObserver(w))
	require.NoError(t, err)
	defer proxies.Close()
	zoneProxies, err := c.NewZoneProxyValidator(store, zone.WithObserver(w))
	require.NoError(t, err)
	defer zoneProxies.Close()
	zones, err := c.NewKDSValidator(store, zone.WithObserver(w))
	require.NoError(t, err)
	defer zones.Close()
	issuer, err := c.NewDataplaneIssuer(store, dataplane.WithObserver(w))
	require.NoError(t, err)
	zoneIssuer, err := c.NewZoneIssuer(store, zone.WithObserver(w))
	require.NoError(t, err)

	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	require.NoError(t, err)
	ofZone, err := zoneIssuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	require.NoError(t, err)
	_, err = proxies.Validator.Validate(t.Context(), "default", issued.Token)
	require.NoError(t, err)
	for _, validator := range []zone.Validator{zoneProxies, zones} {
		_, err = validator.Validate(t.Context(), "west", zone.ScopeCP, ofZone.Token)
		require.NoError(t, err)
	}
	require.Len(t, w.outcomes, 5)
	for _, o := range w.outcomes {
		assert.Equal(t, token.ReasonNone, o.Reason)
	}
	_, err = c.NewProxyAuthenticator(store, config.WithObserver(nil))
	assert.ErrorContains(t, err, "WithObserver: the observer is nil")
}
