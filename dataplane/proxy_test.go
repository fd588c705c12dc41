package dataplane_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
)

// verify makes a validated token of a payload, also of one that no issuer makes.
func verify(t testing.TB, payload string, options ...dataplane.ValidatorOption) dataplane.Verified {
	t.Helper()
	validator := newOfflineValidator(t, append(options, dataplane.WithPublicKey("default", "key-1", testKey(0).Public()))...)
	verified, err := validator.Validate(t.Context(), "default", signPayload(t, testKey(0), "key-1", payload))
	require.NoError(t, err)
	return verified
}

func withClaims(claims string) string {
	return `{"Mesh":"default","exp":4000000000,"jti":"a"` + claims + `}`
}

// everyTagRule returns a boundary with each rule for tags.
func everyTagRule() (boundaries []dataplane.Boundary) {
	for rule := dataplane.TagsUndecided; rule <= dataplane.TagsOnLabels; rule++ {
		boundaries = append(boundaries, dataplane.Boundary{Tags: rule})
	}
	return boundaries
}

func services(values ...string) []map[string]string {
	var inbounds []map[string]string
	for _, value := range values {
		inbounds = append(inbounds, map[string]string{"service": value})
	}
	return inbounds
}

func TestVerifiedPermitsTheProxiesThatTheTokenNames(t *testing.T) {
	proxy := func(change func(*dataplane.Proxy)) dataplane.Proxy {
		p := dataplane.Proxy{Mesh: "default", Name: "dp-1"}
		if change != nil {
			change(&p)
		}
		return p
	}
	on := func(inbounds ...map[string]string) dataplane.Proxy {
		return proxy(func(p *dataplane.Proxy) { p.Inbounds = inbounds })
	}
	const (
		passes = "" // otherwise: what the error must name, separated by bars
		same   = "as documented"
	)
	documented := dataplane.AsKuma210()
	strict := documented
	strict.Tags = dataplane.TagsOnEachInbound

	for name, c := range map[string]struct {
		claims     string
		proxy      dataplane.Proxy
		documented string
		strict     string
	}{
		"a mesh alone and a bare proxy": {"", proxy(nil), passes, same},
		"a mesh alone and a proxy with everything": {"", dataplane.Proxy{Mesh: "default", Name: "x", Workload: "w", Type: "dataplane",
			Inbounds: services("a", "b"), Labels: map[string]string{"team": "x"}}, passes, same},
		"another mesh":                 {"", proxy(func(p *dataplane.Proxy) { p.Mesh = "other" }), `mesh|"default"|"other"`, same},
		"no mesh":                      {"", proxy(func(p *dataplane.Proxy) { p.Mesh = "" }), `mesh|"default"|""`, same},
		"a mesh in another case":       {"", proxy(func(p *dataplane.Proxy) { p.Mesh = "Default" }), `"default"|"Default"`, same},
		"the name":                     {`,"Name":"dp-1"`, proxy(nil), passes, same},
		"another name":                 {`,"Name":"dp-1"`, proxy(func(p *dataplane.Proxy) { p.Name = "dp-2" }), `name|"dp-1"|"dp-2"`, same},
		"a name that only begins so":   {`,"Name":"dp-1"`, proxy(func(p *dataplane.Proxy) { p.Name = "dp-11" }), `"dp-1"|"dp-11"`, same},
		"no name":                      {`,"Name":"dp-1"`, proxy(func(p *dataplane.Proxy) { p.Name = "" }), `"dp-1"|""`, same},
		"the workload":                 {`,"Workload":"w"`, proxy(func(p *dataplane.Proxy) { p.Workload = "w" }), passes, same},
		"no workload":                  {`,"Workload":"w"`, proxy(nil), `workload|"w"|""`, same},
		"another workload":             {`,"Workload":"w"`, proxy(func(p *dataplane.Proxy) { p.Workload = "x" }), `workload|"w"|"x"`, same},
		"type ingress for a dataplane": {`,"Type":"ingress"`, proxy(func(p *dataplane.Proxy) { p.Type = "dataplane" }), `type|"ingress"|"dataplane"`, same},
		"type ingress for no type":     {`,"Type":"ingress"`, proxy(nil), `type|"ingress"|"dataplane"`, same},
		"type ingress for an ingress":  {`,"Type":"ingress"`, proxy(func(p *dataplane.Proxy) { p.Type = "ingress" }), passes, same},
		"type dataplane for no type":   {`,"Type":"dataplane"`, proxy(nil), passes, same},
		"type dataplane for an egress": {`,"Type":"dataplane"`, proxy(func(p *dataplane.Proxy) { p.Type = "egress" }), `"dataplane"|"egress"`, same},
		"both values on two inbounds":  {`,"Tags":{"service":["backend","backend-admin"]}`, on(services("backend", "backend-admin")...), passes, same},
		"one value of two on an inbound": {`,"Tags":{"service":["backend","backend-admin"]}`,
			on(services("backend")...), passes, same},
		"a value too many on another inbound": {`,"Tags":{"service":["backend"]}`,
			on(services("backend", "backend-admin")...), `"service"|"backend-admin"|"backend"`, same},
		"two inbounds, one without the tag": {`,"Tags":{"service":["backend"]}`,
			on(map[string]string{"service": "backend"}, map[string]string{"other": "x"}), passes, `inbound 1|"service"`},
		"two inbounds, one without any tag": {`,"Tags":{"service":["backend"]}`,
			on(nil, map[string]string{"service": "backend"}), passes, `inbound 0|"service"`},
		"two tags on one inbound": {`,"Tags":{"svc":["a","b"],"ver":["1","2"]}`,
			on(map[string]string{"svc": "a", "ver": "2"}), passes, same},
		"two tags on two inbounds": {`,"Tags":{"svc":["a","b"],"ver":["1","2"]}`,
			on(map[string]string{"svc": "a"}, map[string]string{"ver": "2"}), passes, `inbound|lacks`},
		"one of two tags with another value": {`,"Tags":{"svc":["a","b"],"ver":["1","2"]}`,
			on(map[string]string{"svc": "a", "ver": "3"}), `"ver"|"3"|"1" "2"`, same},
		"a tag with an empty list and a proxy that has it": {`,"Tags":{"svc":[]}`,
			on(map[string]string{"svc": "a"}), `"svc"|"a"`, same},
		"a tag with an empty list and an empty value": {`,"Tags":{"svc":[]}`,
			on(map[string]string{"svc": ""}), `"svc"`, same},
		"a tag with an empty list and a proxy without it": {`,"Tags":{"svc":[]}`, on(map[string]string{"x": "y"}), `lacks|"svc"`, same},
		"a tag with null for a list":                      {`,"Tags":{"svc":null}`, on(map[string]string{"svc": "a"}), `"svc"|"a"`, same},
		"a tag that the proxy lacks":                      {`,"Tags":{"svc":["a"]}`, on(map[string]string{"Svc": "a"}), `lacks|"svc"`, same},
		"a tag and a proxy without inbounds":              {`,"Tags":{"svc":["a"]}`, on(), `lacks|"svc"`, same},
		"no tags and a proxy without inbounds":            {`,"Tags":{}`, on(), passes, same},
		"tags that the token does not name":               {`,"Tags":{"svc":["a"]}`, on(map[string]string{"svc": "a", "extra": "x"}), passes, same},
		"a value in another case":                         {`,"Tags":{"svc":["a"]}`, on(map[string]string{"svc": "A"}), `"A"|"a"`, same},
		"an empty value that the token allows":            {`,"Tags":{"svc":[""]}`, on(map[string]string{"svc": ""}), passes, same},
		"an empty value and a proxy without the tag":      {`,"Tags":{"svc":[""]}`, on(map[string]string{}), `lacks|"svc"`, same},
	} {
		t.Run(name, func(t *testing.T) {
			if c.strict == same {
				c.strict = c.documented
			}
			for mode, rule := range map[string]struct {
				boundary dataplane.Boundary
				want     string
			}{
				"documented": {documented, c.documented},
				"strict":     {strict, c.strict},
			} {
				err := verify(t, withClaims(c.claims), dataplane.WithBoundary(rule.boundary)).Permits(c.proxy)
				if rule.want == passes {
					assert.NoError(t, err, mode)
					continue
				}
				if !assert.ErrorIs(t, err, token.ErrNotPermitted, mode) {
					continue
				}
				assert.NotErrorIs(t, err, token.ErrInvalid, mode)
				for _, part := range strings.Split(rule.want, "|") {
					assert.ErrorContains(t, err, part, mode)
				}
			}
		})
	}
}

