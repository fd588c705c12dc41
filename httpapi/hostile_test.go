package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tenMB is a body of 10 MB.
const tenMB = 10 << 20

// hostileBodies are for every path that takes a body. good stands for the body of
// a request that would be granted.
var hostileBodies = []struct {
	name   string
	status int
	body   func(good string) string
	header []string
}{
	{name: "nothing", status: 400, body: is("")},
	{name: "white space", status: 400, body: is(" \n")},
	{name: "10 MB of white space", status: 413, body: func(good string) string { return strings.Repeat(" ", tenMB) + good }},
	{name: "10 MB after the object", status: 413, body: func(good string) string { return good + strings.Repeat(" ", tenMB) }},
	{name: "10 MB of brackets", status: 413, body: is(strings.Repeat("[", tenMB))},
	{name: "10 MB in a string", status: 413, body: is(`{"mesh":"` + strings.Repeat("m", tenMB) + `"}`)},
	{name: "10 MB of members", status: 413, body: is(`{` + strings.Repeat(`"a":1,`, tenMB/6) + `"b":1}`)},
	{name: "deep lists", status: 400, body: is(strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000))},
	{name: "deep lists without an end", status: 400, body: is(strings.Repeat("[", 60_000))},
	{name: "deep objects", status: 400, body: is(strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000))},
	{name: "deep in a field", status: 400, body: with(`"x":` + strings.Repeat("[", 9) + strings.Repeat("]", 9))},
	{name: "two objects", status: 400, body: func(good string) string { return good + good }},
	{name: "two objects in lines", status: 400, body: func(good string) string { return good + "\n" + good }},
	{name: "text after the object", status: 400, body: func(good string) string { return good + "x" }},
	{name: "NUL after the object", status: 400, body: func(good string) string { return good + "\x00" }},
	{name: "a byte order mark", status: 400, body: func(good string) string { return "\ufeff" + good }},
	{name: "UTF-16", status: 400, body: is("{\x00\"\x00m\x00")},
	{name: "half an object", status: 400, body: func(good string) string { return good[:len(good)-1] }},
	{name: "a comma too many", status: 400, body: func(good string) string { return good[:len(good)-1] + ",}" }},
	{name: "a comment", status: 400, body: func(good string) string { return good + "// good" }},
	{name: "quotes of another kind", status: 400, body: func(good string) string { return strings.ReplaceAll(good, `"`, `'`) }},
	{name: "null", status: 400, body: is("null")},
	{name: "a list", status: 400, body: func(good string) string { return "[" + good + "]" }},
	{name: "a string", status: 400, body: is(`"mesh"`)},
	{name: "a number", status: 400, body: is("1")},
	{name: "a number that is none", status: 400, body: is("NaN")},
	{name: "an empty object", status: 400, body: is("{}")},
	{name: "an unknown field", status: 400, body: with(`"unknown":1`)},
	{name: "an unknown field of null", status: 400, body: with(`"unknown":null`)},
	{name: "a field in another case", status: 400, body: with(`"VALIDFOR":"1h"`)},
	{name: "a field under Unicode case folding", status: 400, body: with(`"meſh":"default"`)},
	{name: "a field with no name", status: 400, body: with(`"":""`)},
	{name: "many unknown fields", status: 400, body: with(manyFields())},
	{name: "a name twice", status: 400, body: func(good string) string { return strings.Replace(good, "{", `{"x":1,"x":1,`, 1) }},
	{name: "a name twice in a value", status: 400, body: with(`"x":{"y":1,"y":2}`)},
	{name: "invalid UTF-8 in a value", status: 400, body: with("\"x\":\"\xff\"")},
	{name: "invalid UTF-8 in a name", status: 400, body: with("\"\xc3\":1")},
	{name: "half of a surrogate pair", status: 400, body: with(`"x":"\ud800"`)},
	{name: "a bare line feed in a string", status: 400, body: with("\"x\":\"\n\"")},

	{name: "no content type", status: 415, header: []string{"Content-Type", ""}},
	{name: "a form", status: 415, header: []string{"Content-Type", "application/x-www-form-urlencoded"}},
	{name: "text", status: 415, header: []string{"Content-Type", "text/plain"}},
	{name: "JSON lines", status: 415, header: []string{"Content-Type", "application/jsonl"}},
	{name: "a suffix", status: 415, header: []string{"Content-Type", "application/merge-patch+json"}},
	{name: "two content types", status: 415, header: []string{"Content-Type", "application/json, text/plain"}},
	{name: "another charset", status: 415, header: []string{"Content-Type", "application/json; charset=utf-16"}},
	{name: "another charset after a parameter", status: 415, header: []string{"Content-Type", `APPLICATION/JSON; profile=x; CHARSET="ISO-8859-1"`}},
	{name: "a parameter twice", status: 415, header: []string{"Content-Type", "application/json; charset=utf-8; charset=utf-16"}},
	{name: "a content type that is none", status: 415, header: []string{"Content-Type", "application/json;;="}},
	{name: "a compressed body", status: 415, header: []string{"Content-Encoding", "gzip"}},
}

