package engines

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Postgres is a PostgreSQL server of its own, which takes connections over a Unix
// socket only. Its methods may be called concurrently, except for Start, Stop, Kill,
// Pause and Resume.
type Postgres struct {
	bin      string // folder of the programs
	folder   string // holds the data, the socket and the log
	settings []string
	owner    owner
	next     atomic.Int64 // numbers databases and poolers

	ended chan struct{} // closed when the server's first process has ended

	janitor *exec.Cmd
	alive   io.Closer // while it is open, the janitor waits
	closing sync.Once
}

// owner is the user as whom the server runs, which refuses to run as root.
type owner struct {
	switched bool // it is another user than the test's
	uid, gid uint32
}

const postgresPort = "5432"

// NewPostgres starts an empty server and stops it when the test ends. The server
// keeps the defaults of a production server, fsync among them: what it has confirmed
// survives Kill. NewPostgres skips the test if PostgreSQL is not installed.
func NewPostgres(tb testing.TB) *Postgres {
	tb.Helper()
	p := newPostgres(tb)
	tb.Cleanup(p.close)
	return p
}

var shared struct {
	sync.Mutex
	server *Postgres
}

// SharedPostgres returns a server that all tests of the process share, and that
// ends with the process. It does not wait for the disk. SharedPostgres skips the
// test if PostgreSQL is not installed. Tests that stop or kill a server need one of
// their own.
func SharedPostgres(tb testing.TB) *Postgres {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		shared.server = newPostgres(tb, "fsync=off", "full_page_writes=off")
	}
	return shared.server
}

func newPostgres(tb testing.TB, settings ...string) *Postgres {
	tb.Helper()
	p := preparePostgres(tb, settings)
	p.run(tb, filepath.Join(p.bin, "initdb"), "-D", p.data(), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
	p.Start(tb)
	return p
}

// NewStandby starts a standby that streams all databases from the server, and stops it
// when the test ends. The server must have been started by NewPostgres.
func (p *Postgres) NewStandby(tb testing.TB) *Postgres {
	tb.Helper()
	standby := preparePostgres(tb, nil)
	tb.Cleanup(standby.close)
	standby.run(tb, filepath.Join(p.bin, "pg_basebackup"), "-h", p.folder, "-p", postgresPort, "-U", "postgres",
		"-D", standby.data(), "-R", "-X", "stream", "-c", "fast", "-N")
	standby.Start(tb)
	return standby
}

// Promote makes a standby a primary, and returns when it is one.
func (p *Postgres) Promote(tb testing.TB) {
	tb.Helper()
	p.run(tb, filepath.Join(p.bin, "pg_ctl"), "promote", "-D", p.data(), "-w", "-s")
}

// Pause stops all processes of the server where they are (SIGSTOP): connections stay open
// and new ones are taken by the system, but nothing is answered until Resume.
func (p *Postgres) Pause(tb testing.TB) {
	tb.Helper()
	for stopped := map[int]bool{}; ; { // the first process may have begun others meanwhile
		before := len(stopped)
		for _, pid := range p.processes() {
			if !stopped[pid] {
				pause(tb, pid)
				stopped[pid] = true
			}
		}
		if len(stopped) == before {
			return
		}
	}
}

// Resume lets the server go on after Pause.
func (p *Postgres) Resume(tb testing.TB) {
	tb.Helper()
	for _, pid := range p.processes() {
		resume(pid)
	}
}

// preparePostgres returns a server without data.
func preparePostgres(tb testing.TB, settings []string) *Postgres {
	tb.Helper()
	if runtime.GOOS != "linux" {
		missing(tb, "a PostgreSQL server of the tests' own is started on Linux only")
	}
	p := &Postgres{bin: newestPostgres(), settings: settings}
	if p.bin == "" {
		missing(tb, "PostgreSQL is not installed: there is no /usr/lib/postgresql/*/bin/postgres (Debian: apt-get install postgresql)")
	}
	if os.Getuid() == 0 {
		p.owner = unprivileged(tb)
	}
	// Not tb.TempDir: its path may be too long for a socket, and closed to the owner.
	folder, err := os.MkdirTemp("/tmp", "meshpass-postgres-")
	check(tb, err)
	p.folder = folder
	if p.owner.switched {
		check(tb, os.Chown(folder, int(p.owner.uid), int(p.owner.gid)))
	}
	p.startJanitor(tb)
	return p
}

// newestPostgres returns the folder with the programs of the highest version, or
// "" if there is none.
func newestPostgres() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	newest, folder := -1, ""
	for _, program := range found {
		bin := filepath.Dir(program)
		if version, err := strconv.Atoi(filepath.Base(filepath.Dir(bin))); err == nil && version > newest {
			newest, folder = version, bin
		}
	}
	return folder
}

