package engines_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
)

func TestAFreeAddressIsGivenOnce(t *testing.T) {
	given := map[string]bool{}
	for range 300 {
		address := engines.FreeAddress(t)
		require.False(t, given[address], "%s is given twice", address)
		given[address] = true
	}
}
