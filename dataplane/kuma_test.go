package dataplane_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/dataplane/insecure"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/internal/test/kumacases"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// kumas are the boundaries of the versions that differ.
var kumas = map[string]dataplane.Boundary{
	"2.10": dataplane.AsKuma210(),
	"2.14": dataplane.AsKuma214(),
	"3.0":  dataplane.AsKuma30(),
}

const (
	serviceTag    = "kuma.io/service"
	workloadLabel = "kuma.io/workload"
)

func TestKumaTagsAreComparedWithInboundsIn2AndWithLabelsIn3(t *testing.T) {
	type tags = map[string]string
	on := func(labels tags, inbounds ...tags) dataplane.Proxy {
		return dataplane.Proxy{Mesh: "default", Name: "dp-1", Labels: labels, Inbounds: inbounds}
	}
	const team, service = `,"Tags":{"team":["web"]}`, `,"Tags":{"kuma.io/service":["web","web-api"]}`
	for name, c := range map[string]struct {
		claims   string
		proxy    dataplane.Proxy
		in2, in3 bool
	}{
		"on an inbound alone":                    {team, on(nil, tags{"team": "web"}), true, false},
		"on a label alone":                       {team, on(tags{"team": "web"}), false, true},
		"on both":                                {team, on(tags{"team": "web"}, tags{"team": "web"}), true, true},
		"on both, the label differs":             {team, on(tags{"team": "db"}, tags{"team": "web"}), true, false},
		"on both, an inbound differs":            {team, on(tags{"team": "web"}, tags{"team": "db"}), false, true},
		"on every inbound, beside other labels":  {team, on(tags{"other": "x"}, tags{"team": "web"}, tags{"team": "web"}), true, false},
		"service, on inbounds":                   {service, on(nil, tags{serviceTag: "web"}, tags{serviceTag: "web-api"}), true, false},
		"service, beside the labels of 3.0":      {service, on(tags{workloadLabel: ""}, tags{serviceTag: "web"}), true, false},
		"service, where inbounds have no tags":   {service, on(tags{"team": "web"}, nil), false, false},
		"none, on either":                        {"", on(tags{"team": "web"}, tags{"team": "db"}), true, true},
		"a label that is allowed to be empty":    {`,"Tags":{"team":[""]}`, on(tags{"team": ""}), false, true},
		"an empty list, on a label":              {`,"Tags":{"team":[]}`, on(tags{"team": ""}), false, false},
		"a label in another case":                {team, on(tags{"Team": "web"}), false, false},
		"the workload, as a tag":                 {`,"Workload":"w","Tags":{"kuma.io/workload":["w"]}`, on(tags{workloadLabel: "w"}), false, true},
		"one label of two":                       {`,"Tags":{"env":["prod"],"team":["web"]}`, on(tags{"team": "web", "env": "dev"}), false, false},
		"both labels, in another order of names": {`,"Tags":{"team":["web"],"env":["prod"]}`, on(tags{"env": "prod", "team": "web"}), false, true},
	} {
		for version, want := range map[string]bool{"2.10": c.in2, "2.14": c.in2, "3.0": c.in3} {
			err := verify(t, withClaims(c.claims), dataplane.WithBoundary(kumas[version])).Permits(c.proxy)
			if want {
				assert.NoError(t, err, "%s, %s", name, version)
			} else {
				assert.ErrorIs(t, err, token.ErrNotPermitted, "%s, %s", name, version)
			}
		}
	}
}

func TestKumaTheWorkloadOfATokenIsComparedWithTheLabel(t *testing.T) {
	for version, boundary := range kumas { // 2.10 to 2.12 drop the claim; here it counts
		verified := verify(t, withClaims(`,"Workload":"w"`), dataplane.WithBoundary(boundary))
		for _, c := range []struct {
			proxy dataplane.Proxy
			want  bool
		}{
			{dataplane.Proxy{Labels: map[string]string{workloadLabel: "w"}}, true},
			{dataplane.Proxy{Workload: "w"}, true},
			{dataplane.Proxy{Workload: "w", Labels: map[string]string{workloadLabel: "w"}}, true},
			{dataplane.Proxy{Workload: "w", Labels: map[string]string{"team": "x"}}, true},
			{dataplane.Proxy{Labels: map[string]string{workloadLabel: "x"}}, false},
			{dataplane.Proxy{Labels: map[string]string{"team": "x"}}, false},
			{dataplane.Proxy{}, false},
			{dataplane.Proxy{Workload: "w", Labels: map[string]string{workloadLabel: "x"}}, false},
			{dataplane.Proxy{Workload: "x", Labels: map[string]string{workloadLabel: "w"}}, false},
		} {
			c.proxy.Mesh = "default"
			err := verified.Permits(c.proxy)
			assert.Equal(t, c.want, err == nil, "%s: %+v: %v", version, c.proxy, err)
		}
	}
}

