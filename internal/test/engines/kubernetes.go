package engines

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// kubernetesVersion is what keystore/kubernetes/testenv builds.
const kubernetesVersion = "v1.36.3"

const (
	startTimeout   = 2 * time.Minute // of a start, which takes about 4 s
	requestTimeout = 10 * time.Second
)

// Kubernetes is a kube-apiserver with an etcd of its own and nothing else: no kubelet and
// no controllers. So no ServiceAccount exists until a test makes one, and a deleted
// namespace stays and keeps terminating.
type Kubernetes struct {
	URL string // of the API server, https

	// CA is the certificate that the API server's is signed with; Cert and Key are
	// those of an administrator (the group system:masters). All are PEM.
	CA, Cert, Key []byte

	folder    string // of the binaries
	data      string // what they read and write
	address   string // of the API server
	etcd      *etcd
	ca        *x509.Certificate
	caKey     *ecdsa.PrivateKey
	apiServer *process
}

// NewKubernetes starts an etcd and an API server, which authenticates clients by
// certificate or by token of a ServiceAccount and authorizes them by RBAC, and
// waits until it is ready. They end with the test.
func NewKubernetes(tb testing.TB) *Kubernetes {
	tb.Helper()
	k := newKubernetes(tb, tb.TempDir())
	tb.Cleanup(k.end)
	k.Start(tb)
	return k
}

var sharedKubernetes struct {
	sync.Mutex
	server *Kubernetes
	alive  io.Closer // while it is open, the folder stays
}

// SharedKubernetes is NewKubernetes for an API server that the tests of the process
// share, one after the other. It ends with the process. A test may kill it: the next
// call starts it again.
func SharedKubernetes(tb testing.TB) *Kubernetes {
	tb.Helper()
	sharedKubernetes.Lock()
	defer sharedKubernetes.Unlock()
	if sharedKubernetes.server == nil {
		data, err := os.MkdirTemp("", "meshpass-kubernetes-")
		check(tb, err)
		sharedKubernetes.alive = removeWithProcess(tb, data)
		sharedKubernetes.server = newKubernetes(tb, data)
	}
	if sharedKubernetes.server.apiServer == nil {
		sharedKubernetes.server.Start(tb)
	}
	return sharedKubernetes.server
}

// newKubernetes starts the etcd, and makes what the API server needs.
func newKubernetes(tb testing.TB, data string) *Kubernetes {
	tb.Helper()
	k := &Kubernetes{folder: kubernetesFolder(tb), data: data}
	k.makeCertificates(tb)
	k.etcd = startEtcd(tb, k.folder, k.data)
	k.address = FreeAddress(tb)
	k.URL = "https://" + k.address
	return k
}

// end ends both servers.
func (k *Kubernetes) end() {
	if k.apiServer != nil {
		k.apiServer.kill()
	}
	k.etcd.kill()
}

// kubernetesFolder returns where the binaries are.
func kubernetesFolder(tb testing.TB) string {
	tb.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		missing(tb, err.Error())
	}
	folder := filepath.Join(cache, "meshpass", "kube-apiserver-"+kubernetesVersion)
	for _, name := range []string{"kube-apiserver", "server"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			missing(tb, fmt.Sprintf("no kube-apiserver: %s; run keystore/kubernetes/testenv/build", err))
		}
	}
	if _, err := exec.LookPath("sh"); err != nil {
		missing(tb, err.Error())
	}
	return folder
}

// NewEtcd starts an etcd with one member, without TLS and users, and waits until it is
// ready. It ends with the test. It returns the address, HOST:PORT.
func NewEtcd(tb testing.TB) string {
	tb.Helper()
	e := startEtcd(tb, kubernetesFolder(tb), tb.TempDir())
	tb.Cleanup(e.kill)
	return e.address
}

// etcd is an etcd with one member.
type etcd struct {
	*process
	address string // HOST:PORT
}

func (e *etcd) url() string { return "http://" + e.address }

// startEtcd starts the binary in a folder, with its data in another.
func startEtcd(tb testing.TB, folder, data string) *etcd {
	tb.Helper()
	e := &etcd{address: FreeAddress(tb)}
	e.process = startProcess(tb, filepath.Join(data, "etcd.log"), filepath.Join(folder, "server"),
		"--data-dir="+filepath.Join(data, "etcd"),
		"--listen-client-urls="+e.url(), "--advertise-client-urls="+e.url(), "--listen-peer-urls=http://127.0.0.1:0",
		"--unsafe-no-fsync", "--log-level=warn")
	e.waitUntilReady(tb, &http.Client{Timeout: requestTimeout}, e.url()+"/health")
	return e
}

