package prommetrics_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/metrics/prommetrics"
)

func TestTheAlertsFireWhenTheyShouldAndNotBefore(t *testing.T) {
	promtool := engines.Promtool(t)
	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml"},
		{"test", "rules", "testdata/alerts_test.yaml"},
	} {
		out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput()
		require.NoError(t, err, "promtool %s: %s", strings.Join(args, " "), out)
	}
}

func TestEachAlertHasATest(t *testing.T) {
	rules, err := os.ReadFile("alerts.yaml")
	require.NoError(t, err)
	tests, err := os.ReadFile("testdata/alerts_test.yaml")
	require.NoError(t, err)
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1)
	require.NotEmpty(t, alerts)
	for _, alert := range alerts {
		assert.Regexp(t, `alertname: `+alert[1]+`\n +exp_alerts`, string(tests))
	}
}

// names returns the names of all metrics, with those of the histograms' series.
func names(t *testing.T) map[string]bool {
	t.Helper()
	descs := make(chan *prometheus.Desc, 100)
	prommetrics.New().Describe(descs)
	close(descs)
	all := map[string]bool{}
	for desc := range descs {
		name := regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(desc.String())[1]
		all[name] = true
		if strings.HasSuffix(name, "_duration_seconds") {
			all[name+"_bucket"], all[name+"_sum"], all[name+"_count"] = true, true, true
		}
	}
	require.Greater(t, len(all), 15)
	return all
}

func TestTheAlertsAndTheDashboardUseMetricsThatThereAre(t *testing.T) {
	all := names(t)
	for _, file := range []string{"alerts.yaml", "dashboard.json", "testdata/alerts_test.yaml"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		used := regexp.MustCompile(`\bmeshpass_\w+`).FindAllString(string(text), -1)
		require.NotEmpty(t, used)
		for _, name := range used {
			assert.True(t, all[name], "%s: there is no metric %s", file, name)
		}
	}
}
