package histories

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/histories/check"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/keystore/kubernetes"
	"github.com/meshpass/meshpass/revocation"
)

var (
	long = flag.Duration("for", 0, "how long each history is: by default a minute under CI=true, and otherwise 20 s")
	seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "what the order of faults and operations is drawn with")
	keep = flag.String("keep", "", "the folder for the histories: by default one that is removed if there is no violation")
)

// childVariable is set in the processes of workers.
const childVariable = "MESHPASS_HISTORIES_WORKER"

// child is what a worker's process is to be.
type child struct {
	Setup   setup
	Storage storage
}

// storage is how a process opens its store.
type storage struct {
	Dir string
	UID int // the user, if it is not the same

	Postgres   string   // a connection string
	Etcd       []string // endpoints
	Kubernetes *access
}

func (s storage) open() (keystore.KeyStore, error) {
	if s.UID != 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(s.UID), syscall.Setuid(s.UID)); err != nil {
			return nil, err
		}
	}
	switch {
	case s.Dir != "":
		return dir.Open(s.Dir)
	case s.Postgres != "":
		return openPostgres(s.Postgres)
	case s.Etcd != nil:
		return openEtcd(s.Etcd)
	case s.Kubernetes != nil:
		return kubernetes.Open(s.Kubernetes.config(), namespace)
	}
	return nil, errors.New("no storage is named")
}

// TestMain is also what the processes of workers do. All histories are made at the same
// time, since they mostly wait.
func TestMain(m *testing.M) {
	if encoded := os.Getenv(childVariable); encoded != "" {
		var c child
		err := json.Unmarshal([]byte(encoded), &c)
		var store keystore.KeyStore
		if err == nil {
			store, err = c.Storage.open()
		}
		if err == nil {
			err = work(c.Setup, store, os.Stdin, os.Stdout)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", c.Setup.Process, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "16")
	os.Exit(m.Run())
}

func prepare(ctx context.Context, store keystore.KeyStore) error {
	for _, mesh := range meshes {
		if _, err := dataplane.EnsureKey(ctx, store, mesh); err != nil {
			return err
		}
	}
	return revocation.MakeDataplaneGlobal(ctx, store, meshes[0])
}

// history makes a history, checks it and prints its figures.
func history(t *testing.T, d *deployment) {
	t.Parallel()
	duration := *long
	if duration == 0 {
		duration = 20 * time.Second
		if os.Getenv("CI") == "true" {
			duration = time.Minute
		}
	}
	folder := *keep
	if folder == "" {
		var err error
		folder, err = os.MkdirTemp("", "meshpass-histories-")
		require.NoError(t, err)
		defer func() {
			if !t.Failed() {
				os.RemoveAll(folder)
			}
		}()
	}
	path := filepath.Join(folder, filepath.Base(t.Name())+".jsonl")
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()

	r := play(t, d, duration, *seed, file)
	violations := check.Check(r.events, d.bounds)
	t.Log("\n" + check.Summarize(r.events, d.bounds).Table(filepath.Base(t.Name()), len(violations)))
	if err := check.Enough(r.events, d.bounds, duration); err != nil {
		t.Errorf("the history shows little: %v", err)
	}
	const most = 10
	for i, v := range violations {
		if i == most {
			t.Errorf("and %d more", len(violations)-most)
			break
		}
		drawing := filepath.Join(folder, fmt.Sprintf("%s-%d.html", filepath.Base(t.Name()), i+1))
		page, err := os.Create(drawing)
		require.NoError(t, err)
		require.NoError(t, check.Draw(page, v, r.events))
		require.NoError(t, page.Close())
		t.Errorf("%v\n\tdrawn in %s", v, drawing)
	}
	if len(violations) > 0 {
		t.Logf("%d violations; -seed %d; the history is in %s", len(violations), *seed, path)
	}
}

const grace = 2 * time.Second

func TestHistoryOfMemory(t *testing.T) {
	store := keystore.NewMemory()
	gates := map[string]*gate{}
	history(t, &deployment{
		bounds: check.Bounds{Grace: grace},
		direct: store,
		dial: func(_ testing.TB, replica string) (path, storage) {
			gates[replica] = newGate(store)
			return gates[replica], storage{}
		},
		open: func(replica string) keystore.KeyStore { return gates[replica] },
	})
}

func TestHistoryOfDirectory(t *testing.T) {
	const filler, nobody = "filler", 65534
	volume, err := os.MkdirTemp("/tmp", "meshpass-histories-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(volume) })
	require.NoError(t, os.Chmod(volume, 0o755))
	s := storage{Dir: filepath.Join(volume, "keys")}
	var faults []fault
	if err := syscall.Mount("tmpfs", volume, "tmpfs", 0, "size=4m,mode=755"); err != nil {
		t.Logf("without a full disk, since none can be mounted: %v", err)
	} else {
		t.Cleanup(func() { _ = syscall.Unmount(volume, syscall.MNT_DETACH) })
		faults = append(faults, fault{what: "the disk is full", of: "*", lasts: 2 * time.Second, recovery: back,
			breaks: func(tb testing.TB) {
				err := os.WriteFile(filepath.Join(volume, filler), make([]byte, 8<<20), 0o600)
				require.ErrorIs(tb, err, syscall.ENOSPC)
			},
			mends: func(tb testing.TB) { require.NoError(tb, os.Remove(filepath.Join(volume, filler))) },
		})
	}
	require.NoError(t, os.Mkdir(s.Dir, 0o700))
	if os.Getuid() == 0 { // root reads everything
		s.UID = nobody
		require.NoError(t, os.Chown(s.Dir, nobody, nobody))
	}
	faults = append(faults, fault{what: "the directory cannot be read", of: "*", lasts: 3 * time.Second, recovery: back,
		breaks: func(tb testing.TB) { require.NoError(tb, os.Chmod(s.Dir, 0)) },
		mends:  func(tb testing.TB) { require.NoError(tb, os.Chmod(s.Dir, 0o700)) },
	})
	direct, err := dir.Open(s.Dir)
	require.NoError(t, err)
	history(t, &deployment{
		bounds: check.Bounds{InForce: 250 * time.Millisecond, Grace: grace},
		direct: direct,
		dial:   func(testing.TB, string) (path, storage) { return nil, s },
		faults: faults,
	})
}
