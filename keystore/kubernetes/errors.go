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

// failedWrite is failed for a write. Its error matches keystore.ErrEmpty if the record has
// no data and the API server calls the Secret invalid: the store writes no Secret that the
// API server refuses by itself, so that is an admission webhook, such as Kuma's.
func failedWrite(ctx context.Context, op string, r keystore.Record, err error) error {
	if len(r.Data) == 0 && apierrors.IsInvalid(err) {
		err = fmt.Errorf("%w: %w", keystore.ErrEmpty, err)
	}
	return failed(ctx, op, r.Scope, r.Name, err)
}

// failed is keystore.Failed after translate.
func failed(ctx context.Context, op string, scope keystore.Scope, name string, err error) error {
	return keystore.Failed(op, scope, name, translate(ctx, err))
}

// translate returns err so that it matches the error of the context if that has ended,
// and keystore.ErrReadOnly if the user may not write.
func translate(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%w: %w", ctx.Err(), err) // the client may report it in another way
	case forbidden(err):
		return fmt.Errorf("%w: %w", keystore.ErrReadOnly, err)
	}
	return err
}

// notFound reports whether the API server says that there is no such Secret. The client
// reports every 404 so, even that of a proxy without an API server behind it.
func notFound(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// changed reports whether an update was refused since the Secret has changed. The API
// server also answers with 409 for what an update changes beside it, such as a quota.
func changed(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details == nil || details.Kind == "" || details.Kind == "secrets"
}

// forbidden reports whether the user may not write. The API server also answers with 403
// for admission, quotas and a namespace that is terminating, but only its authorization
// says: User "u" cannot create resource "secrets".
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
