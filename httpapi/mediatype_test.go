package httpapi_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/token"
)

func TestClientTakesAnAnswerOnlyInThePromisedMediaType(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	_, keys := w.do(t, "GET", "/jwks/zone", "")
	raw := tokenWith(t, token.Dataplane{Mesh: "default"}, time.Hour)
	list := func(contentType string) error {
		_, err := answering(t, 200, contentType, `{"ids":["a"]}`).RevokedZone(ctx)
		return err
	}
	keySet := func(contentType string) error {
		_, err := answering(t, 200, contentType, keys).ZoneKeys(ctx)
		return err
	}
	issue := func(contentType string) error {
		_, err := answering(t, 200, contentType, raw).IssueDataplane(ctx, token.Dataplane{Mesh: "default"}, time.Hour)
		return err
	}
	for _, c := range []struct {
		call  func(string) error
		types []string
	}{
		{list, []string{"application/json", "application/json; charset=utf-8", `Application/JSON;Charset="UTF-8"`, "application/json; profile=x"}},
		{keySet, []string{"application/jwk-set+json", "application/json", "APPLICATION/JWK-SET+JSON; charset=utf-8"}},
		{issue, []string{"text/plain", "text/plain; charset=utf-8", "TEXT/PLAIN"}},
	} {
		for _, contentType := range c.types {
			assert.NoError(t, c.call(contentType), contentType)
		}
	}
	for _, call := range []func(string) error{list, keySet, issue} {
		for _, contentType := range []string{
			"text/html", "text/html; charset=utf-8", "application/octet-stream", "", "json", "application/json; charset=utf-16", `text/plain; charset="latin1"`,
			"application/jwk-set+json; charset=utf-16le", "application/json; charset=utf-8; charset=latin1", "application/json, text/plain",
		} {
			err := call(contentType)
			require.ErrorIs(t, err, httpapi.ErrAnswer, contentType)
			assert.ErrorContains(t, err, "want Content-Type ")
			assert.NotErrorIs(t, err, token.ErrUnavailable, "to ask again does not help")
		}
	}
}
