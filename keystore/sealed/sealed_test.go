package sealed_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/keystore/keystoretest"
	"github.com/meshpass/meshpass/keystore/sealed"
)

const (
	maxData  = 64 << 20 // of the memory and the directory store
	overhead = 149
)

// keyOf returns a key-encryption key of 32 times the same byte.
func keyOf(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func aesgcm(t testing.TB, keys ...byte) *sealed.AESGCM {
	t.Helper()
	var all [][]byte
	for _, b := range keys {
		all = append(all, keyOf(b))
	}
	sealer, err := sealed.NewAESGCM(all...)
	require.NoError(t, err)
	return sealer
}

func newStore(t testing.TB, inner keystore.KeyStore, sealer sealed.Sealer, options ...sealed.Option) keystore.KeyStore {
	t.Helper()
	store, err := sealed.New(inner, sealer, options...)
	require.NoError(t, err)
	return store
}

func create(t testing.TB, store keystore.KeyStore, scope keystore.Scope, name, data string) keystore.Record {
	t.Helper()
	r, err := store.Create(t.Context(), keystore.Record{Scope: scope, Name: name, Data: []byte(data)})
	require.NoError(t, err)
	return r
}

// put writes data to an inner store, whatever is there.
func put(t testing.TB, inner keystore.KeyStore, scope keystore.Scope, name string, data []byte) {
	t.Helper()
	require.NoError(t, inner.Delete(t.Context(), scope, name))
	create(t, inner, scope, name, string(data))
}

func stored(t testing.TB, inner keystore.KeyStore, scope keystore.Scope, name string) []byte {
	t.Helper()
	r, err := inner.Get(t.Context(), scope, name)
	require.NoError(t, err)
	return r.Data
}

// counting is a Sealer that counts the calls of another and can be made to fail.
type counting struct {
	sealed.Sealer
	seals, opens   atomic.Int64
	atOnce, atMost atomic.Int64
	open           func(ctx context.Context) error
}

func (c *counting) Seal(ctx context.Context, dataKey []byte, scope keystore.Scope, name string) ([]byte, error) {
	c.seals.Add(1)
	return c.Sealer.Seal(ctx, dataKey, scope, name)
}

func (c *counting) Open(ctx context.Context, sealedKey []byte, scope keystore.Scope, name string) ([]byte, error) {
	c.opens.Add(1)
	now := c.atOnce.Add(1)
	defer c.atOnce.Add(-1)
	for most := c.atMost.Load(); now > most && !c.atMost.CompareAndSwap(most, now); most = c.atMost.Load() {
	}
	if c.open != nil {
		if err := c.open(ctx); err != nil {
			return nil, err
		}
	}
	return c.Sealer.Open(ctx, sealedKey, scope, name)
}

// polled hides Watch.
type polled struct{ keystore.KeyStore }

func TestStoreConforms(t *testing.T) {
	t.Run("over memory", func(t *testing.T) {
		keystoretest.Run(t, keystoretest.Harness{
			New: func(t *testing.T) keystoretest.Storage {
				inner := keystore.NewMemory()
				return keystoretest.Storage{Open: func(t *testing.T) keystore.KeyStore { return newStore(t, inner, aesgcm(t, 1)) }}
			},
			MaxData: maxData - overhead,
		})
	})
	t.Run("over a directory", func(t *testing.T) {
		keystoretest.Run(t, keystoretest.Harness{
			New: func(t *testing.T) keystoretest.Storage {
				path := t.TempDir()
				return keystoretest.Storage{Open: func(t *testing.T) keystore.KeyStore {
					inner, err := dir.Open(path)
					require.NoError(t, err)
					return newStore(t, inner, aesgcm(t, 1))
				}}
			},
			MaxData: maxData - overhead,
		})
	})
	t.Run("while it still writes plaintext", func(t *testing.T) {
		keystoretest.Run(t, keystoretest.Harness{
			New: func(t *testing.T) keystoretest.Storage {
				inner := keystore.NewMemory()
				return keystoretest.Storage{Open: func(t *testing.T) keystore.KeyStore {
					return newStore(t, inner, aesgcm(t, 1), sealed.WritePlaintext())
				}}
			},
			MaxData: maxData,
		})
	})
}

func TestStoreIsAWatcherExactlyIfItsInnerStoreIsOne(t *testing.T) {
	_, ok := newStore(t, keystore.NewMemory(), aesgcm(t, 1)).(keystore.Watcher)
	assert.True(t, ok)
	_, ok = newStore(t, polled{keystore.NewMemory()}, aesgcm(t, 1)).(keystore.Watcher)
	assert.False(t, ok)
}

func TestNewRefusesWhatIsNil(t *testing.T) {
	_, err := sealed.New(nil, aesgcm(t, 1))
	assert.EqualError(t, err, "keystore/sealed: the store is nil")
	_, err = sealed.New(keystore.NewMemory(), nil)
	assert.EqualError(t, err, "keystore/sealed: the sealer is nil")
	_, err = sealed.New(keystore.NewMemory(), aesgcm(t, 1), sealed.AcceptPlaintext(), nil)
	assert.EqualError(t, err, "keystore/sealed: option 2 of 2 is nil")
}

func TestStoreLeavesNothingOfARecordInTheFilesOfADirectory(t *testing.T) {
	path := t.TempDir()
	inner, err := dir.Open(path)
	require.NoError(t, err)
	store := newStore(t, inner, aesgcm(t, 1))
	secret := "-----BEGIN RSA PRIVATE KEY-----\n" + strings.Repeat("q8sTVu3p", 200)
	r := create(t, store, "default", "key-1", secret)
	r.Data = []byte("changed " + secret)
	_, err = store.Update(t.Context(), r)
	require.NoError(t, err)
	create(t, store, keystore.Global, "key-1", secret)

	files := 0
	require.NoError(t, filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(file)
		if len(content) == 0 { // a lock
			return err
		}
		files++
		assert.True(t, bytes.HasPrefix(content, []byte("meshpass-sealed-v1\n")), file)
		for i := 0; i+8 <= len(secret); i += 8 {
			assert.NotContains(t, string(content), secret[i:i+8], file)
		}
		return err
	}))
	assert.Equal(t, 2, files)
}

