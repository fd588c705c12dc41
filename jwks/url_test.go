package jwks_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/jwks"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

var demands = token.Demands{Issuer: "https://id.example.com", Audience: "mesh.example.com"}

// sets of one key, and of two.
var (
	setA  = setOf(jwk("a", forge.Key(), nil))
	setB  = setOf(jwk("b", forge.OtherKey(), nil))
	setAB = setOf(jwk("a", forge.Key(), nil), jwk("b", forge.OtherKey(), nil))
)

// answer is what a server does with a request.
type answer = http.HandlerFunc

// says answers with status 200, a body and headers, which are names and values in turn.
func says(body string, headers ...string) answer { return saysStatus(http.StatusOK, body, headers...) }

func saysStatus(status int, body string, headers ...string) answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// inTurn gives one answer after the other, and the last one for ever.
func inTurn(answers ...answer) http.Handler {
	var n atomic.Int64
	return answer(func(w http.ResponseWriter, r *http.Request) {
		answers[min(int(n.Add(1)), len(answers))-1](w, r)
	})
}

func newSource(t testing.TB, address string, options ...jwks.URLOption) signing.Source {
	t.Helper()
	source, err := jwks.URL(address, demands, options...)
	require.NoError(t, err)
	return source
}

// overTLS starts a server and returns a source of its keys that may fetch at any time.
func overTLS(t testing.TB, handler http.Handler) (source signing.Source, server *httptest.Server) {
	t.Helper()
	server = httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	source = newSource(t, server.URL+"/keys", jwks.WithHTTPClient(server.Client()))
	jwks.SetFloor(source, 0)
	return source, server
}

