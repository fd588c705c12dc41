package grpcauth_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheInterceptorsNeedNoCodeOfEnvoys(t *testing.T) {
	list, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	assert.Contains(t, string(list), "google.golang.org/grpc")
	assert.NotContains(t, string(list), "envoyproxy")
}