func TestStoreSealsEachWriteWithAKeyOfItsOwn(t *testing.T) {
	inner := keystore.NewMemory()
	store := newStore(t, inner, aesgcm(t, 1))
	r := create(t, store, "default", "key-1", "content")
	first := stored(t, inner, "default", "key-1")
	_, err := store.Update(t.Context(), r)
	require.NoError(t, err)
	second := stored(t, inner, "default", "key-1")
	assert.Len(t, second, len(first))
	assert.Equal(t, first[:61], second[:61], "the header, the place, the length and the id of the key")
	assert.NotEqual(t, first[61:], second[61:])
	assert.Len(t, first, len("content")+overhead)
}

// decode reads the format as the package's documentation describes it, with
// none of the package's code.
func decode(t *testing.T, record, key []byte, scope, name string) []byte {
	t.Helper()
	gcm := func(key []byte) cipher.AEAD {
		block, err := aes.NewCipher(key)
		require.NoError(t, err)
		gcm, err := cipher.NewGCM(block)
		require.NoError(t, err)
		return gcm
	}
	require.Equal(t, "meshpass-sealed-v1\n", string(record[:19]))
	place := sha256.Sum256([]byte("meshpass-sealed-v1\n" + scope + "\x00" + name))
	require.Equal(t, place[:], record[19:51])
	n := int(binary.BigEndian.Uint16(record[51:53]))
	sealedKey := record[53 : 53+n]

	id := sha256.Sum256(append([]byte("meshpass-key-encryption-key-v1\n"), key...))
	require.Equal(t, id[:8], sealedKey[:8])
	additional := []byte("meshpass-data-key-v1\n" + string(id[:8]) + scope + "\x00" + name)
	require.Len(t, sealedKey, 68)
	dataKey, err := gcm(key).Open(nil, sealedKey[8:20], sealedKey[20:68], additional)
	require.NoError(t, err)
	require.Len(t, dataKey, 32)

	data, err := gcm(dataKey).Open(nil, record[53+n:65+n], record[65+n:], record[:53+n])
	require.NoError(t, err)
	return data
}

func TestStoreWritesTheFormatThatTheDocumentationDescribes(t *testing.T) {
	inner := keystore.NewMemory()
	store := newStore(t, inner, aesgcm(t, 7))
	for _, data := range []string{"", "content", strings.Repeat("x", 100_000)} {
		for _, scope := range []keystore.Scope{keystore.Global, "default"} {
			create(t, store, scope, "key-1", data)
			assert.Equal(t, data, string(decode(t, stored(t, inner, scope, "key-1"), keyOf(7), string(scope), "key-1")))
			require.NoError(t, store.Delete(t.Context(), scope, "key-1"))
		}
	}
}

func goldenRecord(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/golden-v1.hex")
	require.NoError(t, err)
	golden, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	require.NoError(t, err)
	return golden
}

const (
	goldenName = "dataplane-token-revocations-default"
	goldenData = "c7a3f8f2-6a5e-4c0b-9b43-6f9d3f0a1c55,1f0b9f0e-3a86-4a0d-8d5e-0d7a5a2b9e11\n"
)

