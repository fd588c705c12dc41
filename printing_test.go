package meshpass_test

import (
	"bytes"
	"context"
	"encoding"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	htmltemplate "html/template"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/keystore/sealed"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// printedSecret is what all values of this test hold. It has 32 bytes, as a key that
// encrypts keys.
const printedSecret = "S3CR3T-of-32-bytes-to-be-hidden!"

// printed are the values that hold a secret, by the column of SECURITY.md.
func printed(t *testing.T) map[string][]any {
	t.Helper()
	record := keystore.Record{Scope: "default", Name: "key-1", Data: []byte(printedSecret)}
	sealer, err := sealed.NewAESGCM([]byte(printedSecret))
	require.NoError(t, err)
	directory, err := dir.Open(t.TempDir())
	require.NoError(t, err)
	inner := keystore.NewMemory()
	seal, err := sealed.New(inner, sealer)
	require.NoError(t, err)
	for _, store := range []keystore.KeyStore{keystore.NewMemory(), directory, seal} {
		_, err = store.Create(t.Context(), record)
		require.NoError(t, err)
	}
	memory := keystore.NewMemory()
	_, err = memory.Create(t.Context(), record)
	require.NoError(t, err)
	client, err := httpapi.NewClient("https://localhost", nil, httpapi.WithBearer(func(context.Context) (string, error) { return printedSecret, nil }))
	require.NoError(t, err)
	settings := config.Default()
	settings.DataplaneRuntime.Token = config.NewSecret(printedSecret)
	return map[string][]any{
		"`keystore.Record`": {record},
		"`token.Issued`":    {token.Issued{Token: printedSecret, ID: "id", KeyID: "1", ExpiresAt: time.Unix(1, 0)}},
		"the others": {sealer, *sealer, memory, directory, seal, client, config.NewSecret(printedSecret), settings,
			keystore.Failed("get", "default", "key-1", keystore.ErrNotFound)},
	}
}

// printsSecret reports whether a text has the secret, in any of the forms in which bytes
// are printed.
func printsSecret(text string) bool {
	secret := []byte(printedSecret)
	decimal := strings.Trim(fmt.Sprint(secret), "[]")
	dump := strings.TrimSpace(hex.Dump(secret[:8])[10:33])
	for _, form := range []string{
		printedSecret[:8], base64.StdEncoding.EncodeToString(secret)[:12], hex.EncodeToString(secret)[:16], strings.ToUpper(hex.EncodeToString(secret))[:16],
		decimal[:20], strings.ReplaceAll(decimal, " ", ", ")[:20], fmt.Sprintf("%#v", secret[:3])[7:18], dump,
	} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

// recording is a test that testify may fail.
type recording struct{ strings.Builder }

func (r *recording) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

// Formats that go vet refuses if they are constant.
var tooFew, misused = strings.Clone("extra"), strings.Clone("%p %w %+p %#w")

// ways prints a value in each way that SECURITY.md has a row for.
var ways = map[string]func(t *testing.T, value any) string{
	"`fmt`, every verb but `%p` and `%w`": func(_ *testing.T, v any) string {
		var out strings.Builder
		for _, verb := range "vTtbcdoOqxXUeEfFgGsz" {
			for _, flags := range []string{"", "+", "#", " "} {
				for _, holder := range []any{v, &v, []any{v}, map[string]any{"a": v}, struct{ V any }{v}, &struct{ V any }{v}} {
					fmt.Fprintf(&out, "%"+flags+string(verb)+"\n", holder)
				}
			}
		}
		fmt.Fprint(&out, fmt.Errorf("wrapped: %v", v), fmt.Sprintf(tooFew, v))
		return out.String()
	},
	"`fmt`, `%p` and `%w`": func(_ *testing.T, v any) string {
		return fmt.Sprintf(misused, v, v, v, v)
	},
	"`fmt`, in an unexported field": func(_ *testing.T, v any) string {
		return fmt.Sprintf("%v %+v %#v", struct{ v any }{v}, struct{ v any }{v}, struct{ v []any }{[]any{v}})
	},
	"`log/slog`, text and JSON": func(_ *testing.T, v any) string {
		var out bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("m", "v", v, "list", []any{v}, "group", slog.GroupValue(slog.Any("v", v)), "struct", struct{ V any }{v})
		}
		return out.String()
	},
	"`encoding/json`": func(_ *testing.T, v any) string { out, _ := json.Marshal([]any{v, &v}); return string(out) },
	"`encoding/xml`":  func(_ *testing.T, v any) string { out, _ := xml.Marshal(v); return string(out) },
	"YAML":            func(_ *testing.T, v any) string { return byTags(reflect.ValueOf(v)) },
	"`encoding/gob`": func(_ *testing.T, v any) string {
		var out bytes.Buffer
		_ = gob.NewEncoder(&out).Encode(v)
		return out.String()
	},
	"`text/template` and `html/template`, the value": func(t *testing.T, v any) string {
		var out strings.Builder
		require.NoError(t, template.Must(template.New("").Parse("{{.}} {{printf \"%+v %#v\" . .}}")).Execute(&out, v))
		_ = htmltemplate.Must(htmltemplate.New("").Parse("{{.}} <script>var x = {{.}}</script>")).Execute(&out, v)
		return out.String()
	},
	"`testify`, the difference of two values": func(_ *testing.T, v any) string {
		var out recording
		assert.Equal(&out, fmt.Sprintf("%T", v), v)
		assert.Equal(&out, zeroOf(v), v)
		return out.String()
	},
	"a panic with the value": func(t *testing.T, v any) string {
		command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		command.Env = append(os.Environ(), panicWith+"="+fmt.Sprintf("%T", v))
		out, err := command.CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), "panic: ")
		return string(out)
	},
}

