package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/kubernetes/scheme"
)

// understands fails the test unless the tool has the command and all of its flags.
func understands(t *testing.T, args ...string) {
	t.Helper()
	command, rest, err := (&app{now: time.Now}).rootCommand().Find(args)
	require.NoError(t, err)
	require.NoError(t, command.ParseFlags(rest), "%v", args)
	require.True(t, command.Runnable(), "%v", args)
	require.NoError(t, command.Args(command, command.Flags().Args()), "%v", args)
}

func TestTheServiceOfSystemdIsOneThatSystemdUnderstands(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("renew", "meshpass-renew.service"))
	require.NoError(t, err)
	unit := strings.ReplaceAll(string(content), "\\\n", " ")
	line := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/meshpass (.*)$`).FindStringSubmatch(unit)
	require.NotNil(t, line)
	args := strings.Fields(line[1])
	understands(t, args...)
	require.Equal(t, "renew", args[0])
	require.Contains(t, unit, "\nReadWritePaths="+filepath.Dir(args[1])+"\n", "the folder of the token")

	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("the rest needs systemd-analyze: " + err.Error())
	}
	binary, err := os.Executable()
	require.NoError(t, err)
	here := filepath.Join(t.TempDir(), "meshpass-renew.service")
	require.NoError(t, os.WriteFile(here, []byte(strings.ReplaceAll(string(content), "/usr/local/bin/meshpass", binary)), 0o600))
	output, err := exec.CommandContext(t.Context(), analyze, "verify", here).CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Empty(t, string(output))
}

func TestTheDeploymentIsOneThatKubernetesUnderstands(t *testing.T) {
	manifest, err := os.ReadFile(filepath.Join("renew", "deployment.yaml"))
	require.NoError(t, err)
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(manifest, nil, nil)
	require.NoError(t, err)
	understood, err := json.Marshal(object)
	require.NoError(t, err)
	var tree any
	require.NoError(t, yaml.Unmarshal(manifest, &tree))
	written, err := json.Marshal(tree)
	require.NoError(t, err)
	requireWithin(t, decoded(t, written), decoded(t, understood), "")

	type container struct {
		Name, RestartPolicy string
		Command, Args       []string
	}
	var deployment struct {
		Spec struct {
			Template struct {
				Spec struct{ InitContainers []container }
			}
		}
	}
	require.NoError(t, json.Unmarshal(written, &deployment))
	containers := deployment.Spec.Template.Spec.InitContainers
	require.Len(t, containers, 2)
	for _, c := range containers {
		require.Equal(t, []string{"meshpass"}, c.Command)
		understands(t, c.Args...)
	}
	require.Contains(t, containers[0].Args, "--output="+containers[1].Args[1], "the sidecar renews the token that was issued")
	require.Equal(t, "Always", containers[1].RestartPolicy)
}

func decoded(t *testing.T, data []byte) (tree any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(data, &tree))
	return tree
}

// requireWithin fails the test if written has a field that understood has not.
func requireWithin(t *testing.T, written, understood any, path string) {
	t.Helper()
	switch w := written.(type) {
	case map[string]any:
		u, _ := understood.(map[string]any)
		for name, value := range w {
			require.Contains(t, u, name, "%s: Kubernetes knows no such field", path)
			requireWithin(t, value, u[name], path+"."+name)
		}
	case []any:
		u, _ := understood.([]any)
		require.Len(t, u, len(w), path)
		for i := range w {
			requireWithin(t, w[i], u[i], path)
		}
	default:
		require.Equal(t, written, understood, path)
	}
}
