package dir_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
)

// The test binary is started again to be one of several processes: role says
// what it does, with the store in the directory folder.
const (
	role   = "KEYSTORE_TEST_ROLE"
	folder = "KEYSTORE_TEST_FOLDER"
	user   = "KEYSTORE_TEST_USER" // UID GID, if the process is to be of another user
)

func TestMain(m *testing.M) {
	roles := map[string]func(ctx context.Context, store keystore.KeyStore) error{
		"write until killed":  writeUntilKilled,
		"rotate until killed": rotateUntilKilled,
		"compete":             compete,
		"operate":             operate,
		"follow":              follow,
	}
	act, ok := roles[os.Getenv(role)]
	if !ok {
		os.Exit(m.Run())
	}
	err := become(os.Getenv(user))
	var store keystore.KeyStore
	if err == nil {
		store, err = dir.Open(os.Getenv(folder))
	}
	if err == nil {
		err = act(context.Background(), store)
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

// process prepares another process.
func process(t *testing.T, does, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), role+"="+does, folder+"="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

// operate does to records what the arguments say: "create DATA", "update DATA", "delete".
// It does all to the same record.
func operate(ctx context.Context, store keystore.KeyStore) error {
	const scope, name = "default", "key-1"
	for _, arg := range os.Args[1:] {
		verb, data, _ := strings.Cut(arg, " ")
		r := keystore.Record{Scope: scope, Name: name, Data: []byte(data)}
		var err error
		switch verb {
		case "create":
			_, err = store.Create(ctx, r)
		case "update":
			if r, err = store.Get(ctx, scope, name); err == nil {
				r.Data = []byte(data)
				_, err = store.Update(ctx, r)
			}
		case "delete":
			err = store.Delete(ctx, scope, name)
		default:
			err = fmt.Errorf("unknown operation %q", arg)
		}
		if err != nil {
			return fmt.Errorf("%s: read-only %t: %w", arg, errors.Is(err, keystore.ErrReadOnly), err)
		}
	}
	return nil
}

// follow prints all records, after each change.
func follow(ctx context.Context, store keystore.KeyStore) error {
	for {
		err := store.(keystore.Watcher).Watch(ctx, func(keystore.Scope) {
			records, err := store.List(ctx, keystore.AllScopes, "")
			for _, r := range records {
				fmt.Printf("%s/%s=%s ", r.Scope, r.Name, r.Data)
			}
			fmt.Println(err)
		})
		if err != nil {
			return err
		}
	}
}

// The writer works on these records, in turn.
const written = 6

func writtenID(i int) (keystore.Scope, string) {
	return [...]keystore.Scope{keystore.Global, "default", "Default"}[i%3], fmt.Sprint("record-", i%written)
}

// describing returns data that says how it must look: a number, and from there
// on a pattern of a length and with a checksum.
func describing(number int) []byte {
	length := rand.IntN(64 << 10)
	body := bytes.Repeat(fmt.Appendf(nil, "<%d>", number), length/8+1)
	return append(fmt.Appendf(nil, "%d %d %d\n", number, len(body), crc32.ChecksumIEEE(body)), body...)
}

// described returns the number in such data, or an error if it is not whole.
func described(data []byte) (number int, err error) {
	head, body, ok := bytes.Cut(data, []byte("\n"))
	if !ok {
		return 0, fmt.Errorf("%d bytes without a first line", len(data))
	}
	var length int
	var sum uint32
	if _, err := fmt.Sscan(string(head), &number, &length, &sum); err != nil {
		return 0, err
	}
	if len(body) != length || crc32.ChecksumIEEE(body) != sum {
		return 0, fmt.Errorf("the body has %d bytes and sum %d, the first line says %q", len(body), crc32.ChecksumIEEE(body), head)
	}
	return number, nil
}

// writeUntilKilled creates, updates and deletes records. It prints what it is
// about to do, "put 17" or "delete 18", and "done" when it has. The number says
// which record.
func writeUntilKilled(ctx context.Context, store keystore.KeyStore) error {
	number, err := strconv.Atoi(os.Getenv("KEYSTORE_TEST_FIRST"))
	if err != nil {
		return err
	}
	for ; ; number++ {
		scope, name := writtenID(number)
		current, err := store.Get(ctx, scope, name)
		switch {
		case errors.Is(err, keystore.ErrNotFound):
			fmt.Println("put", number)
			_, err = store.Create(ctx, keystore.Record{Scope: scope, Name: name, Data: describing(number)})
		case err == nil && rand.IntN(4) == 0:
			fmt.Println("delete", number)
			err = store.Delete(ctx, scope, name)
		case err == nil:
			fmt.Println("put", number)
			current.Data = describing(number)
			_, err = store.Update(ctx, current)
		}
		if err != nil {
			return err
		}
		fmt.Println("done", number)
	}
}

// killAfter runs a process and kills it at some time within the 1.5 ms after it
// has printed so many lines. It hands on each line, which is a word and a
// number.
func killAfter(t *testing.T, cmd *exec.Cmd, lines int, said func(word string, number int)) {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
		word, arg, _ := strings.Cut(scanner.Text(), " ")
		number, err := strconv.Atoi(arg)
		require.NoError(t, err, "the process says %q", scanner.Text())
		said(word, number)
		if lines--; lines == 0 {
			delay := time.Duration(rand.IntN(1500)) * time.Microsecond
			time.AfterFunc(delay, func() { cmd.Process.Kill() })
		}
	}
	cmd.Wait()
	require.Equal(t, -1, cmd.ProcessState.ExitCode(), "the process was to end by a signal")
}

func TestDirSurvivesAWriterBeingKilledAtAnyPoint(t *testing.T) {
	kills := storetest.Repeat(30, 200)
	path := t.TempDir()
	holds := make([]int, written) // the number in each record as far as acknowledged, 0 if there is none
	number := 1
	midway, took, leftovers := 0, 0, 0 // kills in the midst of a write, those of them that took effect, files left over
	for range kills {
		cmd := process(t, "write until killed", path)
		cmd.Env = append(cmd.Env, fmt.Sprint("KEYSTORE_TEST_FIRST=", number))
		// Half of the kills come within a write or two after a number of writes, the
		// others at any time.
		begun, verb := 0, "" // of a write that is not done
		killAfter(t, cmd, 1+rand.IntN(40), func(word string, n int) {
			switch word {
			case "done":
				require.Equal(t, begun, n)
				if holds[n%written] = n; verb == "delete" {
					holds[n%written] = 0
				}
				begun, number = 0, n+1
			default:
				begun, verb, number = n, word, n+1
			}
		})

		if begun != 0 {
			midway++
		}
		leftovers += len(tempFiles(t, path))
		store := openDir(t, path)
		require.Empty(t, tempFiles(t, path))
		records, err := store.List(t.Context(), keystore.AllScopes, "")
		require.NoError(t, err)
		found := make([]int, written)
		for _, r := range records {
			n, err := described(r.Data)
			require.NoError(t, err, "%v", r)
			scope, name := writtenID(n)
			require.Equal(t, scope, r.Scope)
			require.Equal(t, name, r.Name)
			found[n%written] = n
		}
		for i, n := range found {
			if begun != 0 && begun%written == i {
				unfinished := begun
				if verb == "delete" {
					unfinished = 0
				}
				require.Contains(t, []int{holds[i], unfinished}, n)
				if n != holds[i] {
					took++
				}
				holds[i] = n
			}
			require.Equal(t, holds[i], n, "what was acknowledged is there")
		}
	}
	t.Logf("%d kills, %d during a write; %d of these writes took effect; %d files were left over", kills, midway, took, leftovers)
	assert.Positive(t, midway, "no kill came in the midst of a write")
}

// rotateUntilKilled always creates the next key, the first one if there is none,
// and deletes those before it. It prints what it is about to do, "create 2" or
// "delete 1", and "created 2" or "deleted 1" when it has.
func rotateUntilKilled(ctx context.Context, store keystore.KeyStore) error {
	for {
		keys, err := store.List(ctx, "default", "key-")
		if err != nil {
			return err
		}
		next := 1
		for _, key := range keys {
			number, err := described(key.Data)
			if err != nil {
				return err
			}
			next = max(next, number+1)
		}
		fmt.Println("create", next)
		if _, err := store.Create(ctx, rotated(next)); err != nil {
			return err
		}
		fmt.Println("created", next)
		for _, key := range keys {
			number, _ := described(key.Data)
			fmt.Println("delete", number)
			if err := store.Delete(ctx, key.Scope, key.Name); err != nil {
				return err
			}
			fmt.Println("deleted", number)
		}
	}
}

func rotated(number int) keystore.Record {
	return keystore.Record{Scope: "default", Name: fmt.Sprintf("key-%06d", number), Data: describing(number)}
}

func TestDirSurvivesTheFirstCreateAndARotationBeingKilledAtAnyPoint(t *testing.T) {
	kills := storetest.Repeat(36, 240)
	midway := map[string]int{} // kills in the midst of each kind of write
	took, leftovers := 0, 0    // those of them that took effect, files left over
	var path string
	var created, deleted int // the last ones that are done
	for i := range kills {
		lines := 1 + rand.IntN(20)
		if i%3 != 2 { // every third goes on with what the one before has left
			path = filepath.Join(t.TempDir(), "keys")
			created, deleted = 0, 0
			if i%3 == 0 {
				lines = 1 // in the first Create, or soon after
			}
		}
		creating, deleting := 0, 0 // what is not done
		killAfter(t, process(t, "rotate until killed", path), lines, func(word string, number int) {
			switch word {
			case "create":
				creating = number
			case "created":
				creating, created = 0, number
			case "delete":
				deleting = number
			case "deleted":
				deleting, deleted = 0, number
			}
		})

		leftovers += len(tempFiles(t, path))
		store := openDir(t, path)
		require.Empty(t, tempFiles(t, path))
		records, err := store.List(t.Context(), keystore.AllScopes, "")
		require.NoError(t, err)
		found := map[int]bool{}
		for _, r := range records {
			n, err := described(r.Data)
			require.NoError(t, err, "%v", r)
			require.Equal(t, rotated(n).Name, r.Name)
			got, err := store.Get(t.Context(), r.Scope, r.Name)
			require.NoError(t, err)
			require.Equal(t, r, got)
			found[n] = true
		}
		switch {
		case creating == 1:
			midway["the first Create"]++
		case creating != 0:
			midway["a later Create"]++
		case deleting != 0:
			midway["a Delete"]++
		}
		if creating != 0 && found[creating] {
			created = creating
			took++
		}
		if deleting != 0 && !found[deleting] {
			deleted = deleting
			took++
		}
		want := map[int]bool{}
		for n := deleted + 1; n <= created; n++ {
			want[n] = true
		}
		require.Equal(t, want, found, "what was acknowledged is there, and nothing else")
	}
	t.Logf("%d kills, during %v; %d of these writes took effect; %d files were left over", kills, midway, took, leftovers)
	assert.Positive(t, midway["the first Create"], "no kill came in the midst of the first Create")
	assert.Positive(t, midway["a later Create"]+midway["a Delete"], "no kill came in the midst of a rotation")
}

func tempFiles(t *testing.T, path string) (found []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(entry.Name(), ".tmp-") {
			found = append(found, file)
		}
		return err
	}))
	return found
}