func TestVerifiedPermitsEscapesWhatAProxySaysOfItself(t *testing.T) {
	hostile := "x\n\x1b[31mFAKE"
	for _, proxy := range []dataplane.Proxy{
		{Mesh: hostile, Name: "dp-1"},
		{Mesh: "default", Name: hostile},
		{Mesh: "default", Name: "dp-1", Type: hostile},
		{Mesh: "default", Name: "dp-1", Workload: hostile},
		{Mesh: "default", Name: "dp-1", Inbounds: []map[string]string{{"svc": hostile}}, Labels: map[string]string{"svc": hostile}},
	} {
		for _, boundary := range everyTagRule() {
			err := verify(t, withClaims(`,"Name":"dp-1","Tags":{"svc":["a"]}`), dataplane.WithBoundary(boundary)).Permits(proxy)
			require.ErrorIs(t, err, token.ErrNotPermitted)
			if boundary.Tags == dataplane.TagsUndecided && proxy.Labels != nil {
				continue // the value is not looked at
			}
			assert.Contains(t, err.Error(), strings.Trim(strconv.Quote(hostile), `"`))
			assert.NotContains(t, err.Error(), "\n")
			assert.NotContains(t, err.Error(), "\x1b")
		}
	}
}

func TestVerifiedPermitsAnswersWithShortErrors(t *testing.T) {
	const limit = 4096 // a few dozen characters of each value, escaped
	for _, long := range []string{strings.Repeat("x", 1<<20), strings.Repeat("\n", 1<<20), strings.Repeat("\xff", 1<<20), strings.Repeat("\U0010ffff", 1<<18)} {
		for name, c := range map[string]struct {
			claims string
			proxy  dataplane.Proxy
		}{
			"a mesh":            {"", dataplane.Proxy{Mesh: long}},
			"a name":            {`,"Name":"dp-1"`, dataplane.Proxy{Mesh: "default", Name: long}},
			"a workload":        {`,"Workload":"w"`, dataplane.Proxy{Mesh: "default", Workload: long}},
			"a type":            {`,"Type":"ingress"`, dataplane.Proxy{Mesh: "default", Type: long}},
			"a tag's value":     {`,"Tags":{"svc":["a"]}`, dataplane.Proxy{Mesh: "default", Inbounds: []map[string]string{{"svc": long}}, Labels: map[string]string{"svc": long}}},
			"the token's name":  {`,"Name":"` + strings.Repeat("x", 4096) + `"`, dataplane.Proxy{Mesh: "default", Name: long}},
			"the token's tag":   {`,"Tags":{"` + strings.Repeat("x", 4096) + `":["a"]}`, dataplane.Proxy{Mesh: "default", Inbounds: []map[string]string{{strings.Repeat("x", 4096): long}}}},
			"a tag it lacks":    {`,"Tags":{"` + strings.Repeat("x", 4096) + `":["a"]}`, dataplane.Proxy{Mesh: "default", Inbounds: []map[string]string{nil}}},
			"one allowed value": {`,"Tags":{"svc":["` + strings.Repeat("x", 4096) + `"]}`, dataplane.Proxy{Mesh: "default", Inbounds: []map[string]string{{"svc": long}}, Labels: map[string]string{"svc": long}}},
			"allowed values":    {`,"Tags":{"svc":["` + strings.Repeat(strings.Repeat("y", 80)+`","`, 40) + `"]}`, dataplane.Proxy{Mesh: "default", Inbounds: []map[string]string{{"svc": long}}, Labels: map[string]string{"svc": long}}},
			"escaped ones":      {`,"Tags":{"svc":["` + strings.Repeat(strings.Repeat(`\u0001`, 64)+`","`, 9) + `"]}`, dataplane.Proxy{Mesh: "default", Inbounds: []map[string]string{{"svc": long}}, Labels: map[string]string{"svc": long}}},
		} {
			for _, boundary := range everyTagRule() {
				err := verify(t, withClaims(c.claims), dataplane.WithBoundary(boundary)).Permits(c.proxy)
				require.ErrorIs(t, err, token.ErrNotPermitted, name)
				assert.LessOrEqual(t, len(err.Error()), limit, "%s: %.100q", name, long[:8])
			}
		}
	}
}