func TestAnEndpointThatMisbehaves(t *testing.T) {
	t.Parallel()
	gzipped := func(text string) []byte {
		var compressed bytes.Buffer
		to := gzip.NewWriter(&compressed)
		_, _ = io.WriteString(to, text)
		_ = to.Close()
		return compressed.Bytes()
	}
	// A text may be compressed in parts, one after the other: here there is a set with so many
	// times ten million spaces. They are compressed before any fetch, which would not wait for it.
	compressed := func(times int) answer {
		head, spaces, tail := gzipped(setA[:len(setA)-1]), gzipped(strings.Repeat(" ", 10_000_000)), gzipped("}")
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, err := w.Write(head)
			for i := 0; i < times && err == nil; i++ {
				_, err = w.Write(spaces)
			}
			_, _ = w.Write(tail)
		}
	}
	drip := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond)
		}
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	redirect := func(to string) answer {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	notModified := saysStatus(http.StatusNotModified, "")
	other := httptest.NewTLSServer(says(setB))
	t.Cleanup(other.Close)
	otherPort, plain := other.URL, strings.Replace(other.URL, "https", "http", 1)

	// What each read of one source finds: the kids and the number of problems, or an error.
	// Between them the validator goes on with the last keys.
	for name, c := range map[string]struct {
		answers []answer
		want    []string
	}{
		"well":                                {[]answer{says(setAB)}, []string{"[a b] 0"}},
		"well, as text/html":                  {[]answer{says(setAB, "Content-Type", "text/html")}, []string{"[a b] 0"}},
		"well, compressed":                    {[]answer{compressed(0)}, []string{"[a] 0"}},
		"another set":                         {[]answer{says(setA), says(setB)}, []string{"[a] 0", "[b] 0"}},
		"fails":                               {[]answer{says(setA), saysStatus(503, setB), says(setA)}, []string{"[a] 0", "status 503", "[a] 0"}},
		"no content":                          {[]answer{saysStatus(204, "")}, []string{"status 204"}},
		"a part":                              {[]answer{saysStatus(206, setA)}, []string{"status 206"}},
		"rubbish":                             {[]answer{says(setA), says("\x00\xff\x1b[31m")}, []string{"[a] 0", "key set: not valid UTF-8"}},
		"an error page with status 200":       {[]answer{says("<html>503</html>", "Content-Type", "text/html")}, []string{`'<' at byte 0, want a JSON object`}},
		"nothing":                             {[]answer{says("")}, []string{"the text ends at byte 0"}},
		"an empty set":                        {[]answer{says(setOf())}, []string{"[] 0"}},
		"an empty set after a full one":       {[]answer{says(setA), says(setOf()), says(setA)}, []string{"[a] 0", "[] 0", "[a] 0"}},
		"a set with a byte order mark":        {[]answer{says("\ufeff" + setA)}, []string{"byte order mark"}},
		"a kid twice":                         {[]answer{says(setOf(jwk("a", forge.Key(), nil), jwk("a", forge.OtherKey(), nil), jwk("b", forge.Key(), nil)))}, []string{"[b] 2"}},
		"an EC key":                           {[]answer{says(setOf(members{"kty": "EC", "kid": "e"}, jwk("a", forge.Key(), nil)))}, []string{"[a] 1"}},
		"1 MiB":                               {[]answer{says(setA + strings.Repeat(" ", jwks.MaxSize-len(setA)))}, []string{"[a] 0"}},
		"10 MB":                               {[]answer{says(setA + strings.Repeat(" ", 10_000_000))}, []string{"key set of more than 1048576 bytes"}},
		"10 GB that were compressed":          {[]answer{compressed(1000)}, []string{"key set of more than 1048576 bytes"}},
		"less than it says":                   {[]answer{says(setA, "Content-Length", strconv.Itoa(len(setA)+1))}, []string{"reading the answer: unexpected EOF"}},
		"in drops":                            {[]answer{drip}, []string{"context deadline exceeded"}},
		"for ever nothing":                    {[]answer{hang}, []string{"context deadline exceeded"}},
		"a redirect on the same host":         {[]answer{redirect("/moved?a=b"), says(setA)}, []string{"[a] 0"}},
		"five redirects":                      {[]answer{redirect("/1"), redirect("/2"), redirect("/3"), redirect("/4"), redirect("/5"), says(setA)}, []string{"[a] 0"}},
		"a redirect to itself":                {[]answer{redirect("/keys")}, []string{"more than 5 redirects"}},
		"a redirect to another host":          {[]answer{redirect("https://id.example.com/keys?token=S3CR3T")}, []string{`redirected to "https://id.example.com", want the same scheme, host and port`}},
		"a redirect to another port":          {[]answer{redirect(otherPort)}, []string{"want the same scheme, host and port"}},
		"a redirect to http":                  {[]answer{redirect(plain)}, []string{"want the same scheme, host and port"}},
		"a redirect to a file":                {[]answer{redirect("file:///etc/passwd")}, []string{"want the same scheme, host and port"}},
		"a redirect to a user of the host":    {[]answer{func(w http.ResponseWriter, r *http.Request) { redirect("https://user:S3CR3T@"+r.Host)(w, r) }}, []string{"redirected to a URL with a user or a password"}},
		"a redirect to nowhere":               {[]answer{saysStatus(301, "")}, []string{"status 301, want 200"}},
		"not modified":                        {[]answer{says(setA, "ETag", `"1"`), notModified, notModified}, []string{"[a] 0", "[a] 0", "[a] 0"}},
		"not modified, after a failure":       {[]answer{says(setA, "ETag", `W/"1"`), says("<"), notModified}, []string{"[a] 0", "want a JSON object", "[a] 0"}},
		"not modified, though there was none": {[]answer{notModified}, []string{"status 304, want 200"}},
		"not modified, though none was asked": {[]answer{says(setA), notModified}, []string{"[a] 0", "status 304, want 200"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, _ := overTLS(t, inTurn(c.answers...))
			for i, want := range c.want {
				timeout := time.Minute // for what ends by itself, after five seconds at most
				if strings.Contains(want, "deadline") {
					timeout = 100 * time.Millisecond
				}
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				keys, err := source.Read(ctx)
				cancel()
				if err == nil {
					require.Equal(t, want, fmt.Sprint(kids(keys.Keys), len(keys.Problems)), "read %d", i)
					require.False(t, keys.Chosen)
					continue
				}
				require.ErrorContains(t, err, want, "read %d", i)
				require.Empty(t, keys.Keys)
				require.NotContains(t, err.Error(), "S3CR3T")
				require.Regexp(t, `^[ -~]{1,303}$`, err.Error())
			}
		})
	}
}

func TestAFetchEndsAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := inProcess(answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		began := time.Now()
		_, err := newSource(t, "https://id.example.com", jwks.WithHTTPClient(silent)).Read(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(began))
	})
}

func TestAFetchEndsByItselfWhereverItHangs(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes five seconds")
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel connects, and nothing answers
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, silent.Close()) })
	inDrops := httptest.NewServer(answer(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}))
	t.Cleanup(inDrops.Close)
	var reads sync.WaitGroup
	for name, address := range map[string]string{"a handshake that hangs": "https://" + silent.Addr().String(), "headers that hang": "http://" + silent.Addr().String(), "a body in drops": inDrops.URL} {
		reads.Go(func() {
			source, err := jwks.URL(address, demands)
			if !assert.NoError(t, err) {
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err = source.Read(ctx)
			if !assert.Error(t, err, name) {
				return
			}
			assert.True(t, errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "timeout"), "%s: %v", name, err)
			assert.NoError(t, ctx.Err(), name)
		})
	}
	reads.Wait()
}

func TestAHeaderOfMoreThan64KiBIsAFailedRead(t *testing.T) {
	server := httptest.NewServer(says(setA, "Own", strings.Repeat("a", 70<<10)))
	defer server.Close()
	_, err := newSource(t, server.URL).Read(t.Context())
	require.ErrorContains(t, err, "server response headers exceeded")
}

func TestAnEndpointThatIsAwayIsAFailedRead(t *testing.T) {
	source, server := overTLS(t, says(setA))
	_, err := source.Read(t.Context())
	require.NoError(t, err)
	server.Close()
	_, err = source.Read(t.Context())
	require.ErrorContains(t, err, "refused")
}

func TestAnEndpointMustHaveACertificateThatIsTrusted(t *testing.T) {
	_, server := overTLS(t, says(setA))
	_, err := newSource(t, server.URL).Read(t.Context())
	var unknown *tls.CertificateVerificationError
	require.ErrorAs(t, err, &unknown)
}

// asked returns a handler that gives the same answer always, and what it was asked.
func asked(give answer) (http.Handler, func() *http.Request) {
	var last atomic.Pointer[http.Request]
	return answer(func(w http.ResponseWriter, r *http.Request) {
		last.Store(r)
		give(w, r)
	}), last.Load
}

func TestATagIsSentBackAsItCame(t *testing.T) {
	for tag, want := range map[string]string{
		`"strong"`: `"strong"`, `W/"weak"`: `W/"weak"`, `""`: `""`,
		"bare": "", `"`: "", `"open`: "", `"in"side"`: "", "\"\u00e9\"": "", `w/"weak"`: "", `"` + strings.Repeat("a", 300) + `"`: "",
	} {
		handler, last := asked(says(setA, "ETag", tag))
		source, _ := overTLS(t, handler)
		for range 2 {
			_, err := source.Read(t.Context())
			require.NoError(t, err)
		}
		require.Equal(t, want, last().Header.Get("If-None-Match"), tag)
	}
}

func TestARequestIsAnonymous(t *testing.T) {
	handler, last := asked(says(setA))
	server := httptest.NewServer(handler)
	defer server.Close()
	source := newSource(t, server.URL+"/a/keys?tenant=1")
	_, err := source.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, "GET /a/keys?tenant=1", last().Method+" "+last().RequestURI)
	require.Equal(t, "application/jwk-set+json, application/json", last().Header.Get("Accept"))
	for _, name := range []string{"Authorization", "Cookie", "If-None-Match", "Referer"} {
		require.Empty(t, last().Header.Values(name), name)
	}
}

