package httpapi_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// scopeOf returns the scope of a token, without validating it.
func scopeOf(t *testing.T, raw string) []string {
	t.Helper()
	unverified, err := token.ParseUnverified(raw)
	require.NoError(t, err, raw)
	claims, err := unverified.Claims()
	require.NoError(t, err)
	return claims.Zone.Scope
}

// invalidParameters returns those of an error.
func invalidParameters(t *testing.T, text string) []httpapi.InvalidParameter {
	t.Helper()
	var e httpapi.Error
	require.NoError(t, json.Unmarshal([]byte(text), &e), text)
	return e.InvalidParameters
}

func TestARequestWithoutAScopeIsOneForScopeCPAndTheAuthoriserSeesIt(t *testing.T) {
	for name, options := range map[string][]httpapi.Option{"by default": nil, "as Kuma 3.0": {httpapi.WithRules(httpapi.AsKuma30())}} {
		w := newWorld(t, options...)
		for _, body := range []string{`{"zone":"west"}`, `{"zone":"west","scope":null}`, `{"scope":null,"zone":"west","validFor":""}`} {
			answer, text := w.do(t, "POST", "/tokens/zone", body)
			require.Equal(t, 200, answer.StatusCode, "%s: %s: %s", name, body, text)
			assert.Equal(t, []string{zone.ScopeCP}, w.asked.last(t).Zone.Scope)
			assert.Equal(t, []string{zone.ScopeCP}, scopeOf(t, text))
		}
	}
}

func TestARequestWithoutAScopeIsRefusedAsKuma210DoesIt(t *testing.T) {
	w := newWorld(t, httpapi.WithRules(httpapi.AsKuma210()))
	for _, body := range []string{`{"zone":"west"}`, `{"zone":"west","scope":null}`} {
		answer, text := w.do(t, "POST", "/tokens/zone", body)
		assert.Equal(t, 400, answer.StatusCode, body)
		assert.Equal(t, []httpapi.InvalidParameter{{Field: "scope", Reason: "cannot be empty"}}, invalidParameters(t, text))
	}
	assert.Zero(t, w.issued())
	_, text := w.do(t, "POST", "/tokens/zone", `{"zone":"west","scope":["ingress","egress"]}`)
	assert.Equal(t, []string{"ingress", "egress"}, scopeOf(t, text))
}

func TestARequestWithAnEmptyListOfScopesIsRefusedUnderAllRules(t *testing.T) {
	for _, rules := range []httpapi.Rules{{}, httpapi.AsKuma210(), httpapi.AsKuma30()} {
		w := newWorld(t, httpapi.WithRules(rules))
		answer, text := w.do(t, "POST", "/tokens/zone", `{"zone":"west","scope":[]}`)
		assert.Equal(t, 400, answer.StatusCode)
		assert.Equal(t, []httpapi.InvalidParameter{{Field: "scope", Reason: "cannot be empty"}}, invalidParameters(t, text))
		assert.Zero(t, w.issued())
	}
}

func TestATokenNamesOnlyATypeThatTheRulesHave(t *testing.T) {
	all := []string{"", "dataplane", "ingress", "egress", "gateway", "Dataplane", "INGRESS", "dataplane,ingress"}
	for _, c := range []struct {
		name  string
		rules httpapi.Rules
		good  []string
	}{
		{"the default", httpapi.Rules{}, []string{"", "dataplane"}},
		{"as Kuma 2.10", httpapi.AsKuma210(), []string{"", "dataplane", "ingress", "egress"}},
		{"as Kuma 3.0", httpapi.AsKuma30(), []string{"", "dataplane"}},
		{"a type of the operator's", httpapi.Rules{Types: []string{"gateway"}}, []string{"", "gateway"}},
	} {
		w := newWorld(t, httpapi.WithRules(c.rules))
		for _, proxyType := range all {
			body, err := json.Marshal(map[string]string{"mesh": "default", "type": proxyType})
			require.NoError(t, err)
			answer, text := w.do(t, "POST", "/tokens/dataplane", string(body))
			if assert.Contains(t, []int{200, 400}, answer.StatusCode); answer.StatusCode == 200 {
				assert.Contains(t, c.good, proxyType, c.name)
				continue
			}
			assert.NotContains(t, c.good, proxyType, c.name)
			assert.Equal(t, []httpapi.InvalidParameter{{Field: "type", Reason: proxyType + " is not a valid proxy type"}}, invalidParameters(t, text))
		}
	}
}

func TestTheIndexIsForEveryoneAndAsksNoOne(t *testing.T) {
	index := httpapi.WithIndex(httpapi.Index{Product: "Kuma", Version: "3.0.1"})
	w := newWorld(t, index, httpapi.WithAdmission(refuseAll))
	for _, user := range []string{"", "mallory", "alice"} {
		answer, text := w.do(t, "GET", "/", "", "As", user)
		assert.Equal(t, 200, answer.StatusCode)
		assert.JSONEq(t, `{"hostname":"","product":"Kuma","version":"3.0.1","instanceId":"","clusterId":"","gui":""}`, text)
	}
	assert.Empty(t, w.asked.all())
	assert.Zero(t, w.store.reads())
	assert.Zero(t, w.log.Count(""))
	for _, path := range []string{"/index", "/%2f", "//", "/."} {
		answer, _ := w.do(t, "GET", path, "")
		assert.Equal(t, 404, answer.StatusCode, path)
	}
}

func TestOptionsOfRequestsAreChecked(t *testing.T) {
	store := keystore.NewMemory()
	dataplanes, err := dataplane.NewIssuer(store)
	require.NoError(t, err)
	zones, err := zone.NewIssuer(store)
	require.NoError(t, err)
	good := httpapi.WithIndex(httpapi.Index{Product: "Kuma", Version: "3.0.1"})
	for says, options := range map[string][]httpapi.Option{
		"WithIndex: Product is empty": {httpapi.WithIndex(httpapi.Index{Version: "3.0.1"})},
		"WithIndex: Version is empty": {httpapi.WithIndex(httpapi.Index{Product: "Kuma", Version: " "})},
		"WithIndex is given twice":    {good, good},
		"WithRules: a type is empty":  {httpapi.WithRules(httpapi.Rules{Types: []string{""}})},
	} {
		_, err := httpapi.New(store, dataplanes, zones, (&world{asked: &requests{}}).authorize, options...)
		assert.ErrorContains(t, err, says)
	}
}

func refuseAll(*http.Request, httpapi.Request) error { return httpapi.ErrUnauthenticated }
