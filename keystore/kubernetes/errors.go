package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshpass/meshpass/keystore"
)

// failed is keystore.Failed with what the error means.
func failed(ctx context.Context, op string, scope keystore.Scope, name string, err error) error {
	return keystore.Failed(op, scope, name, translate(ctx, err))
}

// translate adds what every method says of an error.
func translate(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%w: %w", ctx.Err(), err) // whatever the client made of it
	case forbidden(err):
		return fmt.Errorf("%w: %w", keystore.ErrReadOnly, err)
	}
	return err
}

// notFound reports whether the API server says that there is no such Secret. The
// client takes every 404 for that, such as one of a proxy with nothing behind it.
func notFound(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// forbidden reports whether the user may not write. Admission, quotas and a
// namespace that is terminating are answered with 403 too, but only the
// authorization of the API server says: User "u" cannot create resource "secrets".
func forbidden(err error) bool {
	if !apierrors.IsForbidden(err) {
		return false
	}
	for _, verb := range []string{"create", "update", "delete"} {
		if strings.Contains(err.Error(), "cannot "+verb+` resource "secrets"`) {
			return true
		}
	}
	return false
}
