package token_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/token"
)

func TestClassOfAnErrorSaysWhatItMeansForThePeer(t *testing.T) {
	for _, c := range []struct {
		err    error
		class  token.Class
		text   string
		status int
	}{
		{nil, token.Unclassified, "unclassified", 500},
		{errors.New("disk full"), token.Unclassified, "unclassified", 500},
		{token.ErrNotIssuable, token.Unclassified, "unclassified", 500},
		{token.ErrMalformed, token.Invalid, "invalid", 401},
		{token.ErrSignature, token.Invalid, "invalid", 401},
		{token.ErrRevoked, token.Invalid, "invalid", 401},
		{fmt.Errorf("wrapped: %w", token.ErrExpired), token.Invalid, "invalid", 401},
		{token.ErrScope, token.NotPermitted, "not permitted", 403},
		{fmt.Errorf("wrapped: %w", token.ErrNotPermitted), token.NotPermitted, "not permitted", 403},
		{token.ErrUnavailable, token.Unavailable, "unavailable", 503},
		{token.ErrClosed, token.Unavailable, "unavailable", 503},
		{errors.Join(token.ErrUnavailable, token.ErrRevoked), token.Invalid, "invalid", 401},
	} {
		t.Run(fmt.Sprint(c.err), func(t *testing.T) {
			class := token.ClassOf(c.err)
			assert.Equal(t, c.class, class)
			assert.Equal(t, c.text, class.String())
			assert.Equal(t, c.status, class.HTTPStatus())
		})
	}
}