// unprivileged returns a user that is not root.
func unprivileged(tb testing.TB) owner {
	tb.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUser := strconv.ParseUint(found.Uid, 10, 32)
		gid, errGroup := strconv.ParseUint(found.Gid, 10, 32)
		if errUser == nil && errGroup == nil && uid != 0 {
			return owner{switched: true, uid: uint32(uid), gid: uint32(gid)}
		}
	}
	missing(tb, "PostgreSQL does not run as root, and there is no user postgres or nobody")
	return owner{}
}

// startJanitor starts a shell that outlives the test's process, even if that is killed.
// The shell then stops what is left of the server and removes its folder. It must not
// hold the test's output open, or "go test" waits for it.
func (p *Postgres) startJanitor(tb testing.TB) {
	tb.Helper()
	p.janitor = p.command("/bin/sh", "-c", `
		cat >/dev/null # until the test lets go of the other end
		left() { for proc in /proc/[0-9]*; do if [ "$proc/cwd" -ef "$1" ]; then echo "${proc#/proc/}"; fi; done; }
		cd /
		while pids=$(left "$1/data"; left "$1/pgbouncer") && [ -n "$pids" ]; do
			kill -QUIT $pids 2>/dev/null
			kill -CONT $pids 2>/dev/null # after Pause
			sleep 0.02
		done
		rm -rf "$1"`, "janitor", p.folder)
	alive, err := p.janitor.StdinPipe()
	check(tb, err)
	p.alive = alive
	check(tb, p.janitor.Start())
}

func (p *Postgres) close() {
	p.closing.Do(func() {
		_ = p.alive.Close()
		_ = p.janitor.Wait()
	})
}

// Start starts the server again after Stop or Kill, on the same data and with the
// same URL, and returns when it takes connections.
func (p *Postgres) Start(tb testing.TB) {
	tb.Helper()
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	check(tb, err)
	defer log.Close()
	args := []string{"-D", p.data(), "-k", p.folder}
	for _, setting := range append([]string{"listen_addresses=", "port=" + postgresPort, "max_connections=500"}, p.settings...) {
		args = append(args, "-c", setting)
	}
	server := p.command(filepath.Join(p.bin, "postgres"), args...)
	server.Stdout, server.Stderr = log, log
	check(tb, server.Start())
	ended := make(chan struct{})
	p.ended = ended
	go func() {
		defer close(ended)
		_ = server.Wait()
	}()
	for deadline := time.Now().Add(time.Minute); ; {
		ready := p.command(filepath.Join(p.bin, "pg_isready"), "-q", "-h", p.folder, "-p", postgresPort)
		if ready.Run() == nil {
			return
		}
		select {
		case <-ended:
			tb.Fatalf("PostgreSQL did not start: %s", p.lastLog())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			tb.Fatalf("PostgreSQL is not ready after a minute: %s", p.lastLog())
		}
	}
}

// Stop shuts the server down in order, ending all connections.
func (p *Postgres) Stop(tb testing.TB) {
	tb.Helper()
	p.run(tb, filepath.Join(p.bin, "pg_ctl"), "stop", "-D", p.data(), "-m", "fast", "-w", "-s")
	<-p.ended
}

