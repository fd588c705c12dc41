package dir_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
)

func backup(t *testing.T, store *dir.Store) []byte {
	t.Helper()
	var archive bytes.Buffer
	_, err := store.Backup(t.Context(), &archive)
	require.NoError(t, err)
	return archive.Bytes()
}

func restore(t *testing.T, store *dir.Store, archive []byte) error {
	t.Helper()
	return store.Restore(t.Context(), bytes.NewReader(archive), nil)
}

func listAll(t *testing.T, store keystore.KeyStore) []keystore.Record {
	t.Helper()
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	return records
}

func TestDirRestoreBringsBackTheRecordsOfABackupAndNoOthers(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	changed := create(t, store, "default", "changed", "before")
	create(t, store, keystore.Global, "Deleted.", "content")
	create(t, store, "Gone", strings.Repeat("n", 253), "content")
	create(t, store, keystore.Scope(strings.Repeat("M", 128)), "con", "")
	before := listAll(t, store)
	archive := backup(t, store)

	changed.Data = []byte("after")
	_, err := store.Update(t.Context(), changed)
	require.NoError(t, err)
	require.NoError(t, store.Delete(t.Context(), keystore.Global, "Deleted."))
	require.NoError(t, store.Delete(t.Context(), "Gone", strings.Repeat("n", 253)))
	create(t, store, "new", "key-1", "content")

	calls := watchDir(t, store)
	require.NoError(t, restore(t, store, archive))
	assert.Equal(t, keystore.AllScopes, receive(t, calls))
	assert.Equal(t, before, listAll(t, store), "with their times of creation")
	assert.NoDirExists(t, filepath.Join(path, "meshes", "new"))
	require.Empty(t, tempFiles(t, path))

	elsewhere := openDir(t, filepath.Join(t.TempDir(), "new"))
	require.NoError(t, restore(t, elsewhere, archive))
	assert.Equal(t, before, listAll(t, elsewhere))
}

// contentsOf returns the contents of the files in a backup, without the last entry.
func contentsOf(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	reader := tar.NewReader(bytes.NewReader(archive))
	found := map[string]string{}
	for {
		entry, err := reader.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.EqualValues(t, 0o600, entry.Mode)
		content, err := io.ReadAll(reader)
		require.NoError(t, err)
		found[entry.Name] = string(content)
	}
	require.Contains(t, found, ".meshpass-backup")
	delete(found, ".meshpass-backup")
	return found
}

func TestDirBackupIsAnArchiveWithTheNamesOfTheFiles(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	create(t, store, "Default", "key-1", "content")
	create(t, store, keystore.Global, "key-2", "global")
	found := contentsOf(t, backup(t, store))
	assert.Equal(t, map[string]string{"meshes/%44efault/key-1": "content", "global/key-2": "global"}, found)
}

// A writer counts up in a record that is listed early, and then in one that is listed late.
func TestDirBackupIsOneMomentWhileOthersWrite(t *testing.T) {
	path := t.TempDir()
	store, other := openDir(t, path), openDir(t, path)
	early, late := create(t, store, "a", "count", "0"), create(t, store, "z", "count", "0")
	folder := filepath.Join(path, "meshes", "m")
	require.NoError(t, os.Mkdir(folder, 0o700))
	for i := range 200 {
		require.NoError(t, os.WriteFile(filepath.Join(folder, "key-"+strconv.Itoa(i)), []byte("content"), 0o600))
	}
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 1; ctx.Err() == nil; i++ {
			for _, r := range []*keystore.Record{&early, &late} {
				r.Data = []byte(strconv.Itoa(i))
				next, err := other.Update(t.Context(), *r)
				assert.NoError(t, err)
				*r = next
			}
		}
	})
	defer writing.Wait()
	defer stop()
	counts := map[int]bool{}
	for range 100 {
		found := contentsOf(t, backup(t, store))
		require.Len(t, found, 202)
		ofEarly, err := strconv.Atoi(found["meshes/a/count"])
		require.NoError(t, err)
		ofLate, err := strconv.Atoi(found["meshes/z/count"])
		require.NoError(t, err)
		require.Contains(t, []int{0, 1}, ofEarly-ofLate)
		counts[ofEarly] = true
	}
	assert.Greater(t, len(counts), 1, "the writer wrote meanwhile")
}