// Start starts the API server again after Kill, on the same address and data, and
// waits until it is ready.
func (k *Kubernetes) Start(tb testing.TB) {
	tb.Helper()
	if k.apiServer != nil {
		tb.Fatal("engines: the API server runs already")
	}
	file := func(name string) string { return filepath.Join(k.data, name) }
	host, port, err := net.SplitHostPort(k.address)
	if err != nil {
		tb.Fatal(err)
	}
	k.apiServer = startProcess(tb, file("kube-apiserver.log"), filepath.Join(k.folder, "kube-apiserver"),
		"--etcd-servers="+k.etcd.url(),
		"--bind-address="+host, "--advertise-address="+host, "--secure-port="+port, "--cert-dir="+k.data,
		"--tls-cert-file="+file("server.crt"), "--tls-private-key-file="+file("server.key"),
		"--client-ca-file="+file("ca.crt"),
		"--service-account-key-file="+file("sa.crt"), "--service-account-signing-key-file="+file("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
		"--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none")
	k.apiServer.waitUntilReady(tb, k.client(tb), k.URL+"/readyz")
}

// Kill ends the API server with SIGKILL, as a crash would. Its data stays.
func (k *Kubernetes) Kill(tb testing.TB) {
	tb.Helper()
	if k.apiServer == nil {
		tb.Fatal("engines: the API server does not run")
	}
	k.apiServer.kill()
	k.apiServer = nil
}

// Pause stops the API server where it is (SIGSTOP), until Resume: connections stay open and
// new ones are taken by the system, but nothing is answered.
func (k *Kubernetes) Pause(tb testing.TB) { k.apiServer.pause(tb) }

// Resume lets the API server go on after Pause.
func (k *Kubernetes) Resume(testing.TB) { k.apiServer.resume() }

// PauseEtcd stops the etcd behind the API server where it is, until ResumeEtcd.
func (k *Kubernetes) PauseEtcd(tb testing.TB) { k.etcd.pause(tb) }

// ResumeEtcd lets the etcd go on after PauseEtcd.
func (k *Kubernetes) ResumeEtcd(testing.TB) { k.etcd.resume() }

// Compact makes etcd forget all states but the latest one. The API server lets it forget
// old states every five minutes.
func (k *Kubernetes) Compact(tb testing.TB) {
	tb.Helper()
	var latest struct {
		Header struct{ Revision string }
	}
	k.askEtcd(tb, "/v3/kv/range", `{"key": "AA=="}`, &latest)
	k.askEtcd(tb, "/v3/kv/compaction", fmt.Sprintf(`{"revision": %q, "physical": true}`, latest.Header.Revision), &struct{}{})
}

func (k *Kubernetes) askEtcd(tb testing.TB, path, request string, answer any) {
	tb.Helper()
	client := http.Client{Timeout: requestTimeout}
	response, err := client.Post(k.etcd.url()+path, "application/json", strings.NewReader(request))
	if err != nil {
		tb.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		tb.Fatalf("etcd answers %s with %s", path, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		tb.Fatal(err)
	}
}

// client returns a client with the rights of an administrator.
func (k *Kubernetes) client(tb testing.TB) *http.Client {
	tb.Helper()
	certificate, err := tls.X509KeyPair(k.Cert, k.Key)
	if err != nil {
		tb.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(k.ca)
	return &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}},
			DisableKeepAlives: true,
		},
	}
}

// ClientCert returns a new certificate and its key, both PEM, with which a client
// is the user in the groups. Such a user may do nothing until RBAC says so.
func (k *Kubernetes) ClientCert(tb testing.TB, user string, groups ...string) (cert, key []byte) {
	tb.Helper()
	return k.sign(tb, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, newECDSAKey(tb))
}