func TestTheNextFetchIsDueWhenTheLastGrowsStale(t *testing.T) {
	for _, c := range []struct {
		want    time.Duration
		headers []string
	}{
		{5 * time.Minute, nil},
		{5 * time.Minute, []string{"Cache-Control", "public"}},
		{time.Minute, []string{"Cache-Control", "max-age=60"}},
		{time.Minute, []string{"Cache-Control", `public, MAX-AGE="60" , must-revalidate`}},
		{time.Minute, []string{"Cache-Control", "public", "Cache-Control", "max-age=60,max-age=20"}},
		{45 * time.Second, []string{"Cache-Control", "max-age=60", "Age", "15"}},
		{10 * time.Second, []string{"Cache-Control", "max-age=60", "Age", "300"}},
		{5 * time.Minute, []string{"Age", "300"}},
		{5 * time.Minute, []string{"Cache-Control", "max-age=31536000", "Age", "100000"}},
		{10 * time.Second, []string{"Cache-Control", "max-age=0"}},
		{10 * time.Second, []string{"Cache-Control", "max-age=3600, no-store"}},
		{10 * time.Second, []string{"Cache-Control", "no-cache"}},
		{5 * time.Minute, []string{"Cache-Control", "max-age=99999999999999999999999999"}},
		{10 * time.Second, []string{"Cache-Control", "max-age=-1"}},
		{10 * time.Second, []string{"Cache-Control", "max-age=1e3"}},
		{10 * time.Second, []string{"Cache-Control", "max-age"}},
		{10 * time.Second, []string{"Cache-Control", "max-age=\u0661"}},
		{5 * time.Minute, []string{"Cache-Control", "s-maxage=60, max-age-of-another=1, ,=,"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			source := newSource(t, "https://id.example.com", jwks.WithHTTPClient(inProcess(says(setA, c.headers...))))
			keys, err := source.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.want, keys.Refresh, c.headers)
			require.Equal(t, 10*time.Second, keys.OnDemand)
			require.Zero(t, keys.Age)
		})
	}
}

// inProcess returns a client that calls a handler without a network, so that the time of
// a test may be false.
func inProcess(handler http.Handler) *http.Client {
	return &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		return w.Result(), nil
	})}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTheAgeOfAnAnswerThatIsNotModifiedIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newSource(t, "https://id.example.com", jwks.WithHTTPClient(inProcess(inTurn(
			says(setA, "ETag", `"1"`, "Cache-Control", "max-age=60"), saysStatus(304, "", "Cache-Control", "max-age=30")))))
		first, err := source.Read(t.Context())
		require.NoError(t, err)
		time.Sleep(first.Refresh)
		second, err := source.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, 30*time.Second, second.Refresh)
		require.Same(t, first.Keys["a"], second.Keys["a"])
	})
}

func TestAKeyThatDoesNotChangeKeepsItsPointer(t *testing.T) {
	source, _ := overTLS(t, inTurn(says(setA), says("<"), says(setAB), says(setOf(jwk("a", forge.OtherKey(), nil)))))
	first, err := source.Read(t.Context())
	require.NoError(t, err)
	_, err = source.Read(t.Context())
	require.Error(t, err)
	second, err := source.Read(t.Context())
	require.NoError(t, err)
	require.Same(t, first.Keys["a"], second.Keys["a"])
	third, err := source.Read(t.Context())
	require.NoError(t, err)
	require.NotSame(t, first.Keys["a"], third.Keys["a"])
}