// What this version has stored, every later one must read.
func TestStoreReadsARecordOfTheFirstVersion(t *testing.T) {
	golden := goldenRecord(t)
	assert.Equal(t, goldenData, string(decode(t, golden, keyOf(0x42), "default", goldenName)))
	inner := keystore.NewMemory()
	put(t, inner, "default", goldenName, golden)
	r, err := newStore(t, inner, aesgcm(t, 0x42)).Get(t.Context(), "default", goldenName)
	require.NoError(t, err)
	assert.Equal(t, goldenData, string(r.Data))
}

// failing checks that neither Get nor List returns the record, and returns the
// error.
func failing(t *testing.T, store keystore.KeyStore, scope keystore.Scope, name string) error {
	t.Helper()
	r, err := store.Get(t.Context(), scope, name)
	require.Error(t, err)
	assert.Empty(t, r)
	assert.NotErrorIs(t, err, keystore.ErrNotFound)
	for _, listed := range []keystore.Scope{scope, keystore.AllScopes} {
		records, listErr := store.List(t.Context(), listed, "")
		for _, r := range records {
			assert.False(t, r.Scope == scope && r.Name == name, "%v", r)
		}
		unreadable, other := keystore.SplitUnreadable(listErr)
		require.NoError(t, other)
		require.Len(t, unreadable, 1)
		require.EqualError(t, unreadable[0], err.Error())
		require.Equal(t, keystore.Error{Op: "open", Scope: scope, Name: name, Err: unreadable[0].Err}, *unreadable[0])
	}
	return err
}

func TestStoreRefusesWhatIsNotAsItWasSealedAndSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(record []byte) []byte
		want   error
		text   string
	}{
		{"not sealed", func([]byte) []byte { return []byte("secret content") }, sealed.ErrNotSealed, `cannot open "key-1" in scope "default": keystore/sealed: record is not sealed`},
		{"empty", func([]byte) []byte { return nil }, sealed.ErrNotSealed, "is not sealed"},
		{"a part of the first line", func(r []byte) []byte { return r[:5] }, sealed.ErrAltered, "cut short, to 5 bytes"},
		{"the first line", func(r []byte) []byte { return r[:19] }, sealed.ErrAltered, "cut short, to 19 bytes"},
		{"without the sealed data key", func(r []byte) []byte { return r[:53] }, sealed.ErrAltered, "cut short"},
		{"with a part of it", func(r []byte) []byte { return r[:100] }, sealed.ErrAltered, "cut short"},
		{"without the data", func(r []byte) []byte { return r[:121] }, sealed.ErrAltered, "cut short"},
		{"without the last byte", func(r []byte) []byte { return r[:len(r)-1] }, sealed.ErrAltered, "its data is not what was encrypted"},
		{"with one byte more", func(r []byte) []byte { return append(r, 0) }, sealed.ErrAltered, "its data is not what was encrypted"},
		{"of another version", func(r []byte) []byte { r[17] = '2'; return r }, sealed.ErrAltered, `begins with "meshpass-sealed-v2\n`},
		{"with a sealed data key of no byte", func(r []byte) []byte { r[51], r[52] = 0, 0; return r }, sealed.ErrAltered, "its sealed data key has 0 bytes, want 1 to 8192"},
		{"with one of too many", func(r []byte) []byte { r[51] = 0xff; return r }, sealed.ErrAltered, "its sealed data key has 65348 bytes, want 1 to 8192"},
		{"with a shorter one", func(r []byte) []byte { r[52]--; return r }, sealed.ErrAltered, "its sealed data key has 67 bytes, want 68 of AES-GCM"},
		{"under another key", func(r []byte) []byte { r[53] ^= 1; return r }, sealed.ErrNoKey, "it was sealed under key "},
		{"with another data key", func(r []byte) []byte { r[90] ^= 1; return r }, sealed.ErrAltered, "its data key was not sealed for it under key "},
		{"with other data", func(r []byte) []byte { r[140] ^= 1; return r }, sealed.ErrAltered, "its data is not what was encrypted"},
	} {
		t.Run(c.what, func(t *testing.T) {
			inner := keystore.NewMemory()
			store := newStore(t, inner, aesgcm(t, 1))
			create(t, store, "default", "key-1", "secret content")
			put(t, inner, "default", "key-1", c.change(stored(t, inner, "default", "key-1")))

			for what, store := range map[string]keystore.KeyStore{ // one knows the data key, one does not
				"that has written it": store, "opened later": newStore(t, inner, aesgcm(t, 1)),
			} {
				err := failing(t, store, "default", "key-1")
				assert.ErrorIs(t, err, c.want, what)
				assert.ErrorContains(t, err, c.text, what)
				assert.ErrorContains(t, err, `"key-1" in scope "default"`, what)
				assert.NotContains(t, err.Error(), "secret", what)
			}
			_, err := newStore(t, inner, aesgcm(t, 1), sealed.AcceptPlaintext()).Get(t.Context(), "default", "key-1")
			if c.want != sealed.ErrNotSealed {
				assert.ErrorIs(t, err, c.want, "even where plaintext is accepted")
			} else {
				assert.NoError(t, err)
			}
		})
	}
}