// makeCertificates makes those that the API server reads, and the administrator's.
func (k *Kubernetes) makeCertificates(tb testing.TB) {
	tb.Helper()
	k.caKey = newECDSAKey(tb)
	k.CA, _ = k.sign(tb, &x509.Certificate{
		Subject:               pkix.Name{CommonName: "test CA"},
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}, k.caKey)
	block, _ := pem.Decode(k.CA)
	var err error
	if k.ca, err = x509.ParseCertificate(block.Bytes); err != nil {
		tb.Fatal(err)
	}
	k.write(tb, "ca.crt", k.CA)
	cert, key := k.sign(tb, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, newECDSAKey(tb))
	k.write(tb, "server.crt", cert)
	k.write(tb, "server.key", key)
	cert, key = k.sign(tb, &x509.Certificate{Subject: pkix.Name{CommonName: "service accounts"}}, newECDSAKey(tb))
	k.write(tb, "sa.crt", cert)
	k.write(tb, "sa.key", key)
	k.Cert, k.Key = k.ClientCert(tb, "admin", "system:masters")
}

func (k *Kubernetes) write(tb testing.TB, name string, content []byte) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(k.data, name), content, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// sign completes the certificate and signs it with the CA's key, the CA's own too.
func (k *Kubernetes) sign(tb testing.TB, template *x509.Certificate, key *ecdsa.PrivateKey) (certPEM, keyPEM []byte) {
	tb.Helper()
	parent := k.ca
	if parent == nil {
		parent = template
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), k.caKey)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key) // kube-apiserver refuses PKCS#8 for an EC key
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

func newECDSAKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// process is a server that ends with the test binary, even if that is killed.
type process struct {
	pid      int
	lifeline *os.File      // the write end of a pipe: when it is closed, the server is killed
	exited   chan struct{} // closed when the server has ended
	log      string        // path of what it prints
}

// survivor runs its arguments as a command, until that ends or standard input
// does. Then it kills the command.
const survivor = `exec 3<&0
"$@" 3<&- 4<&- &
server=$!
echo $server >&4
exec 4<&-
(cat <&3; kill -KILL $server) >/dev/null 2>&1 &
wait $server`

func startProcess(tb testing.TB, log string, command ...string) *process {
	tb.Helper()
	output, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer output.Close()
	stdin, lifeline, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	defer stdin.Close()
	cmd := exec.Command("sh", append([]string{"-c", survivor, "sh"}, command...)...)
	started, fourth, err := os.Pipe()
	check(tb, err)
	defer started.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, output, output
	cmd.ExtraFiles = []*os.File{output, fourth} // the script replaces the first one
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	fourth.Close()
	p := &process{lifeline: lifeline, exited: make(chan struct{}), log: log}
	if _, err := fmt.Fscan(started, &p.pid); err != nil {
		tb.Fatalf("%s did not start: %v", command[0], err)
	}
	go func() {
		_ = cmd.Wait()
		close(p.exited)
	}()
	return p
}

func (p *process) pause(tb testing.TB) {
	tb.Helper()
	pause(tb, p.pid)
}

func (p *process) resume() { resume(p.pid) }

// kill ends the server with SIGKILL and waits until it has ended.
func (p *process) kill() {
	p.lifeline.Close()
	<-p.exited
}

// removeWithProcess lets a folder be removed when this process has ended, as long as
// the caller keeps what is returned: a pipe that then ends. What this process has
// started may hold the folder a little longer.
func removeWithProcess(tb testing.TB, folder string) io.Closer {
	tb.Helper()
	const janitor = `cat >/dev/null; until rm -rf "$1"; do sleep 0.1; done`
	cmd := exec.Command("sh", "-c", janitor, "sh", folder)
	alive, err := cmd.StdinPipe()
	check(tb, err)
	check(tb, cmd.Start())
	return alive
}

// waitUntilReady waits until a GET of the URL is answered with 200.
func (p *process) waitUntilReady(tb testing.TB, client *http.Client, url string) {
	tb.Helper()
	patient := time.After(startTimeout)
	for {
		err := get(client, url)
		if err == nil {
			return
		}
		select {
		case <-p.exited:
			err = errors.New("it has ended")
		case <-patient:
		case <-time.After(50 * time.Millisecond):
			continue
		}
		output, _ := os.ReadFile(p.log)
		lines := bytes.Split(bytes.TrimSpace(output), []byte("\n"))
		tb.Fatalf("%s is not ready: %v; its last words:\n%s", url, err, bytes.Join(lines[max(0, len(lines)-20):], []byte("\n")))
	}
}

func get(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}
