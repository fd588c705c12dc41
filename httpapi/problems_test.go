package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

func TestAnswersAboutAListInAnotherFormNameTheProblem(t *testing.T) {
	for _, path := range []string{"/revocations/zone", "/revocations/dataplane/default"} {
		for list, says := range map[string]string{
			"id-a;id-b":           "ids separated by a semicolon or a bar",
			`["id-a","id-b"]`:     "ids in quotes",
			"ids=id-a":            "ids after a key and an equals sign",
			"id-a,i d\u202e,id-b": `"d\u202e" holds U+202E`,
		} {
			w := newWorld(t)
			ref := revocation.Zone()
			if strings.Contains(path, "default") {
				ref = revocation.Dataplane("default")
			}
			put(t, w.store, ref.Scope, ref.Name, []byte(list))
			for _, c := range [][3]string{
				{"GET", path, ""}, {"HEAD", path, ""}, {"POST", path, `{"ids":["new"]}`}, {"POST", path, `{"ids":["new"]}`},
				{"POST", path + "/restore", `{"ids":["new"]}`}, {"DELETE", path, `{"ids":["new"]}`}, {"POST", path + "/restore", `{"ids":["absent"]}`},
			} {
				answer, text := w.do(t, c[0], c[1], c[2])
				require.Less(t, answer.StatusCode, 300, "%v: %s", c, text)
				problems := answer.Header.Values("Meshpass-Problem")
				require.NotEmpty(t, problems, "%v of %q", c, list)
				assert.Contains(t, problems[0], says, "%v", c)
				for _, r := range strings.Join(problems, "") {
					require.True(t, r >= ' ' && r <= '~', "%q", problems)
				}
				if c[0] == "GET" {
					var body struct{ IDs, Problems []string }
					require.NoError(t, json.Unmarshal([]byte(text), &body))
					assert.Contains(t, body.IDs, "id-a")
					require.Len(t, body.Problems, len(problems))
				}
			}
		}
	}
	w := newWorld(t)
	for _, c := range everyRequest {
		answer, text := w.do(t, c[0], c[1], c[2])
		assert.Empty(t, answer.Header.Values("Meshpass-Problem"), c)
		assert.NotContains(t, text, "problems", c)
	}
}

func TestAnswersNameFewProblemsInTheHeaderAndAllInTheBody(t *testing.T) {
	w := newWorld(t)
	ref := revocation.Zone()
	put(t, w.store, ref.Scope, ref.Name, []byte("id,"+strings.Repeat("bad\u00e9"+strings.Repeat("x", 300)+",", 50)))
	answer, text := w.do(t, "GET", "/revocations/zone", "")
	problems := answer.Header.Values(httpapi.ProblemHeader)
	require.Len(t, problems, 4)
	assert.Equal(t, "and more problems of the list: GET has 11 in its body", problems[3])
	assert.Less(t, len(strings.Join(problems, "")), 2000)
	var body struct{ Problems []string }
	require.NoError(t, json.Unmarshal([]byte(text), &body))
	require.Len(t, body.Problems, 11)
	assert.Equal(t, "and 40 more malformed items", body.Problems[10])
}

func TestChangeThatIsMadeSucceedsEvenIfTheListCannotBeReadAfterwards(t *testing.T) {
	w := newWorld(t)
	w.store.failAfterCreate = fmt.Errorf("the engine is away")
	answer, text := w.do(t, "POST", "/revocations/zone", `{"ids":["a"]}`)
	require.Equal(t, 204, answer.StatusCode, text)
	assert.Equal(t, 1, w.log.Count("a revocation list was changed and could not be read again", "the engine is away"))
}

func TestClientTellsWhatIsWrongWithAList(t *testing.T) {
	w := newWorld(t)
	ref := revocation.Dataplane("default")
	put(t, w.store, ref.Scope, ref.Name, []byte("id-a;id-b"))
	server := httptest.NewServer(w.handler)
	defer server.Close()
	var heard []string
	client, err := httpapi.NewClient(server.URL, as("alice", http.DefaultTransport), httpapi.WithListProblems(func(_ context.Context, problem string) {
		heard = append(heard, problem)
	}))
	require.NoError(t, err)
	for name, call := range map[string]func() error{
		"list":    func() error { _, err := client.RevokedDataplane(t.Context(), "default"); return err },
		"revoke":  func() error { return client.RevokeDataplane(t.Context(), "default", "new") },
		"restore": func() error { return client.RestoreDataplane(t.Context(), "default", "new") },
	} {
		heard = nil
		require.NoError(t, call(), name)
		require.Len(t, heard, 1, name)
		assert.Contains(t, heard[0], `"id-a;id-b" looks like ids separated by a semicolon`, name)
	}
	heard = nil
	require.NoError(t, client.RevokeZone(t.Context(), "new"))
	assert.Empty(t, heard)
	_, err = httpapi.NewClient(server.URL, nil, httpapi.WithListProblems(nil))
	require.ErrorContains(t, err, "WithListProblems: the function is nil")
}

func TestClientLetsAServerSayLittleAboutAListAndNoSecret(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 100 {
			w.Header().Add(httpapi.ProblemHeader, r.Header.Get("Authorization")+" \u202e"+strings.Repeat("x", 1000))
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	var heard []string
	client, err := httpapi.NewClient(server.URL, nil, httpapi.WithBearer(func(context.Context) (string, error) { return "geheim", nil }),
		httpapi.WithListProblems(func(_ context.Context, problem string) { heard = append(heard, problem) }))
	require.NoError(t, err)
	require.NoError(t, client.RevokeZone(t.Context(), "id"))
	require.Len(t, heard, 6)
	for _, problem := range heard {
		assert.Contains(t, problem, `Bearer (bearer) \u202exxx`)
		assert.NotContains(t, problem, "geheim")
		assert.Less(t, len(problem), 600)
	}
}

func TestListThatTheServerCannotUseIsNoReasonToAskAgain(t *testing.T) {
	w := newWorld(t)
	w.store.set(keystore.Failed("get", "", "zone-token-revocations", errNoRights), false)
	for _, method := range []string{"GET", "POST"} {
		answer, text := w.do(t, method, "/revocations/zone", `{"ids":["a"]}`)
		assert.Equal(t, 500, answer.StatusCode)
		assert.NotContains(t, text, "try again")
		assert.Empty(t, answer.Header.Get("Retry-After"))
	}
	assert.Equal(t, 2, w.log.Count("request failed", "permission denied"))

	w = newWorld(t)
	w.store.refuse = keystore.ErrNameTaken // a list of this name is in another scope
	answer, text := w.do(t, "POST", "/revocations/zone", `{"ids":["a"]}`)
	assert.Equal(t, 500, answer.StatusCode, text)
}