func TestStoreNoticesEveryBitThatChanged(t *testing.T) {
	inner := keystore.NewMemory()
	writer := newStore(t, inner, aesgcm(t, 1))
	create(t, writer, "default", "key-1", "secret content")
	record := stored(t, inner, "default", "key-1")
	for bit := range 8 * len(record) {
		altered := bytes.Clone(record)
		altered[bit/8] ^= 1 << (bit % 8)
		put(t, inner, "default", "key-1", altered)
		for _, store := range []keystore.KeyStore{writer, newStore(t, inner, aesgcm(t, 1))} {
			r, err := store.Get(t.Context(), "default", "key-1")
			require.Error(t, err, "bit %d", bit)
			require.Empty(t, r)
		}
	}
	for length := range record {
		put(t, inner, "default", "key-1", record[:length])
		_, err := writer.Get(t.Context(), "default", "key-1")
		require.Error(t, err, "%d bytes", length)
	}
}

func TestStoreSealsARecordForItsScopeAndName(t *testing.T) {
	inner := keystore.NewMemory()
	store := newStore(t, inner, aesgcm(t, 1))
	create(t, store, "ab", "c", "secret content")
	record := stored(t, inner, "ab", "c")
	for _, id := range [][2]string{{"ab", "d"}, {"a", "bc"}, {"abc", "c"}, {"", "c"}, {"", "abc"}, {"AB", "c"}} {
		scope, name := keystore.Scope(id[0]), id[1]
		create(t, inner, scope, name, string(record))
		_, err := store.Get(t.Context(), scope, name)
		assert.ErrorIs(t, err, sealed.ErrAltered, "%q", id)
		assert.ErrorContains(t, err, "it was sealed for another scope or name", "%q", id)

		// The place can be forged, the rest can't.
		forged := bytes.Clone(record)
		place := sha256.Sum256([]byte("meshpass-sealed-v1\n" + id[0] + "\x00" + id[1]))
		copy(forged[19:51], place[:])
		put(t, inner, scope, name, forged)
		_, err = store.Get(t.Context(), scope, name)
		assert.ErrorIs(t, err, sealed.ErrAltered, "%q", id)
		assert.ErrorContains(t, err, "its data key was not sealed for it", "%q", id)
	}
}

func TestStoreUsesADataKeyForNoOtherRecord(t *testing.T) {
	inner := keystore.NewMemory()
	store := newStore(t, inner, aesgcm(t, 1))
	create(t, store, "default", "key-1", "first")
	create(t, store, "default", "key-2", "other")
	one, two := stored(t, inner, "default", "key-1"), stored(t, inner, "default", "key-2")
	put(t, inner, "default", "key-1", append(bytes.Clone(one[:121]), two[121:]...))
	assert.ErrorIs(t, failing(t, store, "default", "key-1"), sealed.ErrAltered)
}

func TestStoreCountsWhatSealingAddsAgainstTheLimit(t *testing.T) {
	store := newStore(t, keystore.NewMemory(), aesgcm(t, 1))
	data := make([]byte, maxData-overhead+1)
	_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: data})
	require.ErrorIs(t, err, keystore.ErrTooLarge)
	assert.EqualError(t, err, `keystore: record too large: "key-1" in scope "default" has 67108865 bytes, the limit is 67108864 (149 added by sealing)`)
}

func TestStoreAsksTheSealerNothingAboutARecordThatDidNotChange(t *testing.T) {
	inner := keystore.NewMemory()
	writer := newStore(t, inner, aesgcm(t, 1))
	const records = 100
	for i := range records {
		create(t, writer, "default", fmt.Sprintf("key-%03d", i), "content")
	}
	sealer := &counting{Sealer: aesgcm(t, 1)}
	store := newStore(t, inner, sealer)
	for range 3 {
		list, err := store.List(t.Context(), keystore.AllScopes, "")
		require.NoError(t, err)
		require.Len(t, list, records)
		for _, r := range list {
			require.Equal(t, "content", string(r.Data))
		}
		assert.EqualValues(t, records, sealer.opens.Load())
	}
	r, err := writer.Get(t.Context(), "default", "key-007")
	require.NoError(t, err)
	assert.EqualValues(t, records, sealer.opens.Load())
	r.Data = []byte("other content")
	_, err = writer.Update(t.Context(), r)
	require.NoError(t, err)
	for range 2 {
		r, err = store.Get(t.Context(), "default", "key-007")
		require.NoError(t, err)
		assert.Equal(t, "other content", string(r.Data))
		assert.EqualValues(t, records+1, sealer.opens.Load())
	}

	_, err = store.Update(t.Context(), r)
	require.NoError(t, err)
	_, err = store.Get(t.Context(), "default", "key-007")
	require.NoError(t, err)
	assert.EqualValues(t, records+1, sealer.opens.Load(), "a write of the same process costs no Open")
	assert.EqualValues(t, 1, sealer.seals.Load())
}