func TestAProxyWithTwoWorkloadsIsRefusedWhateverItsToken(t *testing.T) {
	proxy := dataplane.Proxy{Mesh: "default", Workload: "w", Labels: map[string]string{workloadLabel: "x"}}
	for _, claims := range []string{"", `,"Workload":"w"`, `,"Workload":"x"`} {
		for _, boundary := range kumas {
			err := verify(t, withClaims(claims), dataplane.WithBoundary(boundary)).Permits(proxy)
			require.ErrorIs(t, err, token.ErrNotPermitted)
			assert.ErrorContains(t, err, `the proxy's workload is "w", its label kuma.io/workload is "x"`)
		}
	}
}

func TestKumaATokenWithoutAWorkloadIsRefusedFrom2_14OnWhereTheProxyHasOne(t *testing.T) {
	for version, want := range map[string]bool{"2.10": true, "2.14": false, "3.0": false} {
		boundary := kumas[version]
		for name, proxy := range map[string]dataplane.Proxy{
			"as a label": {Mesh: "default", Labels: map[string]string{workloadLabel: "w"}},
			"otherwise":  {Mesh: "default", Workload: "w"},
		} {
			err := verify(t, withClaims(""), dataplane.WithBoundary(boundary)).Permits(proxy)
			assert.Equal(t, want, err == nil, "%s, %s: %v", version, name, err)

			boundary.WorkloadOptional = true
			assert.NoError(t, verify(t, withClaims(""), dataplane.WithBoundary(boundary)).Permits(proxy),
				"%s, %s: an operator whose identities do not rest on the workload", version, name)
			boundary.WorkloadOptional = kumas[version].WorkloadOptional
		}
		assert.NoError(t, verify(t, withClaims(""), dataplane.WithBoundary(boundary)).Permits(dataplane.Proxy{Mesh: "default"}), version)
	}
}

func TestKumaATypeOtherThanDataplaneMustBeInTheTokenIn2AndIsRefusedIn3(t *testing.T) {
	for name, c := range map[string]struct {
		claims, proxyType string
		in2, in3          bool
	}{
		"none, a dataplane":          {"", "dataplane", true, true},
		"none, of no type":           {"", "", true, true},
		"none, an ingress":           {"", "ingress", false, false},
		"none, an egress":            {"", "egress", false, false},
		"dataplane, of no type":      {`,"Type":"dataplane"`, "", true, true},
		"dataplane, an ingress":      {`,"Type":"dataplane"`, "ingress", false, false},
		"ingress, an ingress":        {`,"Type":"ingress"`, "ingress", true, false},
		"egress, an egress":          {`,"Type":"egress"`, "egress", true, false},
		"ingress, an egress":         {`,"Type":"ingress"`, "egress", false, false},
		"ingress, a dataplane":       {`,"Type":"ingress"`, "dataplane", false, false},
		"another type, of that type": {`,"Type":"gateway"`, "gateway", false, false},
		"none, in another case":      {"", "Dataplane", false, false},
	} {
		proxy := dataplane.Proxy{Mesh: "default", Type: c.proxyType}
		for version, want := range map[string]bool{"2.10": c.in2, "2.14": c.in2, "3.0": c.in3} {
			err := verify(t, withClaims(c.claims), dataplane.WithBoundary(kumas[version])).Permits(proxy)
			assert.Equal(t, want, err == nil, "%s, %s: %v", name, version, err)
		}
	}
}

