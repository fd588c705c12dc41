package etcd

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/meshpass/meshpass/keystore"
)

// writeError returns the error of a write so that it matches those of package keystore.
func writeError(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("%w: %w", keystore.ErrReadOnly, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("%w: %w, whose limit is its --max-request-bytes", keystore.ErrTooLarge, err)
	}
	return err
}