func TestListAsksASlowSealerAFewAtATimeAndGoesOnWhereItWasStopped(t *testing.T) {
	inner := keystore.NewMemory()
	writer := newStore(t, inner, aesgcm(t, 1))
	const records = 100
	for i := range records {
		create(t, writer, "default", fmt.Sprintf("key-%03d", i), "content")
	}
	var answers atomic.Int64
	allowed := make(chan struct{}, records)
	sealer := &counting{Sealer: aesgcm(t, 1), open: func(ctx context.Context) error {
		select {
		case <-allowed:
			answers.Add(1)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	store := newStore(t, inner, sealer)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		list, err := store.List(ctx, keystore.AllScopes, "")
		assert.Empty(t, list)
		ended <- err
	}()
	for range 60 {
		allowed <- struct{}{}
	}
	require.Eventually(t, func() bool { return answers.Load() == 60 && sealer.atOnce.Load() == 16 }, 30*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)

	for range 40 {
		allowed <- struct{}{}
	}
	list, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	assert.Len(t, list, records)
	assert.EqualValues(t, 100, answers.Load(), "no answer was asked for twice")
	assert.EqualValues(t, 16, sealer.atMost.Load())
}

func TestListStopsAskingASealerThatFails(t *testing.T) {
	inner := keystore.NewMemory()
	writer := newStore(t, inner, aesgcm(t, 1))
	for i := range 200 {
		create(t, writer, "default", fmt.Sprint("key-", i), "content")
	}
	down := errors.New("the KMS is down")
	sealer := &counting{Sealer: aesgcm(t, 1), open: func(context.Context) error { return down }}
	_, err := newStore(t, inner, sealer).List(t.Context(), keystore.AllScopes, "")
	require.ErrorIs(t, err, down)
	assert.ErrorContains(t, err, `keystore: cannot open "key-`)
	assert.ErrorContains(t, err, "cannot open its data key: the KMS is down")
	assert.LessOrEqual(t, sealer.opens.Load(), int64(16))
}

// wrong is a Sealer that does not keep to what it promises.
type wrong struct {
	sealed.Sealer
	seal, open []byte
}

func (w wrong) Seal(context.Context, []byte, keystore.Scope, string) ([]byte, error) {
	return w.seal, nil
}
func (w wrong) Open(context.Context, []byte, keystore.Scope, string) ([]byte, error) {
	return w.open, nil
}

func TestStoreRefusesASealerThatReturnsTooFewOrTooManyBytes(t *testing.T) {
	for _, n := range []int{0, 8193} {
		_, err := newStore(t, keystore.NewMemory(), wrong{seal: make([]byte, n)}).
			Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
		assert.EqualError(t, err, fmt.Sprintf(`keystore: cannot create "key-1" in scope "default": the sealer returned a sealed data key of %d bytes, want 1 to 8192`, n))
	}
	inner := keystore.NewMemory()
	create(t, newStore(t, inner, wrong{seal: make([]byte, 8192)}), "default", "key-1", "content")
	for _, n := range []int{0, 16, 31, 33} {
		_, err := newStore(t, inner, wrong{open: make([]byte, n)}).Get(t.Context(), "default", "key-1")
		assert.EqualError(t, err, fmt.Sprintf(`keystore: cannot open "key-1" in scope "default": the sealer returned a data key of %d bytes, want 32`, n))
	}
	_, err := newStore(t, inner, wrong{open: make([]byte, 32)}).Get(t.Context(), "default", "key-1")
	assert.ErrorIs(t, err, sealed.ErrAltered)
}

func TestStoreDoesNotAskTheSealerForWhatNoStoreTakes(t *testing.T) {
	sealer := &counting{Sealer: aesgcm(t, 1)}
	store := newStore(t, keystore.NewMemory(), sealer)
	_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "../key"})
	assert.ErrorIs(t, err, keystore.ErrName)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = store.Create(ctx, keystore.Record{Scope: "default", Name: "key-1"})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, sealer.seals.Load())
}