func TestTheTypesOfABoundaryAreThoseThatMayConnect(t *testing.T) {
	boundary := dataplane.AsKuma30()
	boundary.Types = append(boundary.Types, "gateway")
	proxy := dataplane.Proxy{Mesh: "default", Type: "gateway"}
	assert.NoError(t, verify(t, withClaims(`,"Type":"gateway"`), dataplane.WithBoundary(boundary)).Permits(proxy))
	assert.ErrorIs(t, verify(t, withClaims(""), dataplane.WithBoundary(boundary)).Permits(proxy), token.ErrNotPermitted)

	boundary.Types = []string{"gateway"}
	option := dataplane.WithBoundary(boundary)
	boundary.Types[0] = "dataplane" // the option has its own
	err := verify(t, withClaims(""), option).Permits(dataplane.Proxy{Mesh: "default"})
	require.ErrorIs(t, err, token.ErrNotPermitted)
	assert.ErrorContains(t, err, `proxies of type "dataplane" are not accepted`)
}

func TestWithoutABoundaryWhatTheVersionsDisagreeAboutIsRefusedAndTheErrorNamesTheOption(t *testing.T) {
	type tags = map[string]string
	const refused, accepted = false, true
	for name, c := range map[string]struct {
		claims string
		proxy  dataplane.Proxy
		want   bool
	}{
		"tags, and inbounds":               {`,"Tags":{"a":["1"]}`, dataplane.Proxy{Inbounds: []tags{{"a": "1"}}}, accepted},
		"tags, and inbounds and labels":    {`,"Tags":{"a":["1"]}`, dataplane.Proxy{Inbounds: []tags{{"a": "1"}}, Labels: tags{"a": "1"}}, refused},
		"tags, and labels":                 {`,"Tags":{"a":["1"]}`, dataplane.Proxy{Labels: tags{"a": "1"}}, refused},
		"no tags, and labels":              {"", dataplane.Proxy{Labels: tags{"a": "1"}}, accepted},
		"a workload":                       {`,"Workload":"w"`, dataplane.Proxy{Labels: tags{workloadLabel: "w"}}, accepted},
		"no workload, and one as a label":  {"", dataplane.Proxy{Labels: tags{workloadLabel: "w"}}, refused},
		"no workload, and one of its own":  {"", dataplane.Proxy{Workload: "w"}, refused},
		"no workload, and none":            {"", dataplane.Proxy{}, accepted},
		"type ingress, and an ingress":     {`,"Type":"ingress"`, dataplane.Proxy{Type: "ingress"}, refused},
		"type dataplane, and a dataplane":  {`,"Type":"dataplane"`, dataplane.Proxy{}, accepted},
		"tags, and an empty set of labels": {`,"Tags":{"a":["1"]}`, dataplane.Proxy{Inbounds: []tags{{"a": "1"}}, Labels: tags{}}, accepted},
	} {
		c.proxy.Mesh = "default"
		for _, options := range [][]dataplane.ValidatorOption{nil, {dataplane.WithBoundary(dataplane.Boundary{})}} {
			err := verify(t, withClaims(c.claims), options...).Permits(c.proxy)
			if c.want == accepted {
				assert.NoError(t, err, name)
				continue
			}
			if assert.ErrorIs(t, err, token.ErrNotPermitted, name) {
				assert.ErrorContains(t, err, "WithBoundary", name)
			}
		}
	}
}

func TestTheBoundaryIsTheValidatorsAlsoForARememberedToken(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	raw := issue(t, newIssuer(t, store), "default", day)
	proxy := dataplane.Proxy{Mesh: "default", Workload: "w"}
	for version, want := range map[string]bool{"2.10": true, "3.0": false} {
		validator := newValidator(t, store, dataplane.WithBoundary(kumas[version]))
		for range 2 {
			verified, err := validator.Validate(t.Context(), "default", raw)
			require.NoError(t, err)
			assert.Equal(t, want, verified.Permits(proxy) == nil, version)
		}
		session, err := dataplane.NewAuthenticator(validator).Authenticate(t.Context(), raw)
		require.NoError(t, err)
		assert.Equal(t, want, session.Permits(proxy) == nil, version)
	}
}

func TestAnUnusableBoundaryIsRefused(t *testing.T) {
	for want, boundary := range map[string]dataplane.Boundary{
		"there is no TagRule 4":  {Tags: dataplane.TagsOnLabels + 1},
		"there is no TagRule -1": {Tags: -1},
		"a type is empty":        {Types: []string{"dataplane", ""}},
	} {
		_, err := dataplane.NewValidator(keystore.NewMemory(), dataplane.WithBoundary(boundary))
		assert.ErrorContains(t, err, want)
		_, err = dataplane.NewOfflineValidator(dataplane.WithPublicKey("default", "1", testKey(0).Public()), dataplane.WithBoundary(boundary))
		assert.ErrorContains(t, err, want)
	}
}