func is(body string) func(string) string { return func(string) string { return body } }

func manyFields() string {
	var b strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&b, `"f%d":1,`, i)
	}
	return b.String() + `"last":1`
}

// with adds a member to the good body.
func with(member string) func(string) string {
	return func(good string) string { return good[:len(good)-1] + "," + member + "}" }
}

// hostileRequests are for one path each.
var hostileRequests = map[string][]string{
	"/tokens/dataplane": {
		`{"mesh":1}`, `{"mesh":true}`, `{"mesh":["default"]}`, `{"mesh":{"name":"default"}}`, `{"mesh":""}`, `{"mesh":null}`,
		`{"mesh":"*"}`, `{"mesh":"../default"}`, `{"mesh":"default\u0000"}`, `{"mesh":"dé"}`, `{"mesh":" default"}`,
		`{"mesh":"default","Mesh":"default"}`, `{"mesh":"default","mes\u0068":"default"}`, `{"Mesh":"default"}`, `{"zone":"west","scope":["cp"]}`,
		`{"mesh":"default","zone":"west"}`, `{"mesh":"default","name":1}`, `{"mesh":"default","name":["dp-1"]}`, `{"mesh":"default","name":"\udc00"}`,
		`{"mesh":"default","type":"gateway"}`, `{"mesh":"default","type":"ingress"}`, `{"mesh":"default","type":"Dataplane"}`,
		`{"mesh":"default","type":"` + strings.Repeat("t", 10_000) + `"}`,
		`{"mesh":"default","type":false}`, `{"mesh":"default","workload":{}}`,
		`{"mesh":"default","tags":"kuma.io/service=backend"}`, `{"mesh":"default","tags":[]}`, `{"mesh":"default","tags":1}`,
		`{"mesh":"default","tags":{"a":"b"}}`, `{"mesh":"default","tags":{"a":[]}}`, `{"mesh":"default","tags":{"a":null}}`,
		`{"mesh":"default","tags":{"a":[1]}}`, `{"mesh":"default","tags":{"a":[null]}}`, `{"mesh":"default","tags":{"a":[["b"]]}}`,
		`{"mesh":"default","tags":{"\ud800":["b"]}}`, "{\"mesh\":\"default\",\"tags\":{\"\xff\":[\"b\"]}}", `{"mesh":"default","tags":{"a":["\udc00"]}}`,
		`{"mesh":"default","tags":{"a":{"b":"c"}}}`, `{"mesh":"default","tags":{"a":["b"],"a":["c"]}}`, `{"mesh":"default","tags":{"a":["b"],"\u0061":["c"]}}`,
		`{"mesh":"default","validFor":3600}`, `{"mesh":"default","validFor":1e3}`, `{"mesh":"default","validFor":["1h"]}`,
		`{"mesh":"default","validFor":"0"}`, `{"mesh":"default","validFor":"0s"}`, `{"mesh":"default","validFor":"-24h"}`, `{"mesh":"default","validFor":"999ms"}`,
		`{"mesh":"default","validFor":"24"}`, `{"mesh":"default","validFor":"1d"}`, `{"mesh":"default","validFor":" 1h"}`, `{"mesh":"default","validFor":"forever"}`,
		`{"mesh":"default","validFor":"9999999h"}`, `{"mesh":"default","validFor":"1e9h"}`, `{"mesh":"default","validFor":"` + strings.Repeat("9", 10_000) + `h"}`,
	},
	"/tokens/zone": {
		`{"zone":1,"scope":["cp"]}`, `{"zone":"","scope":["cp"]}`, `{"zone":null,"scope":["cp"]}`, `{"scope":["cp"]}`,
		`{"zone":"west","scope":[]}`, `{"zone":"west","scope":"cp"}`, `{"zone":"west","scope":[""]}`,
		`{"zone":"west","scope":["cp",null]}`, `{"zone":"west","scope":["cp",1]}`, `{"zone":"west","scope":{"cp":true}}`,
		`{"zone":"west","Scope":["cp"]}`, `{"zone":"west","scope":["cp"],"scope":["egress"]}`, `{"zone":"west","scope":["cp"],"mesh":"default"}`,
		`{"zone":"west","scope":["cp"],"validFor":"0s"}`, `{"zone":"west","scope":["cp"],"validFor":"never"}`, `{"mesh":"default"}`,
	},
	"/revocations/dataplane/default": {
		`{"ids":null}`, `{"ids":[]}`, `{"ids":"an-id"}`, `{"ids":[1]}`, `{"ids":[null]}`, `{"ids":[""]}`, `{"ids":["a,b"]}`, `{"ids":["a b"]}`,
		`{"ids":["a","é"]}`, `{"ids":["a\n"]}`, `{"ids":["` + strings.Repeat("i", 257) + `"]}`, `{"ids":{"a":true}}`, `{"id":"a"}`, `{"IDs":["a"]}`,
	},
}