func TestNewAESGCMRefusesUnusableKeys(t *testing.T) {
	for want, keys := range map[string][][]byte{
		"no key-encryption key, want at least one":        {},
		"key-encryption key 1 of 1 has 0 bytes, want 32":  {nil},
		"key-encryption key 2 of 2 has 16 bytes, want 32": {keyOf(1), keyOf(2)[:16]},
		"key-encryption key 1 of 1 has 33 bytes, want 32": {append(keyOf(1), '\n')},
		"key-encryption keys 1 and 3 of 3 are the same":   {keyOf(1), keyOf(2), keyOf(1)},
	} {
		sealer, err := sealed.NewAESGCM(keys...)
		assert.EqualError(t, err, "keystore/sealed: "+want)
		assert.Nil(t, sealer)
	}
	_, err := newStore(t, keystore.NewMemory(), &sealed.AESGCM{}).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
	assert.ErrorContains(t, err, "an AESGCM without keys, want one from NewAESGCM")
}

func TestAESGCMKeepsItsKeysWhateverTheCallerDoesToThem(t *testing.T) {
	key := keyOf(1)
	sealer, err := sealed.NewAESGCM(key)
	require.NoError(t, err)
	clear(key)
	inner := keystore.NewMemory()
	create(t, newStore(t, inner, sealer), "default", "key-1", "content")
	r, err := newStore(t, inner, aesgcm(t, 1)).Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	assert.Equal(t, "content", string(r.Data))
}

func TestStoreAndAESGCMPrintNoKey(t *testing.T) {
	sealer := aesgcm(t, 'K', 'L')
	store := newStore(t, keystore.NewMemory(), sealer)
	create(t, store, "default", "key-1", "content")
	var printed []string
	for _, value := range []any{sealer, *sealer, store, &store, []any{sealer, store}, map[string]any{"a": sealer, "b": store},
		struct{ sealer *sealed.AESGCM }{sealer}, struct{ store keystore.KeyStore }{store}, struct{ S sealed.AESGCM }{*sealer}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c"} {
			printed = append(printed, fmt.Sprintf(verb, value))
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("text", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "value", value)
		printed = append(printed, log.String())
		text, err := json.Marshal(value)
		require.NoError(t, err)
		printed = append(printed, string(text))
	}
	for _, text := range printed {
		assert.NotContains(t, text, "KKKK")
		assert.NotContains(t, text, "4b4b4b")
		assert.NotContains(t, text, "4B4B4B")
		assert.NotContains(t, text, "75 75 75")
	}
	assert.Regexp(t, `^AES-GCM with key [0-9a-f]{16}, [0-9a-f]{16} \(redacted\)$`, fmt.Sprint(sealer))
	assert.Equal(t, fmt.Sprint(sealer), fmt.Sprintf("%#v", *sealer))
	assert.Equal(t, "sealed keystore", fmt.Sprintf("%+v", store))
	assert.Equal(t, "AES-GCM without keys", fmt.Sprint(sealed.AESGCM{}))
}

func TestResealLetsTheKeyEncryptionKeyBeReplaced(t *testing.T) {
	inner := keystore.NewMemory()
	create(t, newStore(t, inner, aesgcm(t, 1)), "default", "key-1", "content")
	r, err := newStore(t, inner, aesgcm(t, 2, 1)).Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	assert.Equal(t, "content", string(r.Data))
	_, err = newStore(t, inner, aesgcm(t, 2)).Get(t.Context(), "default", "key-1")
	assert.ErrorIs(t, err, sealed.ErrNoKey)

	create(t, newStore(t, inner, aesgcm(t, 2, 1)), "default", "key-2", "content")
	n, err := sealed.Reseal(t.Context(), inner, aesgcm(t, 2, 1))
	require.NoError(t, err)
	assert.Equal(t, 1, n, "key-2 is sealed under the new key already")
	n, err = sealed.Reseal(t.Context(), inner, aesgcm(t, 2, 1))
	require.NoError(t, err)
	assert.Zero(t, n)
	after := newStore(t, inner, aesgcm(t, 2))
	list, err := after.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Len(t, list, 2)
	assert.Equal(t, "content", string(list[0].Data))
	assert.Equal(t, r.Created, list[0].Created)
}