// counting returns a client that counts the fetches, which take a second, and when the
// last one began.
func counting(give answer) (*http.Client, *atomic.Int64) {
	var n atomic.Int64
	return inProcess(answer(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		select {
		case <-time.After(time.Second):
			give(w, r)
		case <-r.Context().Done():
		}
	})), &n
}

func TestReadsWithinTenSecondsShareAFetch(t *testing.T) {
	for name, c := range map[string]struct {
		give    answer
		err     string
		refresh time.Duration
	}{"that succeeds": {says(setA), "", 5 * time.Minute}, "that fails": {saysStatus(500, ""), "status 500, want 200 with a key set", 10 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, fetches := counting(c.give)
				source := newSource(t, "https://id.example.com", jwks.WithHTTPClient(client))
				read := func() signing.SourceKeys {
					keys, err := source.Read(t.Context())
					if c.err != "" {
						require.EqualError(t, err, c.err)
						return keys
					}
					require.NoError(t, err)
					require.Equal(t, []string{"a"}, kids(keys.Keys))
					return keys
				}
				var together sync.WaitGroup
				for range 100 {
					together.Go(func() { read() })
				}
				together.Wait() // 1 s
				require.EqualValues(t, 1, fetches.Load())

				time.Sleep(7500 * time.Millisecond) // 8.5 s
				keys := read()
				require.EqualValues(t, 1, fetches.Load())
				require.Equal(t, signing.SourceKeys{Keys: keys.Keys, Age: 8500 * time.Millisecond, OnDemand: 1500 * time.Millisecond, Refresh: c.refresh - 8500*time.Millisecond}, keys)

				time.Sleep(time.Second) // 9.5 s: waits until 10 s, and then fetches
				began := time.Now()
				keys = read()
				require.EqualValues(t, 2, fetches.Load())
				require.Equal(t, 1500*time.Millisecond, time.Since(began))
				require.Equal(t, signing.SourceKeys{Keys: keys.Keys, OnDemand: 10500 * time.Millisecond, Refresh: c.refresh + 500*time.Millisecond}, keys)

				time.Sleep(time.Hour)
				read()
				require.EqualValues(t, 3, fetches.Load())
			})
		})
	}
}

// The fetches of a minute are at most six, and one more at its end, whatever validators ask.
func TestManyReadersDoNotFetchMoreOftenThanEveryTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, fetches := counting(inTurn(says(setA), saysStatus(500, ""), says(setB)).ServeHTTP)
		source := newSource(t, "https://id.example.com", jwks.WithHTTPClient(client))
		ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second)
		defer cancel()
		var readers sync.WaitGroup
		for i := range 10 {
			readers.Go(func() {
				for ctx.Err() == nil {
					_, _ = source.Read(ctx)
					time.Sleep(time.Duration(i+1) * 100 * time.Millisecond)
				}
			})
		}
		readers.Wait()
		require.EqualValues(t, 6, fetches.Load())
	})
}

func TestAReadEndsWithItsContextAndOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, fetches := counting(says(setA))
		source := newSource(t, "https://id.example.com", jwks.WithHTTPClient(client))
		first, cancel := context.WithCancel(t.Context())
		var readers sync.WaitGroup
		readers.Go(func() {
			_, err := source.Read(first)
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait() // the first fetches
		impatient, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		readers.Go(func() {
			_, err := source.Read(impatient)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "waiting for another fetch")
		})
		readers.Go(func() {
			keys, err := source.Read(t.Context())
			require.NoError(t, err, "that the first gave up is not a failure of the endpoint")
			require.Len(t, keys.Keys, 1)
		})
		time.Sleep(500 * time.Millisecond)
		cancel()
		readers.Wait()
		require.EqualValues(t, 2, fetches.Load())
	})
}

func TestAReadThatWaitsForTenSecondsToPassEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, fetches := counting(says(setA))
		source := newSource(t, "https://id.example.com", jwks.WithHTTPClient(client))
		_, err := source.Read(t.Context())
		require.NoError(t, err)
		time.Sleep(8200 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = source.Read(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "waiting until 10s after the last fetch")
		require.EqualValues(t, 1, fetches.Load())
	})
}

