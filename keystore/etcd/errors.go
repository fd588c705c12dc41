package etcd

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/meshpass/meshpass/keystore"
)

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