func TestDirRestoreChangesNothingIfTheBackupIsDamaged(t *testing.T) {
	store := openDir(t, t.TempDir())
	create(t, store, "default", "key-1", "content")
	create(t, store, "default", "list", strings.Repeat("id,", 1000))
	archive := backup(t, store)
	create(t, store, "default", "key-2", "content")
	before := listAll(t, store)
	for cut := 0; cut < len(archive)-1536; cut += 256 { // in the last 1536 bytes are only the end of the hash and padding
		require.Error(t, restore(t, store, archive[:cut]), cut)
	}
	for at := 0; at < len(archive); at += 61 {
		damaged := bytes.Clone(archive)
		damaged[at] ^= 1
		if err := restore(t, store, damaged); err == nil {
			require.NotEqual(t, before, listAll(t, store))
			require.Len(t, listAll(t, store), 2, "only padding was damaged")
			create(t, store, "default", "key-2", "content")
			before = listAll(t, store)
		}
	}
	assert.Equal(t, before, listAll(t, store))
	assert.ErrorContains(t, restore(t, store, nil), "ends too early")
	escape := new(bytes.Buffer)
	writer := tar.NewWriter(escape)
	require.NoError(t, writer.WriteHeader(&tar.Header{Name: "meshes/default/../../../escape", Typeflag: tar.TypeReg}))
	require.NoError(t, writer.Close())
	assert.ErrorContains(t, restore(t, store, escape.Bytes()), "is not the file of a record")
}

func TestDirRestoreTakesWhatTheCallerMakesOfThePresentAndTheOlderRecords(t *testing.T) {
	store := openDir(t, t.TempDir())
	r := create(t, store, "default", "list", "a")
	archive := backup(t, store)
	r.Data = []byte("a,b")
	_, err := store.Update(t.Context(), r)
	require.NoError(t, err)

	stop := errors.New("not so")
	err = store.Restore(t.Context(), bytes.NewReader(archive), func(context.Context, keystore.KeyStore, keystore.KeyStore) error { return stop })
	require.ErrorIs(t, err, stop)
	require.NoError(t, store.Restore(t.Context(), bytes.NewReader(archive), func(ctx context.Context, present, older keystore.KeyStore) error {
		now, err := present.Get(ctx, "default", "list")
		require.NoError(t, err)
		then, err := older.Get(ctx, "default", "list")
		require.NoError(t, err)
		then.Data = append(append(then.Data, '+'), now.Data...)
		_, err = older.Update(ctx, then)
		return err
	}))
	got, err := store.Get(t.Context(), "default", "list")
	require.NoError(t, err)
	assert.Equal(t, "a+a,b", string(got.Data))
	assert.Equal(t, r.Created, got.Created)
}

func TestDirBelievesNothingAfterARestoreThatWasInterruptedUntilItIsDoneAgain(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	r := create(t, store, "default", "key-1", "content")
	archive := backup(t, store)
	f, err := os.OpenFile(filepath.Join(path, ".changes"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("3 0 restore   \n") // as a Restore leaves it that is killed
	require.NoError(t, err)
	require.NoError(t, f.Close())

	time.Sleep(1100 * time.Millisecond) // so that no file has just been changed
	for _, store := range []*dir.Store{store, openDir(t, path)} {
		_, err = store.List(t.Context(), keystore.AllScopes, "")
		assert.ErrorContains(t, err, "was interrupted")
		_, err = store.Get(t.Context(), "default", "key-1")
		assert.ErrorContains(t, err, "was interrupted")
		_, err = store.Create(t.Context(), keystore.Record{Scope: "other", Name: "key-1"})
		assert.ErrorContains(t, err, "was interrupted")
	}
	assert.Error(t, restore(t, store, archive[:100]))
	_, err = store.List(t.Context(), "default", "")
	assert.ErrorContains(t, err, "was interrupted")

	require.NoError(t, restore(t, store, archive))
	assert.Equal(t, []keystore.Record{r}, listAll(t, store))
	create(t, store, "other", "key-1", "content")
}

func TestDirRestoreIsOneMomentForEveryList(t *testing.T) {
	path := t.TempDir()
	store, other := openDir(t, path), openDir(t, path)
	const records = 50
	for i := range records {
		create(t, store, keystore.Scope("mesh-"+string(rune('a'+i%10))), "old-"+strings.Repeat("n", i), "content")
	}
	older := backup(t, store)
	for _, r := range listAll(t, store) {
		require.NoError(t, store.Delete(t.Context(), r.Scope, r.Name))
	}
	for i := range records {
		create(t, store, keystore.Scope("mesh-"+string(rune('a'+i%10))), "new-"+strings.Repeat("n", i), "content")
	}
	newer := backup(t, store)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 5 {
			assert.NoError(t, restore(t, store, older))
			assert.NoError(t, restore(t, store, newer))
		}
	}()
	lists := 0
	for {
		all, err := other.List(t.Context(), keystore.AllScopes, "")
		require.NoError(t, err, "a restore by a Store is no reason for doubt")
		require.Len(t, all, records)
		for _, r := range all {
			require.Equal(t, all[0].Name[:3], r.Name[:3])
		}
		lists++
		select {
		case <-done:
			t.Logf("%d lists", lists)
			return
		default:
		}
	}
}

// program is another program that works on the files of a store. What it has left alone for
// a second is taken for its last word, so a test that expects it to go on begins anew if the
// machine held it up for so long.
type program struct {
	done   chan struct{}
	acted  atomic.Int64 // when it did so the last time
	rested atomic.Bool
}

// runs lets a program do something, in which it calls act before each change.
func runs(do func(act func())) *program {
	p := &program{done: make(chan struct{})}
	p.acted.Store(time.Now().UnixNano())
	go func() {
		defer close(p.done)
		do(p.act)
		p.act()
	}()
	return p
}

func (p *program) act() {
	p.rested.CompareAndSwap(false, p.rests())
	p.acted.Store(time.Now().UnixNano())
}

func (p *program) rests() bool {
	select {
	case <-p.done:
		return false
	default:
		return time.Since(time.Unix(0, p.acted.Load())) > 900*time.Millisecond
	}
}

// heldUp reports whether the program did nothing for about a second.
func (p *program) heldUp() bool { return p.rests() || p.rested.Load() }

// unlessHeldUp runs a test of a program again if that was held up.
func unlessHeldUp(t *testing.T, test func(t *testing.T) *program) {
	t.Helper()
	for test(t).heldUp() {
		t.Log("the machine held the other program up")
	}
}

// slowly writes to a file in place, as a copy of a large file does.
func slowly(t *testing.T, file, content string, act func()) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	assert.NoError(t, err)
	for part := range strings.SplitAfterSeq(content, ",") {
		time.Sleep(20 * time.Millisecond)
		act()
		_, err := f.WriteString(part)
		assert.NoError(t, err)
	}
	assert.NoError(t, f.Close())
}

