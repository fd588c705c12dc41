//go:build unix

package dir_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// volume writes a folder as the kubelet writes one that a container mounts: the
// files are in a folder of their own for each state, to which ..data links, and
// for the first element of each path there is a link to the same below ..data.
type volume struct {
	path       string
	states     int
	linksFirst bool // as old kubelets do it: the links before ..data is switched
}

func (v *volume) put(files map[string]string) error {
	v.states++
	state := fmt.Sprintf("..2026_11_24_12_00_00.%d", v.states)
	folder := filepath.Join(v.path, state)
	if err := mkdir(folder); err != nil {
		return err
	}
	for file, content := range files {
		file = filepath.Join(folder, filepath.FromSlash(file))
		if err := mkdir(filepath.Dir(file)); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return err
		}
		if err := os.Chmod(file, 0o644); err != nil { // whatever the umask
			return err
		}
	}
	data := filepath.Join(v.path, "..data")
	switchOver := func() error {
		if err := os.Symlink(state, data+"_tmp"); err != nil {
			return err
		}
		return os.Rename(data+"_tmp", data)
	}
	before, err := os.Readlink(data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	steps := []func() error{switchOver, func() error { return v.makeLinks(files) }}
	if v.linksFirst {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if before == "" {
		return nil
	}
	return errors.Join(v.removeLinks(files), os.RemoveAll(filepath.Join(v.path, before)))
}

func (v *volume) makeLinks(files map[string]string) error {
	for file := range files {
		first, _, _ := strings.Cut(file, "/")
		if err := os.Symlink(filepath.Join("..data", first), filepath.Join(v.path, first)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func (v *volume) removeLinks(files map[string]string) error {
	entries, err := os.ReadDir(v.path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		used := slices.ContainsFunc(slices.Collect(maps.Keys(files)), func(file string) bool {
			first, _, _ := strings.Cut(file, "/")
			return first == entry.Name()
		})
		if !used && !strings.HasPrefix(entry.Name(), ".") {
			if err := os.Remove(filepath.Join(v.path, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// mkdir makes a folder that all may read, and those above it.
func mkdir(folder string) error {
	if _, err := os.Stat(folder); err == nil {
		return nil
	}
	if err := mkdir(filepath.Dir(folder)); err != nil {
		return err
	}
	return errors.Join(os.Mkdir(folder, 0o755), os.Chmod(folder, 0o755))
}

// filesOf returns the files of a state. Every file says which state it is of.
// Records and whole scopes, and the global one, come and go; one is always there.
func filesOf(state int) map[string]string {
	content := fmt.Sprint(state)
	files := map[string]string{"meshes/default/always": content}
	for i := range 20 {
		if (i+state)%3 != 0 {
			files[fmt.Sprint("meshes/default/key-", i)] = content
		}
		if (i+state)%5 == 0 {
			files[fmt.Sprintf("meshes/%%4Desh-%d/%%4Bey", i)] = content
		}
	}
	if state%2 == 0 {
		files["global/key-1"] = content
	}
	return files
}

// below returns the files under a folder, without it.
func below(files map[string]string, folder string) map[string]string {
	found := map[string]string{}
	for file, content := range files {
		if file, ok := strings.CutPrefix(file, folder); ok {
			found[file] = content
		}
	}
	return found
}

// switching puts state after state into the volumes until the function that it
// returns is called. Between two states it leaves as much time as a read takes.
func switching(t *testing.T, put func(state int) error) (stop func()) {
	t.Helper()
	require.NoError(t, put(1))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for state := 2; ctx.Err() == nil; state++ {
			if !assert.NoError(t, put(state)) {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// readWhileSwitched reads until it has seen many states, which are those of
// filesOf, each whole and nothing but it.
func readWhileSwitched(t *testing.T, path string) {
	store := openDir(t, path)
	watching, stopWatching := context.WithCancel(t.Context())
	announced := make(chan struct{}, 1)
	lost := make(chan error, 1)
	go func() {
		calls := 0
		lost <- store.Watch(watching, func(keystore.Scope) {
			if calls++; calls == 4 { // the first says that the watch has begun
				close(announced)
			}
		})
	}()
	var readers sync.WaitGroup
	for _, scope := range []keystore.Scope{keystore.AllScopes, "default", keystore.Global} {
		readers.Go(func() {
			seen := map[string]bool{}
			for len(seen) < 20 {
				records, err := store.List(t.Context(), scope, "")
				if !assert.NoError(t, err) {
					return
				}
				found, state := map[string]string{}, 0
				for _, r := range records {
					folder := "global/"
					if r.Scope != keystore.Global {
						folder = "meshes/" + strings.ReplaceAll(string(r.Scope), "M", "%4D") + "/"
					}
					found[folder+strings.ReplaceAll(r.Name, "K", "%4B")] = string(r.Data)
					_, err := fmt.Sscan(string(r.Data), &state)
					assert.NoError(t, err)
				}
				want := filesOf(state)
				switch scope {
				case keystore.Global:
					if want = below(want, "global/"); state == 0 { // of an odd state
						want = map[string]string{}
					}
					found = below(found, "global/")
				case "default":
					want, found = below(want, "meshes/default/"), below(found, "meshes/default/")
				}
				if !assert.Equal(t, want, found) {
					return
				}
				seen[fmt.Sprint(state)] = true
			}
		})
	}
	readers.Go(func() {
		for range 1000 {
			_, err := store.Get(t.Context(), "default", "always")
			if !assert.NoError(t, err) {
				return
			}
			_, err = store.Get(t.Context(), keystore.Global, "key-1")
			if err != nil && !assert.ErrorIs(t, err, keystore.ErrNotFound) {
				return
			}
		}
	})
	readers.Wait()
	select {
	case <-announced:
	case err := <-lost:
		require.NoError(t, err, "the watch is lost")
	}
	stopWatching()
	assert.ErrorIs(t, receive(t, lost), context.Canceled)
}

// takesNoWrites writes to a volume with records as filesOf has them.
func takesNoWrites(t *testing.T, path string) {
	store := openDir(t, path)
	for _, r := range []keystore.Record{
		{Scope: "default", Name: "new"}, {Scope: "new", Name: "new"}, {Scope: keystore.Global, Name: "new"}, {Scope: "default", Name: "always"},
	} {
		_, err := store.Create(t.Context(), r)
		assert.ErrorIs(t, err, keystore.ErrReadOnly)
	}
	r, err := store.Get(t.Context(), "default", "always")
	require.NoError(t, err)
	_, err = store.Update(t.Context(), r)
	assert.ErrorIs(t, err, keystore.ErrReadOnly)
	assert.ErrorIs(t, store.Delete(t.Context(), "default", "always"), keystore.ErrReadOnly)
}

func TestDirShowsOneStateAtATimeOfAVolumeThatKubernetesSwitches(t *testing.T) {
	for _, linksFirst := range []bool{false, true} {
		t.Run(fmt.Sprintf("linksFirst=%t", linksFirst), func(t *testing.T) {
			path := t.TempDir()
			v := &volume{path: path, linksFirst: linksFirst}
			switching(t, func(state int) error { return v.put(filesOf(state)) })
			readWhileSwitched(t, path)
		})
	}
}

// A volume can also be mounted for each scope.
func TestDirShowsOneStateAtATimeOfAVolumeInThePlaceOfAScope(t *testing.T) {
	path := t.TempDir()
	folder := filepath.Join(path, "meshes", "default")
	require.NoError(t, os.MkdirAll(folder, 0o755))
	v := &volume{path: folder}
	switching(t, func(state int) error { return v.put(below(filesOf(state), "meshes/default/")) })

	store := openDir(t, path)
	for seen := map[string]bool{}; len(seen) < 50; {
		for _, scope := range []keystore.Scope{"default", keystore.AllScopes} {
			records, err := store.List(t.Context(), scope, "")
			require.NoError(t, err)
			require.NotEmpty(t, records)
			found, state := map[string]string{}, 0
			for _, r := range records {
				found[r.Name] = string(r.Data)
			}
			_, err = fmt.Sscan(found["always"], &state)
			require.NoError(t, err)
			require.Equal(t, below(filesOf(state), "meshes/default/"), found)
			seen[found["always"]] = true
		}
		_, err := store.Get(t.Context(), "default", "always")
		require.NoError(t, err)
	}
	_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "new"})
	assert.ErrorIs(t, err, keystore.ErrReadOnly)
	create(t, store, "another", "new", "content")
}

func TestDirIsBrokenNotEmptyWhileTheStateOfAVolumeIsGone(t *testing.T) {
	path := t.TempDir()
	v := &volume{path: path}
	require.NoError(t, v.put(filesOf(1)))
	store := openDir(t, path)
	state, err := os.Readlink(filepath.Join(path, "..data"))
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(filepath.Join(path, state)))
	for _, scope := range []keystore.Scope{keystore.AllScopes, "default", "unknown", keystore.Global} {
		records, err := store.List(t.Context(), scope, "")
		assert.ErrorContains(t, err, "..data is a symbolic link to nothing")
		assert.Empty(t, records)
	}
	_, err = store.Get(t.Context(), "default", "always")
	assert.ErrorContains(t, err, "..data is a symbolic link to nothing")
	assert.NotErrorIs(t, err, keystore.ErrNotFound)
	assert.ErrorContains(t, store.Watch(t.Context(), func(keystore.Scope) {}), "..data is a symbolic link to nothing")

	require.NoError(t, v.put(filesOf(2)))
	_, err = store.Get(t.Context(), "default", "always")
	assert.NoError(t, err)
}

// What is written to a volume would be gone with its next state.
func TestDirTakesNoWritesOnAVolumeEvenIfTheSystemWouldAllowThem(t *testing.T) {
	path := t.TempDir()
	v := &volume{path: path}
	require.NoError(t, v.put(filesOf(1)))
	before := filesIn(t, path)
	takesNoWrites(t, path)
	assert.Equal(t, before, filesIn(t, path))
}

func TestDirShowsAValidatorTheRotationsAndRevocationsOfAVolume(t *testing.T) {
	admin := keystore.NewMemory() // from which the Secrets come
	v := &volume{path: t.TempDir()}
	publish := func() {
		t.Helper()
		records, err := admin.List(t.Context(), keystore.AllScopes, "")
		require.NoError(t, err)
		files := map[string]string{}
		for _, r := range records {
			files["meshes/"+string(r.Scope)+"/"+r.Name] = string(r.Data)
		}
		require.NoError(t, v.put(files))
	}
	issuer, err := dataplane.NewIssuer(admin)
	require.NoError(t, err)
	issue := func(name string) string {
		t.Helper()
		issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: name}, time.Hour)
		require.NoError(t, err)
		return issued.Token
	}
	_, err = dataplane.EnsureKey(t.Context(), admin, "default")
	require.NoError(t, err)
	publish()
	validator, err := dataplane.NewValidator(openDir(t, v.path))
	require.NoError(t, err)
	defer validator.Close()
	first, other := issue("dp-1"), issue("dp-2")
	bind := func(raw string) (context.Context, string) {
		t.Helper()
		verified, err := validator.Validate(t.Context(), "default", raw)
		require.NoError(t, err)
		session, stop := verified.Bind(t.Context())
		t.Cleanup(stop)
		return session, verified.Registered().ID
	}
	firstSession, id := bind(first)
	otherSession, _ := bind(other)

	key, err := signing.Generate(signing.DefaultBits)
	require.NoError(t, err)
	_, err = dataplane.AddKey(t.Context(), admin, "default", key)
	require.NoError(t, err)
	publish()
	second := issue("dp-3")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := validator.Validate(t.Context(), "default", second)
		assert.NoError(c, err)
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, firstSession.Err())

	require.NoError(t, dataplane.Revoke(t.Context(), admin, "default", id))
	publish()
	receive(t, firstSession.Done())
	assert.ErrorIs(t, context.Cause(firstSession), token.ErrRevoked)
	_, err = validator.Validate(t.Context(), "default", first)
	assert.ErrorIs(t, err, token.ErrRevoked)
	for _, raw := range []string{other, second} {
		_, err = validator.Validate(t.Context(), "default", raw)
		assert.NoError(t, err)
	}

	require.NoError(t, dataplane.RemoveKey(t.Context(), admin, "default", 1))
	publish()
	receive(t, otherSession.Done())
	_, err = validator.Validate(t.Context(), "default", other)
	assert.ErrorIs(t, err, token.ErrUnknownKey)
}

// The keys of a Secret cannot be encoded. One that was left out could be a list.
func TestDirDoesNotLeaveOutARecordOfAVolumeBecauseOfItsCapitals(t *testing.T) {
	path := t.TempDir()
	folder := filepath.Join(path, "meshes", "%50rod")
	require.NoError(t, mkdir(folder))
	v := &volume{path: folder}
	require.NoError(t, v.put(map[string]string{"dataplane-token-revocations-Prod": "id-1"}))
	store := openDir(t, path)
	for _, scope := range []keystore.Scope{keystore.AllScopes, "Prod"} {
		_, err := store.List(t.Context(), scope, "dataplane-token-")
		assert.ErrorContains(t, err, "mount the key with items at the path dataplane-token-revocations-%50rod")
	}
	require.NoError(t, v.put(map[string]string{"dataplane-token-revocations-%50rod": "id-1"}))
	records, err := store.List(t.Context(), keystore.AllScopes, "dataplane-token-")
	require.NoError(t, err)
	require.Len(t, records, 1)
	assert.Equal(t, "dataplane-token-revocations-Prod", records[0].Name)
}