func TestKumaTheRegisteredClaims(t *testing.T) {
	start := time.Unix(2_000_000_000, 0)
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(0).Public()),
		dataplane.WithClock(func() time.Time { return start }))
	for name, c := range map[string]struct {
		claims         string
		kuma, meshpass bool
	}{
		"exp alone":           {`"exp":2000000060`, true, true},
		"no exp":              {`"nbf":1999999999`, true, false}, // no token lasts for ever
		"expired a second":    {`"exp":1999999999`, false, true}, // 30 s of leeway
		"expired a minute":    {`"exp":1999999940`, false, false},
		"nbf in a second":     {`"exp":2000000060,"nbf":2000000001`, false, true},
		"nbf in a minute":     {`"exp":2000000060,"nbf":2000000060`, false, false},
		"iat in a minute":     {`"exp":2000000060,"iat":2000000060`, true, true}, // 2.10 refuses it
		"iat a long time ago": {`"exp":2000000060,"iat":1000000000`, true, true},
	} {
		raw := signPayload(t, testKey(0), "1", `{"Mesh":"default","jti":"a",`+c.claims+`}`)
		err := check(t, validator, "default", raw)
		assert.Equal(t, c.meshpass, err == nil, "%s (Kuma from 2.11: %v): %v", name, c.kuma, err)
	}
}

func TestKumaTheKidMustBeAStringAndTheAlgorithmRS256(t *testing.T) {
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(0).Public()))
	for name, header := range map[string]string{
		"a kid that is a number":          `{"alg":"RS256","kid":1,"typ":"JWT"}`,
		"HS256 with the legacy kid 0":     `{"alg":"HS256","kid":"0","typ":"JWT"}`,
		"HS256 with a kid that is number": `{"alg":"HS256","typ":"JWT","kid":1337}`,
	} {
		for _, sign := range []forge.Signer{forge.RS256(testRSA(0)), forge.HS256([]byte("secret"))} {
			assert.ErrorIs(t, check(t, validator, "default", forge.Token(header, withClaims(""), sign)), token.ErrInvalid, name)
		}
	}
}