func TestAReadLeavesNoConnectionBehind(t *testing.T) {
	var open sync.WaitGroup
	server := httptest.NewUnstartedServer(says(setA))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Done()
		}
	}
	server.Start()
	defer server.Close()
	_, err := newSource(t, server.URL).Read(t.Context())
	require.NoError(t, err)
	open.Wait() // for ever, if the connection stayed open
}

func TestAURLThatIsNotSafeIsRefusedWithoutQuotingIt(t *testing.T) {
	for address, want := range map[string]string{
		"":                                         "no host",
		"https://":                                 "no host",
		"https:///keys":                            "no host",
		"https://:443/keys":                        "no host",
		"id.example.com/keys":                      "no host",
		"user:S3CR3T@id.example.com":               "no host",
		"https://user:S3CR3T@id.example.com":       "a user or a password",
		"https://S3CR3T@id.example.com":            "a user or a password",
		"https://@id.example.com":                  "a user or a password",
		"https://user:S3CR3T/w@id.example.com":     "cannot be parsed",
		"https://id.example.com/%zz?S3CR3T":        "cannot be parsed",
		"https://id.example.com/\n":                "cannot be parsed",
		"https://id.example.com/keys#S3CR3T":       "fragment",
		"http://id.example.com/keys":               "want https, or http on a loopback address",
		"http://192.168.0.1/keys":                  "want https",
		"http://localhost.example.com/keys?S3CR3T": "want https",
		"http://127.0.0.1.example.com/keys":        "want https",
		"ftp://localhost/keys":                     "want https",
		"file://localhost/etc/keys":                "want https",
	} {
		source, err := jwks.URL(address, demands)
		require.Nil(t, source)
		require.ErrorContains(t, err, want, address)
		require.NotContains(t, err.Error(), "S3CR3T", address)
	}
	for _, address := range []string{"https://id.example.com", "HTTPS://id.example.com:8443/a?b=c", "http://localhost:1", "http://LOCALHOST/", "http://127.1.2.3/", "http://[::1]:1/"} {
		_, err := jwks.URL(address, demands)
		require.NoError(t, err, address)
	}
}

func TestTheNameOfASourceHasNoQuery(t *testing.T) {
	source := newSource(t, "https://id.example.com:8443/a%2Fb/keys?token=S3CR3T")
	require.Equal(t, "https://id.example.com:8443/a%2Fb/keys?...", source.String())
	require.Equal(t, "https://id.example.com", newSource(t, "https://id.example.com").String())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		require.NotContains(t, fmt.Sprintf(verb, source), "S3CR3T", verb)
		require.NotContains(t, fmt.Sprintf(verb, struct{ s signing.Source }{source}), "S3CR3T", verb)
	}
	failing := newSource(t, "https://id.example.com/?token=S3CR3T", jwks.WithHTTPClient(&http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("\x1b[31m" + strings.Repeat("\n", 1000))
	})}))
	_, err := failing.Read(t.Context())
	require.Regexp(t, `^\\x1b\[31m(\\n)+\.\.\.$`, err.Error())
	require.Less(t, len(err.Error()), 400)
}

func TestWhatAnEndpointEchoesOfTheQueryIsInNoError(t *testing.T) {
	for says, answer := range map[string]string{
		`failed to parse Location header "http://a b/?..."`:   "HTTP/1.1 302 Found\r\nLocation: http://a b/?token=S3CR3T\r\n\r\n",
		`malformed HTTP status code "/keys?..."`:              "GET /keys?token=S3CR3T HTTP/1.1\r\n\r\n",
		`malformed MIME header: missing colon: "token=... x"`: "HTTP/1.1 200 OK\r\ntoken=token=S3CR3T x\r\n\r\n",
	} {
		server, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		go func() {
			if c, err := server.Accept(); err == nil {
				_, _ = http.ReadRequest(bufio.NewReader(c))
				_, _ = io.WriteString(c, answer)
				_ = c.Close()
			}
		}()
		_, err = newSource(t, "http://"+server.Addr().String()+"/keys?token=S3CR3T").Read(t.Context())
		require.NoError(t, server.Close())
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "S3CR3T")
	}
}