func TestDirReadsWhatAnotherProgramIsWritingOnlyWhenItHasDoneSo(t *testing.T) {
	unlessHeldUp(t, func(t *testing.T) *program {
		path := t.TempDir()
		store := openDir(t, path)
		create(t, store, "default", "list", "a,b,c,d")
		file := filepath.Join(path, "meshes", "default", "list")
		older := strings.Repeat("a,", 30) + "end"
		copying := runs(func(act func()) { slowly(t, file, older, act) })
		defer func() { <-copying.done }()
		for {
			r, err := store.Get(t.Context(), "default", "list")
			if err != nil {
				require.ErrorContains(t, err, "another program has just changed")
				continue
			}
			if copying.heldUp() {
				return copying
			}
			require.Contains(t, []string{"a,b,c,d", older}, string(r.Data))
			if string(r.Data) == older {
				break
			}
		}
		records := listAll(t, store)
		require.Len(t, records, 1)
		assert.Equal(t, older, string(records[0].Data))
		return copying
	})
}

func TestDirDoesNotTakeAListForDeletedWhileAnotherProgramReplacesIt(t *testing.T) {
	unlessHeldUp(t, func(t *testing.T) *program {
		path := t.TempDir()
		store := openDir(t, path)
		create(t, store, "default", "list", "a")
		create(t, store, "other", "list", "a")
		file := filepath.Join(path, "meshes", "default", "list")
		replacing := runs(func(act func()) { // as tar does, but slowly
			act()
			assert.NoError(t, os.Remove(file))
			time.Sleep(200 * time.Millisecond)
			act()
			writeFile(t, file, "b")
		})
		defer func() { <-replacing.done }()
		for {
			r, getErr := store.Get(t.Context(), "default", "list")
			records, err := store.List(t.Context(), keystore.AllScopes, "")
			if replacing.heldUp() {
				return replacing
			}
			require.NotErrorIs(t, getErr, keystore.ErrNotFound)
			if err == nil {
				require.Len(t, records, 2)
			}
			if getErr == nil && string(r.Data) == "b" {
				return replacing
			}
		}
	})
}

func TestDirDoubtsAFolderThatWasReplacedByAnOlderOneUntilItIsQuiet(t *testing.T) {
	for how, replace := range map[string]func(t *testing.T, path, older string){
		"with its list of changes": func(t *testing.T, path, older string) {
			require.NoError(t, os.Rename(path, path+"-newer"))
			require.NoError(t, os.Rename(older, path))
		},
		"without one": func(t *testing.T, path, older string) {
			require.NoError(t, os.Remove(filepath.Join(path, ".changes")))
		},
	} {
		t.Run(how, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keys")
			store := openDir(t, path)
			create(t, store, "default", "list", "a")
			older := path + "-older"
			listAll(t, store)
			require.NoError(t, os.CopyFS(older, os.DirFS(path)))
			create(t, store, "default", "list-2", "b") // only the watch knows of it
			calls := watchDir(t, store)
			began := time.Now()
			replace(t, path, older)
			assert.Equal(t, keystore.AllScopes, receive(t, calls))
			for {
				_, err := store.List(t.Context(), keystore.AllScopes, "")
				if err == nil {
					break
				}
				require.ErrorContains(t, err, "a restore seems to be going on in "+path)
				_, err = store.Get(t.Context(), "default", "list")
				if err != nil {
					assert.ErrorContains(t, err, "a restore seems to be going on in "+path)
				}
				time.Sleep(50 * time.Millisecond)
			}
			assert.Greater(t, time.Since(began), 2*time.Second)
			create(t, store, "other", "key-1", "content")
		})
	}
}
