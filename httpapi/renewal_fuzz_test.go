package httpapi_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// fuzzNow is the moment at which fuzzed tokens are presented.
var fuzzNow = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

const (
	fuzzLineage  = 90 * 24 * time.Hour
	fuzzValidFor = time.Hour
)

// renewers renew what one key has signed.
type renewers struct {
	dataplanes dataplane.Issuer
	proxies    []dataplane.Validator // one for each boundary
	zones      zone.Issuer
	components zone.Validator
}

var theRenewers = sync.OnceValues(func() (*renewers, error) {
	clock := func() time.Time { return fuzzNow }
	silent := slog.New(slog.DiscardHandler)
	r := &renewers{}
	var err error
	if r.dataplanes, err = dataplane.NewOfflineIssuer(testKey(2), "1", dataplane.WithMaxLineage(fuzzLineage), dataplane.WithLongTokensRenewed(),
		dataplane.WithClock(clock), dataplane.WithLogger(silent)); err != nil {
		return nil, err
	}
	if r.zones, err = zone.NewOfflineIssuer(testKey(2), "1", zone.WithMaxLineage(fuzzLineage), zone.WithLongTokensRenewed(),
		zone.WithClock(clock), zone.WithLogger(silent)); err != nil {
		return nil, err
	}
	for _, boundary := range []dataplane.Boundary{{}, dataplane.AsKuma210(), dataplane.AsKuma214(), dataplane.AsKuma30()} {
		v, err := dataplane.NewOfflineValidator(dataplane.WithPublicKey("default", "1", testKey(2).Public()), dataplane.WithBoundary(boundary),
			dataplane.WithClock(clock), dataplane.WithLogger(silent))
		if err != nil {
			return nil, err
		}
		r.proxies = append(r.proxies, v)
	}
	r.components, err = zone.NewOfflineValidator(zone.WithPublicKey("1", testKey(2).Public()), zone.WithClock(clock), zone.WithLogger(silent))
	return r, err
})

// asToken makes a token with some members and the registered claims, which are so many
// seconds off.
func asToken(t testing.TB, members string, iat, nbf, exp, began int64) string {
	at := fuzzNow.Unix()
	return forge.Token(`{"alg":"RS256","kid":"1","typ":"JWT"}`, fmt.Sprintf(`{%s,"iat":%d,"nbf":%d,"exp":%d,"jti":%q}`,
		members, at-5+iat, at-300+nbf, at+3600+exp, idAt(time.Unix(at+began, 0))), signedBy(t, 2))
}

// renewedAlike renews a token, and fails unless the renewed one permits what the old one
// does. It reports whether it was renewed.
func renewedAlike(t *testing.T, raw string) bool {
	r, err := theRenewers()
	require.NoError(t, err)
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return false
	}
	claims, err := unverified.Claims()
	if err != nil {
		return false
	}
	ctx := quiet(t)
	var issued token.Issued
	if claims.Kind() == token.KindDataplane {
		verified, invalid := r.proxies[0].Validate(ctx, "default", raw)
		if invalid != nil {
			return false
		}
		issued, err = r.dataplanes.Renew(ctx, verified, fuzzValidFor)
	} else {
		verified, invalid := r.components.Validate(ctx, claims.Zone.Zone, append(claims.Zone.Scope, "")[0], raw)
		if invalid != nil {
			return false
		}
		issued, err = r.zones.Renew(ctx, verified, fuzzValidFor)
	}
	if err != nil {
		require.Empty(t, issued.Token)
		return false
	}
	was, is := payloadSays(t, raw), payloadSays(t, issued.Token)
	for _, limit := range []int64{fuzzNow.Add(fuzzValidFor).Unix(), idSeconds(t, was["jti"]) + int64(fuzzLineage.Seconds())} {
		require.LessOrEqual(t, is["exp"], limit)
	}
	require.Greater(t, is["exp"], fuzzNow.Unix())
	require.GreaterOrEqual(t, is["nbf"], was["nbf"])
	require.LessOrEqual(t, was["iat"], fuzzNow.Unix(), "no renewal is dated ahead")
	for _, said := range []map[string]any{was, is} {
		delete(said, "exp")
		delete(said, "nbf")
	}
	require.Equal(t, was, is)

	if claims.Kind() == token.KindDataplane {
		for _, v := range r.proxies {
			old, err := v.Validate(ctx, "default", raw)
			require.NoError(t, err)
			renewed, err := v.Validate(ctx, "default", issued.Token)
			require.NoError(t, err)
			for _, proxy := range proxiesNear(claims.Dataplane) {
				require.Equal(t, old.Permits(proxy) == nil, renewed.Permits(proxy) == nil, "%+v", proxy)
			}
		}
		return true
	}
	for _, name := range []string{"", "west", "east", claims.Zone.Zone} {
		for _, scope := range append([]string{"", "cp", "ingress", "egress", "CP"}, claims.Zone.Scope...) {
			_, old := r.components.Validate(ctx, name, scope, raw)
			_, renewed := r.components.Validate(ctx, name, scope, issued.Token)
			require.Equal(t, old == nil, renewed == nil, "%q %q", name, scope)
		}
	}
	return true
}

