package etcd

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/meshpass/meshpass/keystore"
)

// failed says which record an error is about.
func failed(doing string, scope keystore.Scope, name string, err error) error {
	if err == keystore.ErrNotFound || err == keystore.ErrExists || err == keystore.ErrConflict {
		return fmt.Errorf("%w: %s", err, describe(scope, name))
	}
	return fmt.Errorf("etcd: cannot %s %s: %w", doing, describe(scope, name), err)
}

func cannotList(scope keystore.Scope, err error) error {
	switch scope {
	case keystore.AllScopes:
		return fmt.Errorf("etcd: cannot list all scopes: %w", err)
	case keystore.Global:
		return fmt.Errorf("etcd: cannot list the global scope: %w", err)
	}
	return fmt.Errorf("etcd: cannot list scope %q: %w", string(scope), err)
}

func describe(scope keystore.Scope, name string) string {
	if scope == keystore.Global {
		return fmt.Sprintf("%q in the global scope", name)
	}
	return fmt.Sprintf("%q in scope %q", name, string(scope))
}

// writeError gives refusals of a write their names in the contract.
func writeError(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("%w: %w", keystore.ErrReadOnly, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("%w: %w, whose limit is its --max-request-bytes", keystore.ErrTooLarge, err)
	}
	return err
}
