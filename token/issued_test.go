package token_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

func TestIssuedIsPrintedLoggedAndMarshalledWithoutTheToken(t *testing.T) {
	issued := token.Issued{Token: "the.secret.token", ID: "id-1", KeyID: "7", ExpiresAt: time.Unix(1_900_000_000, 0).UTC()}
	texts := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts[verb] = fmt.Sprintf(verb, issued)
		texts[verb+" of a pointer"] = fmt.Sprintf(verb, &issued)
		texts[verb+" of a slice"] = fmt.Sprintf(verb, []token.Issued{issued})
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("issued", "what", issued)
	texts["log"] = log.String()
	data, err := json.Marshal(issued)
	require.NoError(t, err)
	texts["JSON"] = string(data)
	data, err = xml.Marshal(issued)
	require.NoError(t, err)
	texts["XML"] = string(data)
	for how, text := range texts {
		assert.NotContains(t, text, "secret", how)
		for _, part := range []string{"id-1", "7", "2030-03-17T17:46:40Z"} {
			assert.Contains(t, text, part, how)
		}
	}
}
