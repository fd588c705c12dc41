package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/httpapi"
)

var errNoRights = fmt.Errorf("opening the record: %w", errors.Join(fs.ErrPermission))

func TestHandlerRefusesNamesThatAPersonCannotTypeAndNamesTheField(t *testing.T) {
	w := newWorld(t)
	for path, fields := range map[string]map[string]string{
		"/tokens/dataplane": {
			"mesh":                       `{"mesh":%s}`,
			"name":                       `{"mesh":"default","name":%s}`,
			"type":                       `{"mesh":"default","type":%s}`,
			"workload":                   `{"mesh":"default","workload":%s}`,
			"tags":                       `{"mesh":"default","tags":{"a":["1"],%s:["2"]}}`,
			`tags["kuma.io/service"][1]`: `{"mesh":"default","tags":{"kuma.io/service":["1",%s]}}`,
		},
		"/tokens/zone": {
			"zone":     `{"zone":%s,"scope":["cp"]}`,
			"scope[1]": `{"zone":"west","scope":["cp",%s]}`,
		},
	} {
		for field, body := range fields {
			for name, says := range map[string]string{
				"dp-1\x00": `"dp-1\x00" has U+0000 at byte 4`, "dp\n": `"dp\n" has U+000A at byte 2`, "dp-1 ": `"dp-1 " starts or ends with a space`,
				" dp": "starts or ends with a space", "dp\u00a0": `"dp\u00a0" has U+00A0`, "d\u200bp": "U+200B", "\u202edp": "U+202E", "\ufeffdp": "U+FEFF",
			} {
				if field == "mesh" {
					says = "unusable name" // a store takes fewer names than a token
				}
				quoted, err := json.Marshal(name)
				require.NoError(t, err)
				answer, text := w.do(t, "POST", path, fmt.Sprintf(body, quoted))
				require.Equal(t, 400, answer.StatusCode, "%s %q: %s", field, name, text)
				var e httpapi.Error
				require.NoError(t, json.Unmarshal([]byte(text), &e))
				assert.Equal(t, "Invalid request", e.Title)
				require.NotEmpty(t, e.InvalidParameters, text)
				assert.Equal(t, field, e.InvalidParameters[0].Field)
				assert.Contains(t, e.InvalidParameters[0].Reason, says)
			}
		}
	}
	assert.Zero(t, w.issued())
	assert.Empty(t, w.asked.all())
	answer, text := w.do(t, "POST", "/tokens/dataplane", `{"mesh":"default","name":"größe 1"}`)
	assert.Equal(t, 200, answer.StatusCode, text)
}
