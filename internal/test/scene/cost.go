package scene

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Cost measures what an observer adds to Validate, at first sight of a token and when it
// was seen before. The raw operation, a validator without an observer and one with it
// take turns. It reports, as medians in nanoseconds, the raw operation (raw-ns), Validate
// without and with the observer (without-ns, with-ns), their difference (added-ns) and
// that as a multiple of the raw operation (x-raw).
func Cost(b *testing.B, o observe.Observer) {
	b.Run("first sight", func(b *testing.B) { cost(b, o, 2000, dataplane.WithCache(0)) })
	b.Run("seen before", func(b *testing.B) { cost(b, o, 1) })
}

func cost(b *testing.B, o observe.Observer, tokens int, options ...dataplane.ValidatorOption) {
	ctx := context.Background()
	quiet := dataplane.WithLogger(slog.New(slog.DiscardHandler))
	key := forge.Key()
	private := must(signing.NewPrivateKey(key))
	store := keystore.NewMemory()
	must(store.Create(ctx, keystore.Record{Scope: "default", Name: signing.DataplaneKeys("default").KeyName(1), Data: must(private.PEM())}))
	issuer := must(dataplane.NewIssuer(store, quiet))
	claims := token.Dataplane{Mesh: "default", Name: "backend-7d9c5b6f4-x2x9q",
		Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}}}
	raws := make([]string, tokens)
	for i := range raws {
		raws[i] = must(issuer.Issue(ctx, claims, time.Hour)).Token
	}
	validate := func(options ...dataplane.ValidatorOption) func(raw string) {
		v := must(dataplane.NewValidator(store, append(options, quiet)...))
		b.Cleanup(func() { v.Close() })
		must(v.Validate(ctx, "default", raws[0])) // after the first read
		return func(raw string) { must(v.Validate(ctx, "default", raw)) }
	}
	without := validate(options...)
	with := validate(append(options, dataplane.WithObserver(o))...)
	verify := func(raw string) {
		at := strings.LastIndex(raw, ".")
		digest := sha256.Sum256([]byte(raw[:at]))
		must(0, rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], must(base64.RawURLEncoding.DecodeString(raw[at+1:]))))
	}
	took := func(f func(string), raw string) float64 {
		began := time.Now()
		f(raw)
		return float64(time.Since(began))
	}
	var verifies, withouts, withs []float64
	for i := 0; b.Loop(); i++ {
		raw := raws[i%len(raws)]
		verifies = append(verifies, took(verify, raw))
		if i%2 == 0 { // neither always follows the other
			withouts, withs = append(withouts, took(without, raw)), append(withs, took(with, raw))
		} else {
			withs, withouts = append(withs, took(with, raw)), append(withouts, took(without, raw))
		}
	}
	b.ReportMetric(0, "ns/op") // of all three together: tells nothing
	b.ReportMetric(median(verifies), "raw-ns")
	b.ReportMetric(median(withouts), "without-ns")
	b.ReportMetric(median(withs), "with-ns")
	b.ReportMetric(median(withs)-median(withouts), "added-ns")
	b.ReportMetric((median(withs)-median(withouts))/median(verifies), "x-raw")
	b.ReportMetric(testing.AllocsPerRun(100, func() { with(raws[0]) })-testing.AllocsPerRun(100, func() { without(raws[0]) }), "added-allocs")
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