// Kill ends all processes of the server at once, as a crash of the machine would,
// except that the system still writes what it was given to write.
func (p *Postgres) Kill(tb testing.TB) {
	tb.Helper()
	// The first process goes first, or it would replace those that died.
	first := p.firstPID()
	if first == 0 || !p.owns(first) {
		tb.Fatal("PostgreSQL is not running")
	}
	kill(first)
	for deadline := time.Now().Add(time.Minute); ; {
		left := p.processes()
		if len(left) == 0 {
			<-p.ended // or its number still stands for a server that runs
			return
		}
		for _, pid := range left {
			kill(pid)
		}
		if time.Now().After(deadline) {
			tb.Fatalf("processes %v of PostgreSQL are still there a minute after they were killed", left)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// kill ends a process, which may just have ended.
func kill(pid int) {
	if process, err := os.FindProcess(pid); err == nil {
		_ = process.Kill()
	}
}

// firstPID returns the process that started the others, or 0.
func (p *Postgres) firstPID() int {
	content, _ := os.ReadFile(filepath.Join(p.data(), "postmaster.pid"))
	line, _, _ := bytes.Cut(content, []byte("\n"))
	pid, _ := strconv.Atoi(string(line))
	return pid
}

// processes returns the server's processes, which all work in its data folder.
func (p *Postgres) processes() []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil && p.owns(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (p *Postgres) owns(pid int) bool {
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	return err == nil && cwd == p.data()
}

// URL returns a connection string for the superuser and the database postgres.
func (p *Postgres) URL() string {
	return p.url(p.folder, postgresPort, "postgres")
}

// Socket returns the path of the server's Unix socket, for proxies in between.
// Another socket stands in for it in a connection string if its name is the same.
func (p *Postgres) Socket() string {
	return filepath.Join(p.folder, ".s.PGSQL."+postgresPort)
}

// NewDatabase makes an empty database and returns a connection string for it, for
// the superuser. It takes about a tenth of a second.
func (p *Postgres) NewDatabase(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprint("test_", p.next.Add(1))
	p.run(tb, filepath.Join(p.bin, "createdb"), "-h", p.folder, "-p", postgresPort, "-U", "postgres", name)
	return p.url(p.folder, postgresPort, name)
}

// NewPgBouncer starts a PgBouncer, a pooler of connections, in front of the server
// and returns a connection string for the superuser and the named database through
// it. The mode is PgBouncer's pool_mode, "transaction" or "session". It ends with
// the test. NewPgBouncer skips the test if PgBouncer is not installed.
func (p *Postgres) NewPgBouncer(tb testing.TB, mode, database string) string {
	tb.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program = "/usr/sbin/pgbouncer"; exec.Command(program, "--version").Run() != nil {
			missing(tb, "PgBouncer is not installed: there is no pgbouncer (Debian: apt-get install pgbouncer)")
		}
	}
	folder := filepath.Join(p.folder, "pgbouncer")
	port := strconv.FormatInt(6000+p.next.Add(1), 10) // of a socket: only its name
	config := filepath.Join(folder, port+".ini")
	check(tb, os.MkdirAll(folder, 0o755))
	check(tb, os.WriteFile(config, fmt.Appendf(nil, `
[databases]
* = host=%s port=%s user=postgres
[pgbouncer]
listen_addr =
listen_port = %s
unix_socket_dir = %s
auth_type = any
pool_mode = %s
max_client_conn = 500
default_pool_size = 10
`, p.folder, postgresPort, port, folder, mode), 0o644))
	if p.owner.switched {
		check(tb, os.Chown(folder, int(p.owner.uid), int(p.owner.gid)))
	}
	said := filepath.Join(folder, port+".log")
	log, err := os.OpenFile(said, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	check(tb, err)
	start := func() (*exec.Cmd, error) {
		pooler := p.command(program, config)
		pooler.Dir = folder // where the janitor looks for it
		pooler.Stdout, pooler.Stderr = log, log
		return pooler, pooler.Start()
	}
	var ready atomic.Bool
	stop, ended := make(chan struct{}), make(chan struct{})
	pooler, err := start()
	check(tb, err)
	go func() { // starts it again if it ends, as a service manager does: it may when its server is killed
		defer close(ended)
		defer log.Close()
		for {
			died := make(chan struct{})
			go func() { _ = pooler.Wait(); close(died) }()
			select {
			case <-stop:
				_ = pooler.Process.Kill()
				<-died
				return
			case <-died:
			}
			tb.Logf("PgBouncer has ended by itself (%s): %s", pooler.ProcessState, lastOf(said))
			if !ready.Load() {
				return
			}
			time.Sleep(20 * time.Millisecond) // or one that cannot run would keep a processor busy
			if pooler, err = start(); err != nil {
				tb.Errorf("starting PgBouncer again: %v", err)
				return
			}
		}
	}()
	tb.Cleanup(func() { close(stop); <-ended })
	for deadline := time.Now().Add(time.Minute); ; {
		if p.command(filepath.Join(p.bin, "pg_isready"), "-q", "-h", folder, "-p", port).Run() == nil {
			ready.Store(true)
			return p.url(folder, port, database)
		}
		select {
		case <-ended:
			tb.Fatalf("PgBouncer did not start: %s", lastOf(said))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			tb.Fatalf("PgBouncer is not ready after a minute: %s", lastOf(said))
		}
	}
}

func (p *Postgres) url(folder, port, database string) string {
	return fmt.Sprintf("postgres://postgres@/%s?host=%s&port=%s", url.PathEscape(database), url.QueryEscape(folder), port)
}

func (p *Postgres) data() string { return filepath.Join(p.folder, "data") }

func (p *Postgres) log() string { return filepath.Join(p.folder, "log") }

func (p *Postgres) lastLog() string { return lastOf(p.log()) }

// lastOf returns the end of a log.
func lastOf(log string) string {
	content, _ := os.ReadFile(log)
	return strings.TrimSpace(string(content[max(0, len(content)-2000):]))
}

// command prepares a program to run as the owner, without the environment that
// would tell it of another server, and apart from signals to the test.
func (p *Postgres) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	detach(cmd, p.owner)
	return cmd
}

func (p *Postgres) run(tb testing.TB, program string, args ...string) {
	tb.Helper()
	if output, err := p.command(program, args...).CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v: %s", filepath.Base(program), err, output)
	}
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
