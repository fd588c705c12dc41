package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/httpapi"
)

// hostileMegabytes are bodies of nearly 1 MiB.
var hostileMegabytes = map[string]string{
	"short ids":         `{"ids":["` + strings.TrimSuffix(strings.Repeat(`aa","`, 209_000), `","`) + `"]}`,
	"one long id":       `{"ids":["` + strings.Repeat("a", 1_040_000) + `"]}`,
	"brackets":          `{"ids":` + strings.Repeat("[", 520_000) + strings.Repeat("]", 520_000) + `}`,
	"unknown names":     `{` + strings.Repeat(`"a":{},`, 149_000) + `"b":1}`,
	"objects in a list": `{"ids":[` + strings.TrimSuffix(strings.Repeat(`{"a":1},`, 130_000), ",") + `]}`,
	"escapes":           `{"ids":["` + strings.Repeat(`\u0061`, 173_000) + `"]}`,
}

// peak returns by how many bytes the heap grew at most while f ran.
func peak(f func()) int {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	before, most := stats.HeapInuse, uint64(0)
	done := make(chan struct{})
	var sampling sync.WaitGroup
	sampling.Go(func() {
		for {
			runtime.ReadMemStats(&stats)
			most = max(most, stats.HeapInuse)
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
	f()
	close(done)
	sampling.Wait()
	return int(max(most, before) - before)
}

func TestHandlerTakesLittleMemoryForBodiesOfClientsWithoutRights(t *testing.T) {
	for name, body := range hostileMegabytes {
		require.Less(t, len(body), 1<<20, name)
		for _, clients := range []int{1, 10, 100} {
			t.Run(fmt.Sprint(name, ", ", clients), func(t *testing.T) {
				w := newWorld(t)
				server := httptest.NewServer(w.handler)
				defer server.Close()
				statuses := map[int]int{}
				grew := peak(func() {
					var mu sync.Mutex
					var all sync.WaitGroup
					for range clients {
						all.Go(func() {
							// Without a user: the authoriser refuses.
							answer, err := http.Post(server.URL+"/revocations/zone", "application/json", strings.NewReader(body))
							if err != nil {
								// The server has closed the connection, and the answer was lost with it.
								assert.NotErrorIs(t, err, context.DeadlineExceeded)
								return
							}
							_, _ = io.Copy(io.Discard, answer.Body)
							answer.Body.Close()
							mu.Lock()
							defer mu.Unlock()
							statuses[answer.StatusCode]++
						})
					}
					all.Wait()
				})
				t.Logf("%d clients: %.1f MiB, statuses %v", clients, float64(grew)/(1<<20), statuses)
				assert.Less(t, grew, 128<<20, "the goal is 64 MiB")
				assert.Zero(t, statuses[http.StatusNoContent])
			})
		}
	}
}

func TestHandlerReadsSmallBodiesWhileThereIsNoMemoryForLargeOnes(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	// Clients that send most of a large body, and then nothing.
	var opened []*io.PipeWriter
	for range 8 {
		reader, writer := io.Pipe()
		opened = append(opened, writer)
		go func() {
			answer, err := http.Post(server.URL+"/revocations/zone", "application/json", reader)
			if err == nil {
				answer.Body.Close()
			}
			reader.Close()
		}()
		_, _ = io.WriteString(writer, `{"ids":["`+strings.Repeat("a", 900<<10))
	}
	defer func() {
		for _, writer := range opened {
			writer.CloseWithError(errors.New("gone"))
		}
	}()
	large := `{"ids":["` + strings.Repeat("a", 900<<10) + `"]}`
	require.Eventually(t, func() bool {
		answer, err := http.Post(server.URL+"/revocations/zone", "application/json", strings.NewReader(large))
		if err != nil { // the server has closed the connection, and its answer was lost
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusServiceUnavailable
	}, time.Minute, 10*time.Millisecond)

	r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/tokens/dataplane", strings.NewReader(`{"mesh":"default","validFor":"1h"}`))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("As", "alice")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	answer.Body.Close()
	assert.Equal(t, http.StatusOK, answer.StatusCode)
}

func TestHandlerAsksTheAdmissionBeforeItReadsABody(t *testing.T) {
	var seen []httpapi.Request
	w := newWorld(t, httpapi.WithAdmission(func(r *http.Request, what httpapi.Request) error {
		seen = append(seen, what)
		switch r.Header.Get("As") {
		case "":
			return httpapi.ErrUnauthenticated
		case "mallory":
			return httpapi.Denied("not you")
		}
		return nil
	}))
	var read atomic.Bool
	post := func(as string) (int, string) {
		body := readerFunc(func(p []byte) (int, error) {
			read.Store(true)
			return 0, io.EOF
		})
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/revocations/dataplane/default", body)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("As", as)
		recorder := httptest.NewRecorder()
		w.handler.ServeHTTP(recorder, r)
		return recorder.Code, recorder.Body.String()
	}
	status, _ := post("")
	assert.Equal(t, 401, status)
	status, text := post("mallory")
	assert.Equal(t, 403, status)
	assert.Contains(t, text, "not you")
	assert.False(t, read.Load())
	require.Len(t, seen, 2)
	assert.Equal(t, "default", seen[0].Mesh)
	assert.Equal(t, httpapi.Revoke, seen[0].Action)
	status, _ = post("alice")
	assert.Equal(t, 400, status, "the empty body")
	assert.True(t, read.Load())
	assert.Equal(t, 3, w.log.Count("audit: not done", "action=revoke", "mesh=default"))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
