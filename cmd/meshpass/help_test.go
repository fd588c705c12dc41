package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/help.golden anew")

// commands returns all commands that people see.
func commands(command *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{command}
	for _, c := range command.Commands() {
		if c.Name() != "help" && c.Name() != "completion" {
			list = append(list, commands(c)...)
		}
	}
	return list
}

func allCommands() []*cobra.Command {
	return commands((&app{now: time.Now}).rootCommand())
}

func TestHelpIsAsItWasReviewed(t *testing.T) {
	golden, err := filepath.Abs(filepath.Join("testdata", "help.golden"))
	require.NoError(t, err)
	c := newTool(t)
	var help []string
	for _, command := range allCommands() {
		path := strings.Fields(command.CommandPath())[1:]
		help = append(help, "$ meshpass help "+strings.Join(path, " ")+"\n"+c.done(append([]string{"help"}, path...)...)+"\n")
	}
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(strings.Join(help, "")), 0o644))
	}
	reviewed := c.read(golden)
	for _, of := range help { // command by command, so that a failure shows what is different
		require.Equal(t, reviewed[:min(len(of), len(reviewed))], of, "if this is wanted: go test -run Help -update")
		reviewed = reviewed[len(of):]
	}
	require.Empty(t, reviewed, "if this is wanted: go test -run Help -update")
}

func TestHelpIsThereForEveryCommandAndAnExampleForEveryRunnableOne(t *testing.T) {
	for _, command := range allCommands() {
		require.NotEmpty(t, command.Short, command.CommandPath())
		require.NotContains(t, command.Long+command.Example, "\t")
		if command.Runnable() && !command.HasSubCommands() {
			require.NotEmpty(t, command.Long, command.CommandPath())
			require.Contains(t, command.Example, command.CommandPath()+" ", "an example of %s", command.CommandPath())
		}
	}
}

var written = regexp.MustCompile(`(?m)--output (\S+)$`)

func TestHelpHasExamplesThatWork(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh to run them: " + err.Error())
	}
	binary, err := os.Executable()
	require.NoError(t, err)
	bin := t.TempDir()
	require.NoError(t, os.Symlink(binary, filepath.Join(bin, "meshpass")))

	c := newTool(t)
	c.done("keys", "add", "--first", "--mesh", "default")
	c.done("keys", "add", "--mesh", "default")
	c.done("keys", "add", "--first", "--zone-tokens")
	c.done("generate", "signing-key", "--format", "pem", "--output", "key.pem")
	c.done("generate", "public-key", "--signing-key-path", "key.pem", "--output", "key.pub")
	c.write("kms.key", c.done("generate", "signing-key"))
	c.done("generate", "public-key", "--signing-key-path", "kms.key", "--output", "kms.pem")
	c.done("generate", "dataplane-token", "--output", "dp-1.token")
	c.done("generate", "dataplane-token", "--signing-key-path", "key.pem", "--kid", "key-1", "--output", "offline.token")
	require.NoError(t, os.Mkdir("tokens", 0o700))
	c.done("generate", "dataplane-token", "--output", "tokens/dp-2")
	c.write("dp-1.yaml", "type: Dataplane\nmesh: default\nname: dp-1\n")
	prepared, err := os.Getwd()
	require.NoError(t, err)

	for _, command := range allCommands() {
		if command.Example == "" || command.Name() == "renew" { // renew needs a control plane
			continue
		}
		t.Run(command.CommandPath(), func(t *testing.T) {
			t.Chdir(t.TempDir())
			environment := []string{"PATH=" + bin + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME=" + t.TempDir()}
			if command.HasParent() { // that of the tool itself begins with nothing
				output, err := exec.CommandContext(t.Context(), "cp", "-Rp", prepared+"/.", ".").CombinedOutput()
				require.NoError(t, err, string(output))
				environment = append(environment, "MESHPASS_STORE=dir:./keys")
				for _, file := range written.FindAllStringSubmatch(command.Example, -1) {
					require.NoError(t, os.RemoveAll(file[1]))
				}
			}
			script := exec.CommandContext(t.Context(), sh, "-e")
			script.Stdin = strings.NewReader(command.Example)
			script.Env = environment
			output, err := script.CombinedOutput()
			require.NoError(t, err, string(output))
		})
	}
}

func TestCompletionKnowsCommandsFlagsAndValues(t *testing.T) {
	c := newTool(t)
	for line, want := range map[string][]string{
		"":                                       {"generate", "renew", "inspect", "check", "keys", "revocations", "cutoffs", "backup", "restore", "import", "export"},
		"generate ":                              {"dataplane-token", "public-key", "signing-key", "zone-token"},
		"generate dataplane-token --sig":         {"--signing-key-path"},
		"keys list --con":                        {"--control-plane"},
		"generate signing-key --format ":         {"pem", "pem-base64"},
		"generate signing-key --bits ":           {"2048", "3072", "4096"},
		"generate zone-token --scope ":           {"cp", "ingress", "egress"},
		"generate dataplane-token --proxy-type ": {"dataplane", "ingress", "egress"},
		"inspect --for ":                         {"kuma-2.10", "kuma-2.14", "kuma-3.0"},
		"check --for ":                           {"kuma-2.10", "kuma-2.14", "kuma-3.0"},
		"export --namespace ":                    {"kuma-system", "kong-mesh-system"},
		"keys list --store ":                     {"dir:", "postgres://", "etcd://", "kubernetes://"},
	} {
		words := strings.Split(line, " ")
		var got []string
		for suggestion := range strings.Lines(c.done(append([]string{"__complete"}, words...)...)) {
			word, about, _ := strings.Cut(strings.TrimSpace(suggestion), "\t")
			require.NotContains(t, about, "`")
			got = append(got, word)
		}
		require.Subset(t, got, want, line)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		require.Contains(t, c.done("completion", shell), "meshpass")
	}
}
