package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/examples/minimal/selfmade"
	"github.com/meshpass/meshpass/httpapi"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// controlPlane is the program of this package, as a process of its own.
type controlPlane struct {
	folder  string
	log     *events
	streams string // address of proxies and zones
	admin   string // URL of the admin API
	roots   *x509.CertPool
	web     *http.Client // has the secret
	api     *httpapi.Client
}

// start starts a control plane on free ports and without leeway, so that a token ends at its
// exp. Its folder is as a newcomer's, with changes to the settings.
func start(t *testing.T, changes ...string) *controlPlane {
	cp := prepare(t)
	cp.edit(t, "settings.yaml", changes...)
	cp.start(t)
	return cp
}

func prepare(t *testing.T) *controlPlane {
	cp := &controlPlane{folder: t.TempDir(), roots: x509.NewCertPool()}
	require.NoError(t, selfmade.Fill(cp.folder))
	cp.edit(t, "settings.yaml", "127.0.0.1:5678", "127.0.0.1:0", "127.0.0.1:5681", "127.0.0.1:0", "leeway: 30s", "leeway: 0s")
	return cp
}

func (cp *controlPlane) start(t *testing.T) {
	cp.log = run(t, cp.folder, "minimal", cp.folder)
	serving := regexp.MustCompile(`serving listen=(\S+) admin=(\S+)`).FindStringSubmatch(cp.log.await(t, "INFO serving"))
	cp.streams, cp.admin = serving[1], "https://"+serving[2]

	require.True(t, cp.roots.AppendCertsFromPEM(cp.read(t, "certificate.pem")))
	cp.web = cp.clientWith(strings.TrimSpace(string(cp.read(t, "admin.secret"))))
	var err error
	cp.api, err = httpapi.NewClient(cp.admin, cp.web)
	require.NoError(t, err)
}

// clientWith returns a client of the admin API. It speaks HTTP/2, which leaves a space at
// the end of a header as it is.
func (cp *controlPlane) clientWith(secret string) *http.Client {
	return &http.Client{Transport: withSecret{secret,
		&http.Transport{TLSClientConfig: &tls.Config{RootCAs: cp.roots}, ForceAttemptHTTP2: true}}}
}

func (cp *controlPlane) read(t *testing.T, name string) []byte {
	content, err := os.ReadFile(filepath.Join(cp.folder, name))
	require.NoError(t, err)
	return content
}

// write replaces a file at once, so that no reader sees half of it.
func (cp *controlPlane) write(t *testing.T, name, content string) {
	file := filepath.Join(cp.folder, name)
	require.NoError(t, os.WriteFile(file+".new", []byte(content), 0o600))
	require.NoError(t, os.Rename(file+".new", file))
}

func (cp *controlPlane) edit(t *testing.T, name string, oldnew ...string) {
	for i := 0; i < len(oldnew); i += 2 {
		require.Contains(t, string(cp.read(t, name)), oldnew[i])
	}
	cp.write(t, name, strings.NewReplacer(oldnew...).Replace(string(cp.read(t, name))))
}

// request sends a request to the admin API and returns the answer.
func (cp *controlPlane) request(t *testing.T, client *http.Client, method, path, body string) (status int, answer string) {
	r, err := http.NewRequestWithContext(t.Context(), method, cp.admin+path, strings.NewReader(body))
	require.NoError(t, err)
	response, err := client.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content)
}

type withSecret struct {
	secret string
	next   http.RoundTripper
}

func (s withSecret) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+s.secret)
	return s.next.RoundTrip(r)
}

// run starts the test binary as a program, until the test ends.
func run(t *testing.T, folder, program string, args ...string) *events {
	ctx, kill := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), asProgram+"="+program,
		"GRPC_XDS_BOOTSTRAP=bootstrap.json", "GRPC_EXPERIMENTAL_XDS_BOOTSTRAP_CALL_CREDS=true")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	log := &events{more: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			log.add(lines.Text())
		}
	}()
	t.Cleanup(func() {
		kill()
		<-read
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("log of %s:\n%s", program, strings.Join(log.lines, "\n"))
		}
	})
	return log
}

// events are the lines that a process logs.
type events struct {
	mu    sync.Mutex
	lines []string
	seen  int           // lines that await has passed
	more  chan struct{} // closed by the next line
}

func (e *events) add(line string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, line)
	close(e.more)
	e.more = make(chan struct{})
}

// await returns the next line that has all the words. Lines before it are passed for good.
func (e *events) await(t *testing.T, words ...string) string {
	t.Helper()
	limit := time.After(patience)
	for {
		e.mu.Lock()
		more := e.more
		for ; e.seen < len(e.lines); e.seen++ {
			if line := e.lines[e.seen]; hasAll(line, words) {
				e.seen++
				e.mu.Unlock()
				return line
			}
		}
		e.mu.Unlock()
		select {
		case <-more:
		case <-limit:
			require.FailNow(t, "no such line in the log", "%q", words)
		}
	}
}

// rewind makes await begin at the first line again.
func (e *events) rewind() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = 0
}

func hasAll(line string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(line, word) {
			return false
		}
	}
	return true
}