// proxiesNear returns random proxies that differ in some ways from what a token asks for.
func proxiesNear(claims token.Dataplane) (proxies []dataplane.Proxy) {
	seed := rand.New(rand.NewPCG(1, uint64(len(claims.Name)+len(claims.Tags))))
	one := func(of ...string) string { return of[seed.IntN(len(of))] }
	tags := func() map[string]string {
		values := map[string]string{}
		for name, allowed := range claims.Tags {
			if seed.IntN(4) > 0 {
				values[name] = one(append(allowed, "other")...)
			}
		}
		if seed.IntN(3) == 0 {
			values["kuma.io/service"] = one("backend", "web")
		}
		return values
	}
	for range 40 {
		p := dataplane.Proxy{Mesh: one(claims.Mesh, claims.Mesh, "other"), Name: one(claims.Name, claims.Name, "dp-9"),
			Type: one("", claims.Type, "dataplane", "ingress"), Workload: one("", claims.Workload, "w-9")}
		if seed.IntN(3) > 0 {
			p.Inbounds = []map[string]string{tags(), tags()}[:1+seed.IntN(2)]
		}
		if seed.IntN(2) > 0 {
			p.Labels = tags()
		}
		proxies = append(proxies, p)
	}
	return proxies
}

// payloadSays returns what a payload says, as encoding/json reads it, without what says nothing:
// null, "" and {}. Names are those of the documentation, times whole seconds.
func payloadSays(t testing.TB, raw string) map[string]any {
	plain, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(plain))
	decoder.UseNumber()
	var members map[string]any
	require.NoError(t, decoder.Decode(&members))
	said := map[string]any{}
	for name, value := range members {
		for _, known := range []string{"Mesh", "Name", "Tags", "Type", "Workload", "Zone", "Scope"} {
			if strings.ToLower(known) == name {
				name = known
			}
		}
		if number, ok := value.(json.Number); ok {
			rat, ok := new(big.Rat).SetString(number.String())
			require.True(t, ok)
			value = new(big.Int).Quo(rat.Num(), rat.Denom()).Int64()
		}
		if tags, ok := value.(map[string]any); value == nil || value == "" || ok && len(tags) == 0 {
			continue
		}
		said[name] = value
	}
	return said
}

// idSeconds returns when a UUID of version 7 was made.
func idSeconds(t testing.TB, id any) int64 {
	var ms int64
	_, err := fmt.Sscanf(strings.ReplaceAll(id.(string), "-", "")[:12], "%x", &ms)
	require.NoError(t, err)
	return ms / 1000
}

// FuzzRenewal holds that a renewed token permits what the old one did, no more and no less,
// whatever that says and whatever its times are.
func FuzzRenewal(f *testing.F) {
	for _, members := range []string{
		`"Mesh":"default"`,
		`"Name":"dp-1","Mesh":"default","Tags":{"kuma.io/service":["backend","web"],"a":["b"]},"Type":"ingress","Workload":"shop"`,
		`"mesh":"default","name":"dp-1","tags":{},"type":"","workload":null`,
		`"Mesh":"default","Tags":{"a":[]}`,
		`"Mesh":"default","Name":"ä\"\\<\u2028&"`,
		`"Mesh":"default","Node":"n-1"`, `"Mesh":"default","iss":"me"`, `"Mesh":"default","Mesh":"default"`,
		`"Zone":"west","Scope":["cp"]`, `"zone":"west","scope":["ingress","cp","cp"]`, `"Zone":"west","Scope":["x",""]`, `"Zone":"","Scope":[]`,
	} {
		f.Add(members, int64(0), int64(0), int64(0), int64(0))
		f.Add(members, int64(-86400), int64(-1000), int64(-1800), int64(-86400))
	}
	f.Add(`"Mesh":"default"`, int64(600), int64(0), int64(0), int64(0))
	f.Add(`"Mesh":"default"`, int64(0), int64(320), int64(1<<36), int64(130))
	f.Add(`"Mesh":"default"`, int64(0), int64(0), int64(0), int64(-90*86400+2))
	f.Fuzz(func(t *testing.T, members string, iat, nbf, exp, began int64) {
		const far = 1 << 40
		if iat%far != iat || nbf%far != nbf || exp%far != exp || fuzzNow.Unix()+began < 0 || began%far != began {
			return
		}
		renewedAlike(t, asToken(t, members, iat, nbf, exp, began))
	})
}

func TestARenewedTokenPermitsWhatTheOldOneDid(t *testing.T) {
	seed := rand.New(rand.NewPCG(7, 15))
	word := func() string {
		return []string{"a", "b-1", "kuma.io/service", "ü", "x y", `q"`, "<&>", "0"}[seed.IntN(8)]
	}
	list := func() (words []string) {
		for range 1 + seed.IntN(3) {
			words = append(words, word())
		}
		return words
	}
	renewed := 0
	for range 150 {
		claims := map[string]any{}
		if seed.IntN(2) == 0 {
			claims["Zone"], claims["Scope"] = word(), list()
		} else {
			claims["Mesh"] = "default"
			for _, name := range []string{"Name", "Type", "Workload"} {
				if seed.IntN(2) == 0 {
					claims[name] = word()
				}
			}
			tags := map[string]any{}
			for range seed.IntN(3) {
				tags[word()] = list()
			}
			claims["Tags"] = tags
		}
		text, err := json.Marshal(claims)
		require.NoError(t, err)
		back := -seed.Int64N(80 * 86400)
		if renewedAlike(t, asToken(t, string(text[1:len(text)-1]), back, seed.Int64N(86400)+back, 0, back)) {
			renewed++
		}
	}
	require.Greater(t, renewed, 100, "so many were renewed")
}