func init() {
	bodies := []string{
		`{"bits":1024}`, `{"bits":2049}`, `{"bits":8192}`, `{"bits":-2048}`, `{"bits":"2048"}`, `{"bits":2048.0}`, `{"bits":2.048e3}`, `{"bits":1e999}`, `{"bits":9223372036854775808}`,
		`{"bits":[2048]}`, `{"Bits":2048}`, `{"bits":2048,"bits":4096}`, `{"kid":"7"}`, `{"serial":7}`, `{"private":"x"}`, `{"public":1}`, `{"public":"x"}`, `{"public":"MIIB"}`,
		`{"jwk":"x"}`, `{"jwk":[]}`, `{"jwk":{}}`, `{"jwk":{"kty":"EC"}}`, `{"jwk":{"kty":"oct","k":"AAAA"}}`, `{"jwk":{"kty":"RSA"}}`, `{"jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}}`,
		`{"jwk":{"kty":"RSA","n":"!","e":"AQAB"}}`, `{"jwk":{"kty":"RSA","n":"AQAB","e":"AQABAQAB"}}`, `{"jwk":{"kty":"RSA","kty":"RSA"}}`, `{"jwk":{"KTY":"RSA"}}`,
		`{"jwk":{"kty":"RSA","use":"enc"}}`, `{"jwk":{"kty":"RSA","alg":"RS512"}}`, `{"jwk":{"kty":"RSA","x5c":["AAAA"]}}`, `{"jwk":{"kty":"RSA","key_ops":"verify"}}`,
		`{"jwk":{"kty":"RSA","oth":[]}}`, `{"jwk":{"kty":"RSA"},"public":"x"}`, `{"public":"x","bits":2048}`, `{"keys":[]}`,
	}
	hostileRequests["/keys/dataplane/default"], hostileRequests["/keys/zone"] = bodies, bodies
	hostileRequests["/keys/dataplane/default/first"] = append([]string{`{"bits":2048}`}, bodies...)
	hostileRequests["/keys/zone/remove"] = []string{
		`{}`, `{"kid":""}`, `{"kid":1}`, `{"kid":"01"}`, `{"kid":"+1"}`, `{"kid":" 1"}`, `{"kid":"-1"}`, `{"kid":"key-1"}`, `{"kid":"9223372036854775808"}`, `{"kid":["1"]}`,
		`{"kid":"1","force":"true"}`, `{"kid":"1","force":1}`, `{"kid":"1","unlessUsedSince":"now"}`, `{"kid":"1","unlessUsedSince":1}`, `{"kid":"1","all":true}`,
		`{"kid":"1","unlessUsedSince":"2026-11-29"}`, `{"kid":"1","unlessUsedSince":"2999-01-01T00:00:00Z"}`, `{"kid":"1","unlessUsedSince":"2026-11-29T10:00:00Z"}`,
		`{"kid":"1","force":true,"unlessUsedSince":"2026-11-29T10:00:00Z"}`,
	}
}

