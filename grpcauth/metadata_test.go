package grpcauth_test

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	"github.com/meshpass/meshpass/grpcauth"
)

func TestATokenIsReadFromMetadata(t *testing.T) {
	const raw = "aaa.bbb.ccc"
	for name, value := range map[string]string{
		"bare":                           raw,
		"after Bearer":                   "Bearer " + raw,
		"after bearer in lower case":     "bearer " + raw,
		"after bearer in any mixed case": "bEaReR " + raw,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := grpcauth.TokenFromMetadata(incoming("authorization", value))
			require.NoError(t, err)
			assert.Equal(t, raw, got)
		})
	}
}

func TestMetadataInAnotherFormIsRefusedWithoutShowingIt(t *testing.T) {
	for name, ctx := range map[string]context.Context{
		"no metadata":             context.Background(),
		"no value":                incoming("client-id", "west"),
		"an empty value":          incoming("authorization", ""),
		"two values":              incoming("authorization", "aaa.bbb.ccc", "authorization", "aaa.bbb.ccc"),
		"Bearer and nothing":      incoming("authorization", "Bearer"),
		"Bearer and a space":      incoming("authorization", "Bearer "),
		"Bearer and two spaces":   incoming("authorization", "Bearer  aaa.bbb.ccc"),
		"Bearer twice":            incoming("authorization", "Bearer Bearer aaa.bbb.ccc"),
		"a space before":          incoming("authorization", " aaa.bbb.ccc"),
		"a space after":           incoming("authorization", "aaa.bbb.ccc "),
		"Basic":                   incoming("authorization", "Basic aaa.bbb.ccc"),
		"a tab for the space":     incoming("authorization", "Bearer\t aaa.bbb.ccc"),
		"the token as the scheme": incoming("authorization", "aaa.bbb.ccc Bearer"),
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := grpcauth.TokenFromMetadata(ctx)
			require.ErrorIs(t, err, grpcauth.ErrUnauthenticated)
			assert.Empty(t, raw)
			assert.NotContains(t, err.Error(), "aaa")
		})
	}
}

// The rule in other words: one word that is not "Bearer", byte for byte, alone or after
// "Bearer" and a space.
func FuzzWhatIsReadFromMetadataIsOneWordOfIt(f *testing.F) {
	for _, value := range []string{"Bearer aaa.bbb.ccc", "bEARER aaa.bbb.ccc", "aaa.bbb.ccc", "", "Bearer", "bearer bearer", "Bearer  a", " a", "a ", "Bearer\ta", "Basic a"} {
		f.Add(value)
	}
	one := regexp.MustCompile(`\A(?:[Bb][Ee][Aa][Rr][Ee][Rr] )?([^ ]+)\z`)
	f.Fuzz(func(t *testing.T, value string) {
		want := ""
		if match := one.FindStringSubmatch(value); match != nil && !strings.EqualFold(match[1], "bearer") {
			want = match[1]
		}
		raw, err := grpcauth.TokenFromMetadata(incoming("authorization", value))
		require.Equal(t, want, raw)
		if want == "" {
			require.ErrorIs(t, err, grpcauth.ErrUnauthenticated)
			return
		}
		require.NoError(t, err)
	})
}

func incoming(pairs ...string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(pairs...))
}
