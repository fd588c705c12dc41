package httpapi_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// kumas are the versions whose answers stand in the golden requests.
var kumas = map[string][]httpapi.Option{
	"2.10": {httpapi.WithRules(httpapi.AsKuma210()), indexOf("2.10.11")},
	"3.0":  {httpapi.WithRules(httpapi.AsKuma30()), indexOf("3.0.1")},
}

func indexOf(version string) httpapi.Option {
	return httpapi.WithIndex(httpapi.Index{ClusterID: "cluster-1", Hostname: "cp-1", InstanceID: "cp-1-1a2b", Product: "Kuma", Version: version})
}

// authorizeAsKuma knows the users of the golden requests. Kuma takes a request from the
// same machine that has no credentials for one of its administrator.
func authorizeAsKuma(r *http.Request, _ httpapi.Request) (string, error) {
	switch r.Header.Get("Authorization") {
	case "", "Bearer admin":
		return "mesh-system:admin", nil
	case "Bearer another":
		return "another", httpapi.Denied(`user "another/mesh-system:authenticated" cannot access generate dataplane token`)
	}
	return "", httpapi.ErrUnauthenticated
}

// The requests are those of testdata/clients, whose README says how they were made.
func TestRequestsOfKumasClientsAreAnsweredAsKumaAnswersThem(t *testing.T) {
	servers := map[string]*httptest.Server{}
	for version, options := range kumas {
		w := newWorld(t)
		put(t, w.store, "demo", signing.DataplaneKeys("demo").KeyName(1), pemOf(t, testKey(0)))
		api, err := httpapi.New(w.store, w.dataplanes, w.zones, authorizeAsKuma, append(options, httpapi.WithLogger(w.log.Logger()))...)
		require.NoError(t, err)
		mux := http.NewServeMux()
		mux.Handle("/", api)
		mux.Handle("/cp", http.StripPrefix("/cp", api))
		mux.Handle("/cp/", http.StripPrefix("/cp", api))
		servers[version] = httptest.NewServer(mux)
		defer servers[version].Close()
	}
	clients := map[string]int{}
	err := filepath.WalkDir(filepath.Join("testdata", "clients"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".golden" {
			return err
		}
		client := filepath.Base(filepath.Dir(path))
		clients[client]++
		t.Run(client+"/"+strings.TrimSuffix(d.Name(), ".golden"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			_, rest, _ := strings.Cut(string(text), "\n") // after the command
			sections := strings.Split(rest, "\n---- as Kuma ")
			require.Len(t, sections, 1+len(kumas))
			for _, section := range sections[1:] {
				about, want, _ := strings.Cut(section, "\n")
				version, _, _ := strings.Cut(about, ",")
				require.Contains(t, servers, version)
				got := exchangeBytes(t, servers[version].Listener.Addr(), sections[0])
				assert.Equal(t, strings.TrimSuffix(want, "\n"), got, "as Kuma %s", version)
			}
		})
		return nil
	})
	require.NoError(t, err)
	for _, client := range []string{"kumactl-2.10", "kumactl-3.0", "kongctl"} {
		assert.Greater(t, clients[client], 20, "of %s", client)
	}
	assert.Len(t, clients, 3)
}

// exchangeBytes sends a request byte for byte, and returns what a client reads of the
// answer: its status, its content type and its body. A token stands there as what it says.
func exchangeBytes(t *testing.T, server net.Addr, request string) string {
	t.Helper()
	head, body, _ := strings.Cut(request, "\n\n")
	connection, err := net.Dial(server.Network(), server.String())
	require.NoError(t, err)
	defer connection.Close()
	_, err = io.WriteString(connection, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+body)
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	if answer.StatusCode == http.StatusOK && answer.Header.Get("Content-Type") == "text/plain" {
		data, err = saidBy(string(data))
		require.NoError(t, err)
	}
	return fmt.Sprintf("%d %s\n%s", answer.StatusCode, answer.Header.Get("Content-Type"), data)
}

// saidBy returns what a token says, without what each token has for itself.
func saidBy(raw string) ([]byte, error) {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return nil, err
	}
	claims, err := unverified.Claims()
	if err != nil {
		return nil, err
	}
	if claims.ID == "" {
		return nil, errors.New("the token has no id")
	}
	return json.Marshal(struct {
		Mesh     string              `json:"mesh,omitempty"`
		Name     string              `json:"name,omitempty"`
		Tags     map[string][]string `json:"tags,omitempty"`
		Type     string              `json:"type,omitempty"`
		Workload string              `json:"workload,omitempty"`
		Zone     string              `json:"zone,omitempty"`
		Scope    []string            `json:"scope,omitempty"`
		ValidFor string              `json:"validFor"`
	}{
		claims.Dataplane.Mesh, claims.Dataplane.Name, claims.Dataplane.Tags, claims.Dataplane.Type, claims.Dataplane.Workload,
		claims.Zone.Zone, claims.Zone.Scope, time.Until(claims.ExpiresAt).Round(time.Minute).String(),
	})
}
