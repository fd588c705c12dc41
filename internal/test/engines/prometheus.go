package engines

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Promtool returns the path of promtool, which checks rules of Prometheus. It skips the
// test if Prometheus is not installed.
func Promtool(tb testing.TB) string {
	tb.Helper()
	return ofPrometheus(tb, "promtool")
}

// StartPrometheus starts a Prometheus that scrapes a target, HOST:PORT, at an interval, and
// returns the URL of its API when that is ready. It is stopped when the test ends. StartPrometheus skips the
// test if Prometheus is not installed.
func StartPrometheus(tb testing.TB, target string, interval time.Duration) (url string) {
	tb.Helper()
	program, folder, address := ofPrometheus(tb, "prometheus"), tb.TempDir(), FreeAddress(tb)
	config := filepath.Join(folder, "prometheus.yml")
	check(tb, os.WriteFile(config, fmt.Appendf(nil, `
global: {scrape_interval: %s}
scrape_configs: [{job_name: meshpass, static_configs: [{targets: [%q]}]}]
`, interval, target), 0o644))
	server := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(folder, "data"),
		"--web.listen-address="+address, "--log.level=error")
	server.Stdout, server.Stderr = tb.Output(), tb.Output()
	check(tb, server.Start())
	tb.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get("http://" + address + "/-/ready")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return "http://" + address
			}
		}
		if time.Now().After(deadline) {
			tb.Fatalf("Prometheus is not ready after a minute: %v", err)
		}
	}
}

func ofPrometheus(tb testing.TB, program string) string {
	tb.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing(tb, "Prometheus is not installed: there is no "+program+" (Debian: apt-get install prometheus)")
	}
	return path
}