// http.ProxyFromEnvironment bypasses a proxy for this spelling alone.
func TestLocalhostIsRequestedInLowerCase(t *testing.T) {
	var asked string
	source := newSource(t, "http://LocalHost:8080/Keys", jwks.WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		asked = r.URL.String()
		return nil, errors.New("no answer")
	})}))
	_, err := source.Read(t.Context())
	require.ErrorContains(t, err, "no answer")
	require.Equal(t, "http://localhost:8080/Keys", asked)
}

func TestAURLDemandsIssuerAndAudienceUnlessTheyAreGivenUpByName(t *testing.T) {
	const address = "https://id.example.com/keys"
	issuer, audience := token.Demands{Issuer: "a"}, token.Demands{Audience: "b"}
	for _, c := range []struct {
		demands token.Demands
		options []jwks.URLOption
		want    string
	}{
		{token.Demands{}, nil, "the demands name no Issuer"},
		{audience, nil, "the demands name no Issuer; WithTokensOfAnyIssuer gives it up"},
		{issuer, nil, "the demands name no Audience; WithTokensForAnyAudience gives it up"},
		{issuer, []jwks.URLOption{jwks.WithTokensOfAnyIssuer()}, "WithTokensOfAnyIssuer gives it up"},
		{demands, []jwks.URLOption{jwks.WithTokensForAnyAudience()}, "the demands name an Audience"},
		{demands, []jwks.URLOption{nil}, "an option is nil"},
		{demands, []jwks.URLOption{jwks.WithHTTPClient(nil)}, "the client is nil"},
	} {
		source, err := jwks.URL(address, c.demands, c.options...)
		require.Nil(t, source)
		require.ErrorContains(t, err, c.want)
	}
	for _, c := range []struct {
		demands token.Demands
		options []jwks.URLOption
	}{
		{demands, nil},
		{audience, []jwks.URLOption{jwks.WithTokensOfAnyIssuer()}},
		{issuer, []jwks.URLOption{jwks.WithTokensForAnyAudience()}},
		{token.Demands{Type: "at+jwt"}, []jwks.URLOption{jwks.WithTokensForAnyAudience(), jwks.WithTokensOfAnyIssuer()}},
	} {
		source, err := jwks.URL(address, c.demands, c.options...)
		require.NoError(t, err)
		require.Equal(t, c.demands, source.Demands())
	}
}

func TestAClientOfOnesOwnKeepsItsTransportAndTheSourceItsRules(t *testing.T) {
	var through atomic.Int64
	proxy := httptest.NewServer(answer(func(w http.ResponseWriter, r *http.Request) {
		through.Add(1)
		if r.URL.Path == "/keys" {
			http.Redirect(w, r, "http://id.example.com/keys", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, setA)
	}))
	defer proxy.Close()
	proxyURL, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	client := &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyURL(proxyURL), DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return nil },
	}
	_, err = newSource(t, "http://localhost/keys", jwks.WithHTTPClient(client)).Read(t.Context())
	require.ErrorContains(t, err, `redirected to "http://id.example.com"`)
	_, err = newSource(t, "http://localhost/other", jwks.WithHTTPClient(client)).Read(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, through.Load())
	require.NotNil(t, client.CheckRedirect, "the client is not changed")

	server := httptest.NewServer(says(setA))
	defer server.Close()
	_, err = newSource(t, server.URL, jwks.WithHTTPClient(&http.Client{})).Read(t.Context())
	require.NoError(t, err, "a client without a transport gets one")
}