// byTags prints a value as libraries for YAML do, none of which this module imports: the
// exported fields without the tag "-", and texts of what can marshal itself.
func byTags(v reflect.Value) string {
	if v.IsValid() && v.CanInterface() {
		if m, ok := v.Interface().(encoding.TextMarshaler); ok {
			text, _ := m.MarshalText()
			return string(text)
		}
	}
	out := ""
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return byTags(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("yaml") != "-" {
				out += byTags(v.Field(i)) + "\n"
			}
		}
	case reflect.String, reflect.Slice:
		out = fmt.Sprint(v)
	}
	return out
}

// zeroOf returns a value of the same type, so that testify compares the two.
func zeroOf(v any) any {
	switch v.(type) {
	case keystore.Record:
		return keystore.Record{}
	case token.Issued:
		return token.Issued{}
	case config.Config:
		return config.Config{}
	case sealed.AESGCM:
		return sealed.AESGCM{}
	}
	return nil
}

// panicWith is the variable that makes a process of this test panic with a value of a type.
const panicWith = "MESHPASS_PANIC_WITH"

func TestSecurityNamesEveryWayInWhichASecretIsPrinted(t *testing.T) {
	values := printed(t)
	if with := os.Getenv(panicWith); with != "" {
		for _, v := range slices.Concat(slices.Collect(maps.Values(values))...) {
			if fmt.Sprintf("%T", v) == with {
				panic(v)
			}
		}
	}
	text, err := os.ReadFile("SECURITY.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(text), "| printed by |")
	require.True(t, found)
	header, rows, _ := strings.Cut(table, "\n")
	columns := strings.Split(strings.Trim(header, " |"), " | ")
	require.Len(t, columns, len(values))
	seen := 0
	for row := range strings.Lines(rows) {
		cells := strings.Split(strings.Trim(row, " |\n"), " | ")
		if len(cells) != 1+len(columns) {
			if strings.HasPrefix(row, "|--") {
				continue
			}
			break
		}
		seen++
		print, known := ways[cells[0]]
		require.True(t, known, "the row %q has no way here", cells[0])
		for i, column := range columns {
			says := map[string]bool{"no": false, "**yes**": true}
			want, ok := says[cells[1+i]]
			require.True(t, ok, row)
			prints := false
			for _, v := range values[column] {
				if out := print(t, v); printsSecret(out) {
					prints = true
					assert.True(t, want, "%s prints a %T", cells[0], v)
				}
			}
			assert.Equal(t, want, prints, "%s, %s", cells[0], column)
		}
	}
	assert.Equal(t, len(ways), seen, "the table has all ways")
}

func TestPrivateKeyIsPrintedInNoWay(t *testing.T) {
	key, err := signing.Generate(signing.DefaultBits)
	require.NoError(t, err)
	data, err := key.PEM()
	require.NoError(t, err)
	line := strings.Split(string(data), "\n")[5]
	der, err := base64.StdEncoding.DecodeString(line)
	require.NoError(t, err)
	for way, print := range ways {
		if strings.HasPrefix(way, "a panic") {
			continue // it prints types and addresses
		}
		for _, v := range []any{key, *key, struct{ Key *signing.PrivateKey }{key}} {
			out := print(t, v)
			for _, form := range []string{line[:20], hex.EncodeToString(der)[:20], strings.Trim(fmt.Sprint(der), "[]")[:40]} {
				require.NotContains(t, out, form, way)
			}
		}
	}
}
