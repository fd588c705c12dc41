package keystore_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
)

var secretRecord = keystore.Record{
	Scope:   "default",
	Name:    "key-1",
	Data:    []byte("Secret!"),
	Version: "7",
	Created: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC),
}

// assertNoSecret fails if text holds the data of secretRecord, however written.
func assertNoSecret(t *testing.T, text string) {
	t.Helper()
	data := secretRecord.Data
	decimal := strings.Trim(fmt.Sprint(data), "[]")
	for _, leak := range []string{
		string(data), hex.EncodeToString(data), base64.StdEncoding.EncodeToString(data), decimal,
		strings.ReplaceAll(decimal, " ", ","), fmt.Sprintf("%#v", data), fmt.Sprintf("%b", data), fmt.Sprintf("%o", data),
	} {
		assert.NotContains(t, strings.ToLower(text), strings.ToLower(leak))
	}
	assert.NotRegexp(t, `(?i)0x53[\s,]+0x65`, text)
}

func TestRecordPrintsWithoutItsDataUnderEveryVerb(t *testing.T) {
	type holder struct{ Record keystore.Record }
	for _, verb := range "vTtbcdoOqxXUeEfFgGs" {
		for _, flags := range []string{"", "+", "#", " ", "-80", "080", ".3", "# "} {
			format := "%" + flags + string(verb)
			for what, value := range map[string]any{
				"a record":          secretRecord,
				"a pointer":         &secretRecord,
				"a slice":           []keystore.Record{secretRecord},
				"a map":             map[string]keystore.Record{"a": secretRecord},
				"a map of pointers": map[string]any{"a": &secretRecord},
				"a struct":          holder{secretRecord},
				"a struct pointer":  &holder{secretRecord},
				"an interface":      any(secretRecord),
			} {
				t.Run(what+" with "+format, func(t *testing.T) {
					assertNoSecret(t, fmt.Sprintf(format, value))
				})
			}
		}
	}
	assertNoSecret(t, fmt.Sprintf("too many arguments %d", []any{1, secretRecord}...))
	assertNoSecret(t, fmt.Errorf("wrapped: %v", secretRecord).Error())
}

func TestMemoryAndDirPrintWithoutDataUnderEveryVerb(t *testing.T) {
	memory := keystore.NewMemory()
	directory, err := dir.Open(t.TempDir())
	require.NoError(t, err)
	for name, store := range map[string]keystore.KeyStore{"memory": memory, "directory": directory} {
		_, err := store.Create(t.Context(), secretRecord)
		require.NoError(t, err)
		type holder struct {
			store keystore.KeyStore // fmt asks no method of what is in an unexported field
		}
		byValue := reflect.ValueOf(store).Elem().Interface()
		for what, value := range map[string]any{
			"a pointer":           store,
			"a value":             byValue,
			"a slice":             []keystore.KeyStore{store},
			"a map":               map[string]any{"a": byValue},
			"an unexported field": holder{store},
			"a struct pointer":    &holder{store},
			"a reflect.Value":     reflect.ValueOf(store).Elem(),
		} {
			t.Run(name+" store as "+what, func(t *testing.T) {
				for _, verb := range "vTtbcdoOqxXUeEfFgGspw" {
					for _, flags := range []string{"", "+", "#", " ", "-80", "080", ".3", "# "} {
						assertNoSecret(t, fmt.Sprintf("%"+flags+string(verb), value))
					}
				}
				text, err := json.Marshal(value)
				require.NoError(t, err)
				assertNoSecret(t, string(text))
				var log bytes.Buffer
				slog.New(slog.NewTextHandler(&log, nil)).Info("opened", "store", value)
				slog.New(slog.NewJSONHandler(&log, nil)).Info("opened", "store", value)
				assertNoSecret(t, log.String())
			})
		}
	}
	type embedded struct{ store keystore.Memory }
	var zero embedded
	_, err = zero.store.Create(t.Context(), secretRecord)
	require.NoError(t, err)
	for _, format := range []string{"%v", "%+v", "%#v", "%d", "%x"} {
		assertNoSecret(t, fmt.Sprintf(format, &zero))
	}
}

func TestMemoryPrintsAndIsLoggedAsItsType(t *testing.T) {
	store := keystore.NewMemory()
	assert.Equal(t, "keystore.Memory keystore.Memory", fmt.Sprintf("%v %+v", store, store))
	assert.Equal(t, "keystore.Memory", store.LogValue().String())
	assert.Equal(t, "keystore.Memory", fmt.Sprint((*keystore.Memory)(nil)))
}

func TestRecordPrintsWhatItIs(t *testing.T) {
	assert.Equal(t, `{scope "default", name "key-1", version "7", created 2024-05-06T07:08:09Z, 7 bytes}`, fmt.Sprint(secretRecord))
}

func TestRecordIsLoggedWithoutItsData(t *testing.T) {
	for name, newHandler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			slog.New(newHandler(&log)).Info("read", "record", secretRecord, "pointer", &secretRecord,
				"records", []keystore.Record{secretRecord}, "map", map[string]*keystore.Record{"a": &secretRecord})
			assertNoSecret(t, log.String())
			assert.Contains(t, log.String(), "key-1")
		})
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("read", "record", secretRecord)
	assert.Contains(t, log.String(), `record.scope=default record.name=key-1 record.version=7 record.created=2024-05-06T07:08:09.000Z record.size=7`)
}

func TestRecordMarshalsToJSONWithoutItsData(t *testing.T) {
	text, err := json.Marshal([]any{secretRecord, &secretRecord, map[string]keystore.Record{"a": secretRecord}})
	require.NoError(t, err)
	assertNoSecret(t, string(text))
	assert.Contains(t, string(text), `"Name":"key-1"`)
}