func TestHandlerRefusesHostileRequestsAndDoesNothing(t *testing.T) {
	w := newWorld(t)
	refused := 0
	check := func(what string, status int, path, body string, chunked bool, header ...string) {
		t.Helper()
		refused++
		var content io.Reader = strings.NewReader(body)
		if chunked {
			content = struct{ io.Reader }{content} // no Content-Length
		}
		r := httptest.NewRequestWithContext(t.Context(), "POST", path, content)
		r.Header.Set("As", "alice")
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
			if header[i+1] == "" {
				r.Header.Del(header[i])
			}
		}
		answer, text := w.answer(t, r)
		assert.Equal(t, status, answer.StatusCode, "%s to %s: %.200s", what, path, text)
		assertIsError(t, answer, text)
		assert.Less(t, len(text), 2<<10, "%s to %s", what, path)
	}
	for path, good := range map[string]string{
		"/tokens/dataplane":              `{"mesh":"default","validFor":"1h"}`,
		"/tokens/zone":                   `{"zone":"west","scope":["cp"],"validFor":"1h"}`,
		"/revocations/dataplane/default": `{"ids":["an-id"]}`,
		"/revocations/zone":              `{"ids":["an-id"]}`,
		"/revocations/zone/restore":      `{"ids":["an-id"]}`,
		"/keys/zone/remove":              `{"kid":"1"}`,
	} {
		for _, h := range hostileBodies {
			body := good
			if h.body != nil {
				body = h.body(good)
			}
			check(h.name, h.status, path, body, false, h.header...)
			check(h.name+", chunked", h.status, path, body, true, h.header...)
		}
	}
	for path, bodies := range hostileRequests {
		for _, body := range bodies {
			if len(body) > 300 {
				check(body[:300], 400, path, body, false)
				continue
			}
			check(body, 400, path, body, false)
		}
	}
	assert.Empty(t, w.asked.all(), "the authoriser was asked")
	assert.Zero(t, w.issued(), "an issuer was asked")
	assert.Zero(t, w.store.reads(), "the store was read")
	assert.Zero(t, w.log.Count("audit: done"))
	assert.Equal(t, refused, w.log.Count("audit: not done"), "each refusal is an event")
	assert.Equal(t, refused, w.log.Count(""))
}

func TestHandlerBoundsTheDepthOfARequest(t *testing.T) {
	w := newWorld(t)
	for levels, detail := range map[int]string{1: "is a list, want a string", 7: "is a list, want a string", 5000: "is a list, want a string"} {
		answer, text := w.do(t, "POST", "/tokens/dataplane", `{"mesh":`+strings.Repeat("[", levels)+strings.Repeat("]", levels)+`}`)
		assert.Equal(t, 400, answer.StatusCode)
		assert.Contains(t, text, detail, levels)
	}
}

func TestHandlerRefusesTwoContentTypes(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/tokens/dataplane", strings.NewReader(`{"mesh":"default"}`))
	r.Header["Content-Type"] = []string{"application/json", "application/json"}
	r.Header.Set("As", "alice")
	answer, _ := w.answer(t, r)
	assert.Equal(t, 415, answer.StatusCode)
	assert.Zero(t, w.issued())
}

