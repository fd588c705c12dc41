//go:build unix

package dir_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
)

// holdList keeps writes from taking effect, as a reader does that lists.
func holdList(t *testing.T, path string) (release func()) {
	t.Helper()
	f, err := os.Open(filepath.Join(path, ".list.lock"))
	require.NoError(t, err)
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_SH))
	return func() { require.NoError(t, f.Close()) }
}

// announced waits until the list of changes says so often that a record is to be changed.
func announced(t *testing.T, path, name string, times int) {
	t.Helper()
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(filepath.Join(path, ".changes"))
		return err == nil && bytes.Count(text, []byte(" begin default "+name+" ")) >= times
	}, time.Minute, time.Millisecond)
}

// A writer that gave up, or was killed, before its record was there leaves no doubt of the
// folder: nobody but the stores has written.
func TestAfterACreateThatFailedReadsBelieveTheLaterWritesOfStores(t *testing.T) {
	for _, test := range []struct {
		name string
		fail func(t *testing.T, path string, store keystore.KeyStore)
	}{
		{"gave up", func(t *testing.T, path string, store keystore.KeyStore) {
			for i := range 2 {
				ctx, giveUp := context.WithCancel(t.Context())
				failed := make(chan error)
				go func() {
					_, err := store.Create(ctx, keystore.Record{Scope: "default", Name: "key-1", Data: []byte{byte(i)}})
					failed <- err
				}()
				announced(t, path, "key-1", i+1)
				giveUp()
				require.ErrorIs(t, <-failed, context.Canceled)
			}
		}},
		{"was killed", func(t *testing.T, path string, _ keystore.KeyStore) {
			for i := range 2 {
				writer := process(t, "operate", path)
				writer.Args = append(writer.Args, "create "+string(rune('a'+i)))
				require.NoError(t, writer.Start())
				announced(t, path, "key-1", i+1)
				require.NoError(t, writer.Process.Kill())
				_ = writer.Wait()
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := t.TempDir()
			store, err := dir.Open(path)
			require.NoError(t, err)
			other, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "other"})
			require.NoError(t, err)
			release := holdList(t, path)
			test.fail(t, path, store)
			release()

			// The folder changes all the time, so that a doubt would not end.
			ctx, stop := context.WithCancel(t.Context())
			var busy sync.WaitGroup
			changed := make(chan struct{}, 1)
			busy.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					other.Data = []byte{byte(i)}
					next, err := store.Update(t.Context(), other)
					if !assert.NoError(t, err) {
						break
					}
					other = next
					select {
					case changed <- struct{}{}:
					default:
					}
				}
				close(changed)
			})
			<-changed
			records, err := store.List(t.Context(), "default", "")
			stop()
			busy.Wait()
			require.NoError(t, err)
			require.Len(t, records, 1)
		})
	}
}
