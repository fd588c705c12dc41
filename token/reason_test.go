package token_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

func TestEachErrorHasItsReasonAndTheReasonItsClass(t *testing.T) {
	for err, want := range map[error]string{
		token.ErrMalformed: "malformed", token.ErrHeader: "header", token.ErrUnknownKey: "unknown_key",
		token.ErrSignature: "signature", token.ErrIssuer: "issuer", token.ErrAudience: "audience",
		token.ErrClaims: "claims", token.ErrKind: "kind", token.ErrScope: "scope",
		token.ErrRevoked: "revoked", token.ErrExpired: "expired", token.ErrNotYetValid: "not_yet_valid",
		token.ErrLifetime: "lifetime", token.ErrInvalid: "invalid", token.ErrNotPermitted: "not_permitted",
		token.ErrUnavailable: "unavailable", token.ErrClosed: "closed", token.ErrNotIssuable: "not_issuable",
		token.ErrIssuingDisabled: "issuing_disabled", token.ErrDenied: "denied",
	} {
		wrapped := fmt.Errorf("mesh %q: %w", "default", err)
		assert.Equal(t, want, token.ReasonOf(wrapped).String())
		assert.Equal(t, token.ClassOf(wrapped), token.ReasonOf(wrapped).Class(), want)
	}
	assert.Equal(t, token.ReasonNone, token.ReasonOf(nil))
	assert.Equal(t, token.ReasonOther, token.ReasonOf(os.ErrNotExist))
}

func TestADefiniteReasonOutranksAnUndeterminedOne(t *testing.T) {
	assert.Equal(t, token.ReasonRevoked, token.ReasonOf(fmt.Errorf("%w: %w", token.ErrUnavailable, token.ErrRevoked)))
}

func TestNoErrorOfThePackageIsWithoutAReason(t *testing.T) {
	table, err := os.ReadFile("reason.go")
	require.NoError(t, err)
	file, err := parser.ParseFile(gotoken.NewFileSet(), "errors.go", nil, 0)
	require.NoError(t, err)
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Err") {
			found++
			assert.Contains(t, string(table), spec.Names[0].Name+"}")
		}
		return true
	})
	assert.Greater(t, found, 15)
}

func TestAReasonOfALaterVersionHasAName(t *testing.T) {
	assert.Equal(t, "other", token.Reason(1000).String())
	assert.Equal(t, "other", token.Reason(-1).String())
}