func TestUnverifiedClaimsWithoutAMeshPermitNothing(t *testing.T) {
	for _, proxy := range []dataplane.Proxy{{Mesh: "default", Name: "dp-1"}, {Mesh: "other", Name: "dp-1"}} {
		require.ErrorIs(t, dataplane.AsKuma30().PermitsUnverified(token.Dataplane{Name: "dp-1"}, proxy), token.ErrNotPermitted)
	}
	require.NoError(t, dataplane.AsKuma30().PermitsUnverified(token.Dataplane{Mesh: "default"}, dataplane.Proxy{Mesh: "default", Name: "dp-1"}))
}

func TestVerifiedZeroValuePermitsNothing(t *testing.T) {
	var none dataplane.Verified
	for _, proxy := range []dataplane.Proxy{{}, {Mesh: "default"}} {
		assert.ErrorIs(t, none.Permits(proxy), token.ErrNotPermitted)
	}
	assert.Zero(t, none.Claims())
	assert.Zero(t, none.Registered())
	assert.Zero(t, none.KeyID())
}

func TestValidatorReturnsTheZeroVerifiedForARefusedToken(t *testing.T) {
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "key-1", testKey(0).Public()))
	verified, err := validator.Validate(t.Context(), "other", signPayload(t, testKey(0), "key-1", withClaims("")))
	require.Error(t, err)
	assert.Equal(t, dataplane.Verified{}, verified)
}

func TestVerifiedClaimsAreACopy(t *testing.T) {
	verified := verify(t, withClaims(`,"Name":"dp-1","Tags":{"svc":["a"]}`))
	before := verified.Claims()

	taken := verified.Claims()
	taken.Name = "dp-2"
	taken.Tags["svc"][0] = "b"
	taken.Tags["svc"] = append(taken.Tags["svc"], "c")
	delete(taken.Tags, "svc")
	taken.Tags["other"] = []string{"x"}

	assert.Equal(t, before, verified.Claims())
	proxy := dataplane.Proxy{Mesh: "default", Name: "dp-1", Inbounds: []map[string]string{{"svc": "a"}}}
	assert.NoError(t, verified.Permits(proxy))
	proxy.Inbounds[0]["svc"] = "b"
	assert.ErrorIs(t, verified.Permits(proxy), token.ErrNotPermitted)
}