// A deployment of several processes turns encryption on, each at another time,
// while all of them write.
func TestStoreTurnsEncryptionOnWithoutAMomentInWhichAProcessCannotRead(t *testing.T) {
	inner := keystore.NewMemory()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	steps := []func() keystore.KeyStore{
		func() keystore.KeyStore { return inner },
		func() keystore.KeyStore { return newStore(t, inner, aesgcm(t, 1), sealed.WritePlaintext()) },
		func() keystore.KeyStore { return newStore(t, inner, aesgcm(t, 1), sealed.AcceptPlaintext()) },
		func() keystore.KeyStore { return newStore(t, inner, aesgcm(t, 1)) },
	}
	const processes = 4
	create(t, inner, "default", "counter", "")
	create(t, inner, "default", "untouched", "content")
	var stores [processes]atomic.Pointer[keystore.KeyStore]
	var rounds [processes]atomic.Int64
	var running sync.WaitGroup
	for p := range processes {
		store := steps[0]()
		stores[p].Store(&store)
		running.Go(func() {
			for ctx.Err() == nil {
				store := *stores[p].Load()
				list, err := store.List(t.Context(), keystore.AllScopes, "")
				if !assert.NoError(t, err) || !assert.Len(t, list, 2) {
					return
				}
				assert.Equal(t, strings.Repeat(".", len(list[0].Data)), string(list[0].Data))
				assert.Equal(t, "content", string(list[1].Data))
				r := list[0]
				r.Data = bytes.Repeat([]byte("."), (len(r.Data)+1)%50)
				if _, err = store.Update(t.Context(), r); !errors.Is(err, keystore.ErrConflict) {
					assert.NoError(t, err)
				}
				rounds[p].Add(1)
			}
		})
	}
	allGoOn := func() {
		for p := range processes {
			from := rounds[p].Load()
			require.Eventually(t, func() bool { return rounds[p].Load() > from+1 }, 30*time.Second, time.Millisecond)
		}
	}
	for step := 1; step < len(steps); step++ {
		if step == 3 {
			require.Eventually(t, func() bool {
				n, err := sealed.Reseal(ctx, inner, aesgcm(t, 1), sealed.AcceptPlaintext())
				require.NoError(t, err)
				return n == 0
			}, 30*time.Second, time.Millisecond)
		}
		for p := range processes {
			store := steps[step]()
			stores[p].Store(&store)
			allGoOn()
		}
	}
	stop()
	running.Wait()
	for _, name := range []string{"counter", "untouched"} {
		_, err := newStore(t, inner, aesgcm(t, 2)).Get(t.Context(), "default", name)
		assert.ErrorIs(t, err, sealed.ErrNoKey)
	}
}

func TestResealGoesOnWhereItWasStoppedAndLosesNoConcurrentWrite(t *testing.T) {
	inner := keystore.NewMemory()
	const records = 20
	for i := range records {
		create(t, inner, "default", fmt.Sprintf("key-%02d", i), "content")
	}
	// After each of its writes something happens to the next record.
	between := &interposed{Memory: inner}
	ctx, cancel := context.WithCancel(t.Context())
	between.beforeUpdate = func(n int, r keystore.Record) {
		switch {
		case n == 3: // another writer is faster
			current, err := inner.Get(t.Context(), r.Scope, r.Name)
			require.NoError(t, err)
			current.Data = []byte("changed")
			_, err = inner.Update(t.Context(), current)
			require.NoError(t, err)
		case n == 6:
			require.NoError(t, inner.Delete(t.Context(), r.Scope, r.Name))
		case n == 10:
			cancel()
		}
	}
	n, err := sealed.Reseal(ctx, between, aesgcm(t, 1), sealed.AcceptPlaintext())
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 7, n) // 9 calls, one lost its race, one found nothing
	between.beforeUpdate = func(int, keystore.Record) {}
	again, err := sealed.Reseal(t.Context(), between, aesgcm(t, 1), sealed.AcceptPlaintext())
	require.NoError(t, err)
	assert.Equal(t, records-1-n, again)

	list, err := newStore(t, inner, aesgcm(t, 1)).List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Len(t, list, records-1)
	changed := 0
	for _, r := range list {
		if string(r.Data) == "changed" {
			changed++
		} else {
			assert.Equal(t, "content", string(r.Data))
		}
	}
	assert.Equal(t, 1, changed)
}

// interposed is a memory store in which something happens before each Update.
type interposed struct {
	*keystore.Memory
	updates      int
	beforeUpdate func(n int, r keystore.Record)
}

func (i *interposed) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	i.updates++
	i.beforeUpdate(i.updates, r)
	return i.Memory.Update(ctx, r)
}

func TestResealTakesNoPlaintextUnlessToldTo(t *testing.T) {
	inner := keystore.NewMemory()
	create(t, inner, "default", "planted", "a key of the intruder's")
	n, err := sealed.Reseal(t.Context(), inner, aesgcm(t, 2, 1))
	assert.ErrorIs(t, err, sealed.ErrNotSealed)
	assert.ErrorContains(t, err, `"planted" in scope "default"`)
	assert.Zero(t, n)
	assert.Equal(t, "a key of the intruder's", string(stored(t, inner, "default", "planted")))
}