// On a real connection the client is told while it is still sending.
func TestHandlerRefusesTenMegabytes(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	for _, path := range []string{"/tokens/dataplane", "/tokens/zone", "/revocations/zone"} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(`{"mesh":"` + strings.Repeat("m", tenMB) + `"}`)
			if chunked {
				body = struct{ io.Reader }{body}
			}
			r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+path, body)
			require.NoError(t, err)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("As", "alice")
			answer, err := server.Client().Do(r)
			if err != nil {
				// The server has closed the connection, and the answer was lost with it.
				assert.NotErrorIs(t, err, context.DeadlineExceeded)
				continue
			}
			assert.Equal(t, 413, answer.StatusCode)
			assert.NoError(t, answer.Body.Close())
		}
	}
	assert.Empty(t, w.asked.all())
	assert.Zero(t, w.issued())
}

func TestHandlerRefusesABodyThatEndsEarly(t *testing.T) {
	w := newWorld(t)
	body := io.MultiReader(strings.NewReader(`{"mesh":"default"}`), failingReader{})
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/tokens/dataplane", body)
	r.Header.Set("As", "alice")
	r.Header.Set("Content-Type", "application/json")
	answer, text := w.answer(t, r)
	assert.Equal(t, 400, answer.StatusCode)
	assertIsError(t, answer, text)
	assert.Zero(t, w.issued())
}

func TestHandlerRefusesABodyThatDoesNotComeWhenTheServersPatienceEnds(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewUnstartedServer(w.handler)
	server.Config.ReadTimeout = 100 * time.Millisecond
	server.Start()
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	// The object is whole, and yet one byte is missing.
	_, err = io.WriteString(conn, "POST /tokens/dataplane HTTP/1.1\r\nHost: host\r\nAs: alice\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n"+`{"mesh":"default"}`)
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	assert.Equal(t, 400, answer.StatusCode)
	assertIsError(t, answer, string(text))
	assert.Empty(t, w.asked.all())
	assert.Zero(t, w.issued())
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestHandlerAcceptsHarmlessSpellings(t *testing.T) {
	w := newWorld(t)
	for _, contentType := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8", `application/json; charset="utf-8"`,
		"application/json;", "APPLICATION/JSON ; CHARSET=Utf-8", "application/json; odata=verbose;charset=utf-8"} {
		answer, text := w.do(t, "POST", "/tokens/dataplane", `{"mesh":"default"}`, "Content-Type", contentType)
		assert.Equal(t, 200, answer.StatusCode, "%s: %s", contentType, text)
	}
	for _, body := range []string{
		"\r\n\t {\n\"mesh\" : \"default\"\n} \n",
		`{"m\u0065sh":"d\u0065fault"}`,
		`{"mesh":"default","name":"","tags":null,"type":null,"workload":"","validFor":""}`,
		`{"mesh":"default","tags":{}}`,
		`{"mesh":"default","name":"\ud83d\ude00","tags":{"\"<tag>\"":["a","a",""]}}`,
		`{"mesh":"default","validFor":"1h30m"}`,
		`{"mesh":"default","validFor":"87600h0m0s"}`,
		`{"mesh":"default","validFor":"1s"}`,
	} {
		answer, text := w.do(t, "POST", "/tokens/dataplane", body)
		assert.Equal(t, 200, answer.StatusCode, "%s: %s", body, text)
	}
}

// The commands of Kuma's tool send these structs through encoding/json.
func TestHandlerUnderstandsWhatKumactlSends(t *testing.T) {
	type dataplaneToken struct {
		Name     string              `json:"name"`
		Mesh     string              `json:"mesh"`
		Tags     map[string][]string `json:"tags"`
		Type     string              `json:"type"`
		Workload string              `json:"workload"`
		ValidFor string              `json:"validFor"`
	}
	type zoneToken struct {
		Zone     string   `json:"zone"`
		Scope    []string `json:"scope"`
		ValidFor string   `json:"validFor"`
	}
	w := newWorld(t)
	for path, request := range map[string]any{
		"/tokens/dataplane": dataplaneToken{Mesh: "default", ValidFor: "720h0m0s"},
		"/tokens/zone":      zoneToken{Zone: "west", Scope: []string{"cp"}, ValidFor: "720h0m0s"},
	} {
		body, err := json.Marshal(request)
		assert.NoError(t, err)
		answer, text := w.do(t, "POST", path, string(body))
		assert.Equal(t, 200, answer.StatusCode, text)
		assert.Equal(t, "text/plain", answer.Header.Get("Content-Type"))
	}
}
