package cutoffmodel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Row is a cutoff of a table.
type Row struct {
	Name     string
	Cutoff   revocation.Cutoff     // without a moment
	In       revocation.CutoffsRef // zero: where CutOff adds it
	Concerns bool                  // the tokens of the table
}

// issuings are the times of issue of a table, from the cutoff on.
var issuings = []struct {
	name         string
	apart        time.Duration
	none, before bool // there is no iat; it is before the cutoff
}{
	{name: "without an iat", none: true, before: true},
	{name: "a second before", apart: -time.Second, before: true},
	{name: "at the same second"},
	{name: "a second after", apart: time.Second},
	{name: "in the future", apart: 5 * time.Minute},
}

// validators returns the settings of the validators of a table.
func validators() map[string]Settings {
	configured := map[string]*signing.PublicKey{"1": testKey(1).Public()}
	return map[string]Settings{
		"the store's keys":                         {Cache: 4096},
		"the store's keys, and nothing remembered": {},
		"configured keys alone":                    {Cache: 4096, Configured: configured, WithoutStoreKeys: true},
		"both":                                     {Cache: 4096, Configured: configured},
	}
}

// Table checks for each cutoff which tokens with these claims it revokes, by when they were
// issued: with each kind of validator, on a token that is bound to a session, on one that is
// bound after the cutoff, and again when the cutoff is removed. Each row is a subtest.
func Table(t *testing.T, kind Kind, claims Claims, rows []Row) {
	for _, row := range rows {
		for name, settings := range validators() {
			t.Run(row.Name+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { checkRow(t, kind, claims, row, settings) })
			})
		}
	}
}

type tabled struct {
	issued        string
	raw           string
	good          bool // after the cutoff
	verified      Verified
	session, late context.Context
}

func checkRow(t *testing.T, kind Kind, claims Claims, row Row, settings Settings) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("error %v, want none", err)
		}
	}
	store := keystore.NewMemory()
	data, err := testKey(1).PEM()
	must(err)
	_, err = store.Create(t.Context(), keystore.Record{Scope: kind.Keys.Scope(), Name: kind.Keys.KeyName(1), Data: data})
	must(err)
	settings.Clock = time.Now
	validator, err := kind.NewValidator(store, settings)
	must(err)
	defer func() { must(validator.Close()) }()
	issuer, err := kind.NewIssuer(store, time.Now)
	must(err)

	time.Sleep(500 * time.Millisecond)
	cutoff := row.Cutoff
	cutoff.Before = time.Now().Truncate(time.Second).Add(time.Second)
	var tokens []*tabled
	for i, issuing := range issuings {
		x := &tabled{issued: issuing.name, good: !row.Concerns || !issuing.before}
		iat := ""
		if !issuing.none {
			iat = fmt.Sprintf(`,"iat":%d`, cutoff.Before.Add(issuing.apart).Unix())
		}
		x.raw = forge.Token(`{"alg":"RS256","kid":"1","typ":"JWT"}`, fmt.Sprintf(`{%s,"jti":"id-%d","exp":%d%s}`, kind.Payload(claims), i, time.Now().Add(time.Hour).Unix(), iat), func(input []byte) []byte {
			signature, err := testKey(1).Sign(input)
			must(err)
			return signature
		})
		x.verified, err = validator.Validate(t.Context(), claims, x.raw)
		must(err)
		var stop context.CancelFunc
		x.session, stop = x.verified.Bind(t.Context())
		defer stop()
		tokens = append(tokens, x)
	}

	in := row.In
	if in == (revocation.CutoffsRef{}) {
		must(kind.CutOff(t.Context(), store, cutoff))
		in = revocation.CutoffsOf(kind.Keys.Kind(), kind.Keys.Scope())[0]
	} else {
		_, err := in.Add(t.Context(), store, cutoff)
		must(err)
	}
	synctest.Wait()
	for _, x := range tokens {
		var stop context.CancelFunc
		x.late, stop = x.verified.Bind(t.Context())
		defer stop()
		_, err := validator.Validate(t.Context(), claims, x.raw)
		for what, err := range map[string]error{"the token": err, "its session": context.Cause(x.session), "a session bound since": context.Cause(x.late)} {
			if x.good && err != nil {
				t.Errorf("issued %s: %s: %v, want none", x.issued, what, err)
			}
			if !x.good && (!errors.Is(err, token.ErrRevoked) || !strings.Contains(err.Error(), cutoff.String())) {
				t.Errorf("issued %s: %s: %v, want that a cutoff revokes %s", x.issued, what, err, cutoff)
			}
		}
	}
	issued, err := issuer(t.Context(), claims, time.Hour)
	must(err)
	if _, err := validator.Validate(t.Context(), claims, issued.Token); err != nil {
		t.Errorf("issued right after the cutoff: %v, want none", err)
	}

	must(in.Remove(t.Context(), store, cutoff))
	synctest.Wait()
	for _, x := range tokens {
		if _, err := validator.Validate(t.Context(), claims, x.raw); err != nil {
			t.Errorf("issued %s: %v after the cutoff was removed, want none", x.issued, err)
		}
	}
}
