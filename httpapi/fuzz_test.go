package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// Whatever the body: it is answered in one of the documented ways, what was understood of it
// is what encoding/json reads in it, and it can be said again and is understood the same.
func FuzzRequest(f *testing.F) {
	paths := []string{"/tokens/dataplane", "/tokens/zone", "/revocations/dataplane/default"}
	for _, e := range exchanges {
		if head, body, ok := strings.Cut(e.request, "\n\n"); ok && len(body) < 1000 {
			for i, path := range paths {
				if strings.Contains(head, path) {
					f.Add(uint8(i), body)
				}
			}
		}
	}
	for i, path := range paths {
		for _, body := range hostileRequests[path] {
			f.Add(uint8(i), body)
		}
	}
	dataplanes, err := dataplane.NewDisabledIssuer()
	require.NoError(f, err)
	zones, err := zone.NewDisabledIssuer()
	require.NoError(f, err)
	var log logtest.Buffer
	var asked requests
	handler, err := httpapi.New(keystore.NewMemory(), dataplanes, zones, func(_ *http.Request, what httpapi.Request) (string, error) {
		asked.add(what)
		return "alice", httpapi.Denied("only asking")
	}, httpapi.WithLogger(log.Logger()))
	require.NoError(f, err)
	client, err := httpapi.NewClient("http://host", &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, r)
		return recorder.Result(), nil
	})})
	require.NoError(f, err)

	f.Fuzz(func(t *testing.T, path uint8, body string) {
		asked.list = nil
		log.Reset()
		r := httptest.NewRequest("POST", paths[int(path)%len(paths)], strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, r)
		assertIsError(t, recorder.Result(), recorder.Body.String())
		if len(asked.list) == 0 {
			assert.Contains(t, []int{400, 413}, recorder.Code)
			return
		}
		assert.Equal(t, 403, recorder.Code)
		understood := asked.list[0]
		var said struct {
			token.Dataplane
			Zone, ValidFor string
			Scope, IDs     []string
		}
		require.NoError(t, json.Unmarshal([]byte(body), &said))
		if len(said.Tags) == 0 {
			said.Tags = nil
		}
		validFor := 87600 * time.Hour
		if understood.Action == httpapi.Revoke {
			said.Mesh, validFor = "default", 0 // of the path
			assert.Equal(t, said.IDs, understood.TokenIDs)
		} else {
			assert.Equal(t, said.Dataplane, understood.Dataplane)
		}
		if understood.Kind == token.KindZone && said.Scope == nil {
			said.Scope = []string{zone.ScopeCP}
		}
		assert.Equal(t, said.Mesh, understood.Mesh)
		assert.Equal(t, token.Zone{Zone: said.Zone, Scope: said.Scope}, understood.Zone)
		if said.ValidFor != "" {
			validFor, err = time.ParseDuration(said.ValidFor)
			require.NoError(t, err)
		}
		assert.Equal(t, validFor, understood.ValidFor)
		switch {
		case understood.Action == httpapi.Revoke:
			assert.NotEmpty(t, understood.TokenIDs)
			err = client.RevokeDataplane(context.Background(), understood.Mesh, understood.TokenIDs[0], understood.TokenIDs[1:]...)
		case understood.Mesh != "":
			assert.GreaterOrEqual(t, understood.ValidFor, time.Second)
			_, err = client.IssueDataplane(context.Background(), understood.Dataplane, understood.ValidFor)
		default:
			_, err = client.IssueZone(context.Background(), understood.Zone, understood.ValidFor)
		}
		assert.Error(t, err)
		require.Len(t, asked.list, 2, "what was accepted once is accepted again: %v", err)
		assert.Equal(t, understood, asked.list[1])
	})
}