func TestResealRefusesWhatItCannotWorkOn(t *testing.T) {
	inner := keystore.NewMemory()
	_, err := sealed.Reseal(t.Context(), nil, aesgcm(t, 1))
	assert.EqualError(t, err, "keystore/sealed: the store is nil")
	_, err = sealed.Reseal(t.Context(), inner, nil)
	assert.EqualError(t, err, "keystore/sealed: the sealer is nil")
	for _, store := range []keystore.KeyStore{newStore(t, inner, aesgcm(t, 1)), newStore(t, polled{inner}, aesgcm(t, 1))} {
		_, err = sealed.Reseal(t.Context(), store, aesgcm(t, 1))
		assert.EqualError(t, err, "keystore/sealed: the store to reseal is a sealed one, want the one inside of it")
	}
	_, err = sealed.Reseal(t.Context(), inner, aesgcm(t, 1), sealed.WritePlaintext())
	assert.ErrorContains(t, err, "WritePlaintext does not seal")

	create(t, newStore(t, inner, aesgcm(t, 1)), "default", "key-1", "content")
	_, err = sealed.Reseal(t.Context(), inner, aesgcm(t, 2))
	assert.ErrorIs(t, err, sealed.ErrNoKey)
}

func TestWritePlaintextRefusesDataThatBeginsLikeASealedRecord(t *testing.T) {
	inner := keystore.NewMemory()
	create(t, newStore(t, inner, aesgcm(t, 1)), "default", "key-1", "content")
	store := newStore(t, inner, aesgcm(t, 1), sealed.WritePlaintext())
	_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-2", Data: stored(t, inner, "default", "key-1")})
	assert.EqualError(t, err, `keystore: cannot create "key-2" in scope "default": its data begins like a sealed record`)
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-2", Data: []byte("mesh")})
	assert.Error(t, err)
	create(t, store, "default", "key-2", "mesh-1")
	assert.Equal(t, "mesh-1", string(stored(t, inner, "default", "key-2")))
}

func TestStoreWorksInFIPSMode(t *testing.T) {
	if !strings.Contains(os.Getenv("GODEBUG"), "fips140=only") {
		self, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", output)
		assert.Contains(t, string(output), "--- PASS: "+t.Name())
		return
	}
	block, err := aes.NewCipher(keyOf(1))
	require.NoError(t, err)
	_, err = cipher.NewGCM(block)
	require.Error(t, err, "FIPS mode is not on")
	inner := keystore.NewMemory()
	create(t, newStore(t, inner, aesgcm(t, 1)), "default", "key-1", "content")
	r, err := newStore(t, inner, aesgcm(t, 1)).Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	assert.Equal(t, "content", string(r.Data))
}

// Whatever is stored, it is an error or what was sealed for just this record.
func FuzzOpen(f *testing.F) {
	golden := goldenRecord(f)
	f.Add(golden)
	f.Add(golden[:len(golden)-1])
	f.Add([]byte("content"))
	f.Add([]byte("meshpass-sealed-v1\n"))
	f.Fuzz(func(t *testing.T, record []byte) {
		inner := keystore.NewMemory()
		put(t, inner, "default", goldenName, record)
		r, err := newStore(t, inner, aesgcm(t, 0x42)).Get(t.Context(), "default", goldenName)
		if bytes.Equal(record, golden) {
			require.NoError(t, err)
			require.Equal(t, goldenData, string(r.Data))
			return
		}
		require.Error(t, err)
		require.Empty(t, r)
		require.True(t, errors.Is(err, sealed.ErrNotSealed) || errors.Is(err, sealed.ErrAltered) || errors.Is(err, sealed.ErrNoKey), "%v", err)
	})
}

// BenchmarkList prints what opening costs for each record, and how often the
// inner store's List fits into that of the sealed one. The data keys are known.
func BenchmarkList(b *testing.B) {
	for _, c := range []struct {
		name string
		open func() (keystore.KeyStore, error)
	}{
		{"memory", func() (keystore.KeyStore, error) { return keystore.NewMemory(), nil }},
		{"directory", func() (keystore.KeyStore, error) { return dir.Open(b.TempDir()) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			inner, err := c.open()
			require.NoError(b, err)
			store := newStore(b, inner, aesgcm(b, 1))
			const records = 1000
			for i := range records { // each about as large as a key of 2048 bits in PEM
				create(b, store, "default", fmt.Sprint("key-", i), strings.Repeat("k", 1700))
			}
			best := [2]time.Duration{math.MaxInt64, math.MaxInt64}
			for b.Loop() {
				for i, listed := range []keystore.KeyStore{inner, store} {
					began := time.Now()
					if _, err := listed.List(b.Context(), keystore.AllScopes, ""); err != nil {
						b.Fatal(err)
					}
					best[i] = min(best[i], time.Since(began))
				}
			}
			b.ReportMetric(float64((best[1]-best[0]).Nanoseconds())/records, "ns-sealing/record")
			b.ReportMetric(float64(best[1])/float64(best[0]), "x-inner")
		})
	}
}