// increments is how often each competitor increments the number.
var increments = storetest.Repeat(5, 10)

// compete waits until its input ends, creates a record that all create, and
// increments a number in another.
func compete(ctx context.Context, store keystore.KeyStore) error {
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	created, err := store.Create(ctx, keystore.Record{Scope: "default", Name: "key-1", Data: fmt.Append(nil, os.Getpid())})
	switch {
	case err == nil:
		fmt.Println("created", string(created.Data))
	case errors.Is(err, keystore.ErrExists):
		fmt.Println("exists")
	default:
		return err
	}
	for done := 0; done < increments; {
		r, err := store.Get(ctx, "default", "counter")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(r.Data))
		if err != nil {
			return err
		}
		r.Data = []byte(strconv.Itoa(n + 1))
		_, err = store.Update(ctx, r)
		if err == nil {
			done++
		} else if !errors.Is(err, keystore.ErrConflict) {
			return err
		}
	}
	return nil
}

func TestDirIsOneStoreForManyProcesses(t *testing.T) {
	competitors := storetest.Repeat(8, 64)
	path := t.TempDir()
	store := openDir(t, path)
	create(t, store, "default", "counter", "0")

	starter, start, err := os.Pipe()
	require.NoError(t, err)
	defer start.Close()
	type competitor struct {
		*exec.Cmd
		lines *bufio.Scanner
	}
	all := make([]competitor, competitors)
	for i := range all {
		cmd := process(t, "compete", path)
		cmd.Stdin = starter
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		all[i] = competitor{cmd, bufio.NewScanner(stdout)}
	}
	require.NoError(t, starter.Close())
	for _, c := range all {
		require.True(t, c.lines.Scan())
		require.Equal(t, "ready", c.lines.Text())
	}
	require.NoError(t, start.Close()) // their input ends: go

	var winners []string
	for _, c := range all {
		for c.lines.Scan() {
			if data, ok := strings.CutPrefix(c.lines.Text(), "created "); ok {
				winners = append(winners, data)
			} else {
				assert.Equal(t, "exists", c.lines.Text())
			}
		}
		assert.NoError(t, c.Wait())
	}
	require.Len(t, winners, 1)
	r, err := store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	assert.Equal(t, winners[0], string(r.Data))
	r, err = store.Get(t.Context(), "default", "counter")
	require.NoError(t, err)
	assert.Equal(t, strconv.Itoa(competitors*increments), string(r.Data))
}