// The cases of Kuma's tests that are about a token and a proxy. The rest are in package
// xdsauth.
func TestTheCasesOfKumasOwnTestsAreAsTheDocumentSays(t *testing.T) {
	type tags = map[string]string
	only := func(claims token.Dataplane) token.Dataplane { claims.Mesh = "default"; return claims }
	allow := func(tag string, values ...string) token.Dataplane {
		return only(token.Dataplane{Tags: map[string][]string{tag: values}})
	}
	dp1 := dataplane.Proxy{Mesh: "default", Name: "dp-1", Inbounds: []tags{{serviceTag: "web", "kuma.io/protocol": "http"}, {serviceTag: "web-api"}}}
	labelled := dataplane.Proxy{Mesh: "default", Name: "dp-1", Labels: tags{"team": "web", "env": "prod", serviceTag: "web-api"}}
	workload := dataplane.Proxy{Mesh: "default", Name: "dp-with-workload", Labels: tags{workloadLabel: "backend", "team": "web"}, Inbounds: dp1.Inbounds}
	services := allow(serviceTag, "web", "web-api")
	teamAndEnv := only(token.Dataplane{Tags: map[string][]string{"team": {"web"}, "env": {"staging"}}})

	all, two, three, later := []string{"2.10", "2.14", "3.0"}, []string{"2.10", "2.14"}, []string{"3.0"}, []string{"2.14", "3.0"}
	outcomes := map[string]kumacases.Outcome{}
	for id, c := range map[string]struct {
		versions []string
		claims   token.Dataplane
		proxy    dataplane.Proxy
		kuma     bool
	}{
		"U1":  {all, only(token.Dataplane{}), dp1, true},
		"U2":  {all, only(token.Dataplane{Name: "dp-1"}), dp1, true},
		"U3":  {two, services, dp1, true},
		"U4":  {three, allow("team", "web"), labelled, true},
		"U5":  {three, services, labelled, true},
		"U6":  {later, only(token.Dataplane{Workload: "backend"}), workload, true},
		"U7":  {all, only(token.Dataplane{Name: "dp-2"}), dp1, false},
		"U9":  {two, allow(serviceTag, "backend"), dp1, false},
		"U10": {three, allow("team", "backend"), labelled, false},
		"U11": {all, allow("kuma.io/zone", "east"), workload, false},
		"U12": {two, allow(serviceTag, "web"), dp1, false},
		"U13": {three, teamAndEnv, labelled, false},
		"U14": {later, only(token.Dataplane{Workload: "frontend"}), workload, false},
		"U15": {later, only(token.Dataplane{Workload: "backend"}), dp1, false},
		"U16": {later, only(token.Dataplane{}), workload, false},
		"U17": {later, only(token.Dataplane{Workload: "backend"}), workload, true},
		"U18": {later, only(token.Dataplane{}), dp1, true},
		"U19": {later, only(token.Dataplane{}), workload, true},
		"U20": {later, only(token.Dataplane{}), workload, true},
		"U21": {later, only(token.Dataplane{}), workload, true},
		"U25": {three, only(token.Dataplane{Name: "zone-proxy-1"}), dataplane.Proxy{Mesh: "default", Name: "zone-proxy-1"}, true},
	} {
		for i, version := range c.versions {
			store := keystore.NewMemory()
			putKey(t, store, "default", 1, testKey(0))
			issued, err := newIssuer(t, store).Issue(t.Context(), c.claims, day)
			require.NoError(t, err)
			verified, err := newValidator(t, store, dataplane.WithBoundary(kumas[version])).Validate(t.Context(), "default", issued.Token)
			require.NoError(t, err)
			o := kumacases.Outcome{Kuma: c.kuma, Meshpass: verified.Permits(c.proxy) == nil}
			if i > 0 {
				require.Equal(t, outcomes[id], o, "%s, %s", id, version)
			}
			outcomes[id] = o
		}
	}

	said := func(id string, kuma bool, err error) {
		if err != nil {
			require.NotErrorIs(t, err, token.ErrUnavailable, id)
		}
		outcomes[id] = kumacases.Outcome{Kuma: kuma, Meshpass: err == nil}
	}
	now := time.Now()
	clock := func() time.Time { return now }
	// Each answer is that of a validator that starts then, so that none waits for a change.
	validate := func(store keystore.KeyStore, raw string) error {
		return check(t, newValidator(t, store, dataplane.WithClock(clock)), "default", raw)
	}
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	putKey(t, store, "demo", 1, testKey(1))
	issuer := newIssuer(t, store, dataplane.WithClock(clock))

	said("U8", false, validate(store, issue(t, issuer, "demo", day)))
	said("U22", false, validate(store, "this-is-not-valid-jwt-token"))
	replaced := keystore.NewMemory()
	putKey(t, replaced, "default", 1, testKey(2))
	said("U23", false, validate(replaced, issue(t, issuer, "default", day)))
	_, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "demo-2"}, day)
	said("U24", false, err)

	first := issue(t, issuer, "default", day)
	putKey(t, store, "default", 2, testKey(1))
	second := issue(t, issuer, "default", day)
	said("T1", true, errors.Join(validate(store, first), validate(store, second)))
	require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 1))
	said("T2", false, validate(store, first))
	said("T3", true, validate(store, second))

	raw := issue(t, issuer, "default", time.Minute)
	now = now.Add(-time.Hour)
	said("T4", false, validate(store, raw))
	now = now.Add(time.Hour + time.Minute + time.Second)
	said("T5", false, validate(store, raw))
	now = now.Add(time.Minute)
	said("T6", false, validate(store, raw))

	_, claims := inside(t, second)
	global := keystore.NewMemory()
	putKey(t, global, "default", 2, testKey(1))
	putRecord(t, global, keystore.Global, "dataplane-token-revocations-default", []byte(claims.ID))
	said("T7", false, validate(global, second))
	require.NoError(t, dataplane.Revoke(t.Context(), store, "default", claims.ID))
	said("T8", false, validate(store, second))
	said("T9", false, validate(store, forge.Token(`{"alg":"HS256","typ":"JWT","kid":1337}`, `{}`, forge.HS256([]byte("signature")))))

	session, err := insecure.Authenticator{}.Authenticate(t.Context(), "some-random-token")
	require.NoError(t, err)
	said("N1", true, session.Permits(dp1))

	kumacases.Check(t, "../docs/kuma.md", "UNT", outcomes)
}
