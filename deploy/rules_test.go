package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// rules is a file of recording rules or alerts.
type rules struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Record, Alert, Expr string
	For                 string
	Labels, Annotations map[string]string
}

func ruleFile(t *testing.T, name string) rules {
	t.Helper()
	var r rules
	decodeYAML(t, "deploy/prometheus/"+name, &r)
	if len(r.Groups) == 0 {
		t.Fatalf("%s has no group", name)
	}
	return r
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var all []rule
	for _, group := range ruleFile(t, "alerts.yml").Groups {
		all = append(all, group.Rules...)
	}
	return all
}

func TestRules(t *testing.T) {
	t.Parallel()
	made, jobs := madeMetrics(t), scrapeJobs(t)
	for _, file := range []string{"rules.yml", "alerts.yml"} {
		for _, group := range ruleFile(t, file).Groups {
			for _, rule := range group.Rules {
				for _, fault := range expressionFaults(rule.Expr, made, jobs) {
					t.Errorf("%s%s: %s", rule.Record, rule.Alert, fault)
				}
			}
		}
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, rule := range alerts(t) {
		if rule.Alert == "" || seen[rule.Alert] {
			t.Errorf("alert %q has no name, or one that is taken", rule.Alert)
		}
		seen[rule.Alert] = true
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s: severity %q, want critical or warning", rule.Alert, severity)
		}
		if rule.For == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			t.Errorf("%s: want for, summary and description, has %+v", rule.Alert, rule)
		}
		if want := "docs/runbook.md#" + strings.ToLower(rule.Alert); rule.Annotations["runbook"] != want {
			t.Errorf("%s: runbook %q, want %q", rule.Alert, rule.Annotations["runbook"], want)
		}
	}
	if len(seen) < 20 {
		t.Errorf("%d alerts, want the service's, Triton's, those of experiments and the collector's", len(seen))
	}
}

// TestRunbook: every alert has an entry, and every entry an alert.
func TestRunbook(t *testing.T) {
	t.Parallel()
	_, text, _ := strings.Cut(read(t, "docs/runbook.md"), "\n## ")
	entries := make(map[string]bool)
	for entry := range strings.SplitSeq(text, "\n## ") {
		name, _, _ := strings.Cut(entry, "\n")
		entries[strings.TrimSpace(name)] = true
	}
	for _, rule := range alerts(t) {
		if !entries[rule.Alert] {
			t.Errorf("docs/runbook.md has no entry for %s", rule.Alert)
		}
		delete(entries, rule.Alert)
	}
	for name := range entries {
		t.Errorf("docs/runbook.md has an entry %s, which is no alert", name)
	}
}

var (
	runbookQuery   = regexp.MustCompile(`--data-urlencode 'query=([^']+)'`)
	runbookSetting = regexp.MustCompile(`AGIQA_[A-Z_]+`)
	runbookService = regexp.MustCompile(`docker compose (?:ps|logs(?: --tail \d+| --since \w+)?) ([a-z][a-z -]*)`)
)

// TestRunbookIsOfThisService: its queries parse and name metrics that there are,
// its settings are the program's, and its services are those of compose.
func TestRunbookIsOfThisService(t *testing.T) {
	t.Parallel()
	text, made, jobs := read(t, "docs/runbook.md"), madeMetrics(t), scrapeJobs(t)
	var queries []string
	for _, query := range runbookQuery.FindAllStringSubmatch(text, -1) {
		queries = append(queries, query[1])
		for _, fault := range expressionFaults(query[1], made, jobs) {
			t.Errorf("docs/runbook.md: %s", fault)
		}
	}
	settings := append(knownSettings(), "AGIQA_ADMIN_KEY")
	for _, name := range runbookSetting.FindAllString(text, -1) {
		if !slices.Contains(settings, name) {
			t.Errorf("docs/runbook.md names %s, which is no setting", name)
		}
	}
	var services []string
	for _, profile := range profiles {
		services = append(services, load(t, "docker-compose.yml", secrets, profile).ServiceNames()...)
	}
	named := runbookService.FindAllStringSubmatch(text, -1)
	for _, list := range named {
		for name := range strings.FieldsSeq(list[1]) {
			if !slices.Contains(services, name) {
				t.Errorf("docs/runbook.md: %q: %s is none of the services %q", list[0], name, services)
			}
		}
	}
	if len(queries) < 20 || len(named) < 10 {
		t.Errorf("%d queries and %d services are named, want more: have the patterns of this test gone stale?", len(queries),
			len(named))
	}
	parse(t, queries)
}

// TestEveryAlertIsTested: in the files that promtool runs, each alert fires in
// one case at least, and keeps still in another.
func TestEveryAlertIsTested(t *testing.T) {
	t.Parallel()
	type counts struct{ fires, still int }
	tested := make(map[string]counts)
	alertName := regexp.MustCompile(`alertname="(\w+)"`)
	for _, file := range ruleTests(t) {
		var f struct {
			Tests []struct {
				Exprs []struct {
					Expr    string
					Samples []any `yaml:"exp_samples"`
				} `yaml:"promql_expr_test"`
			}
		}
		decodeYAML(t, "deploy/"+file, &f)
		for _, test := range f.Tests {
			for _, e := range test.Exprs {
				name := alertName.FindStringSubmatch(e.Expr)
				if name == nil {
					continue
				}
				c := tested[name[1]]
				if len(e.Samples) > 0 {
					c.fires++
				} else {
					c.still++
				}
				tested[name[1]] = c
			}
		}
	}
	for _, rule := range alerts(t) {
		if c := tested[rule.Alert]; c.fires == 0 || c.still == 0 {
			t.Errorf("%s fires in %d cases and keeps still in %d, want one of each at least", rule.Alert, c.fires, c.still)
		}
		delete(tested, rule.Alert)
	}
	for name := range tested {
		t.Errorf("%s is tested and is no alert", name)
	}
}

func ruleTests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("prometheus/tests/*_test.yml")
	if err != nil || len(files) < 2 {
		t.Fatalf("tests of rules = %q, %v", files, err)
	}
	return files
}

// promtool runs Prometheus' own tool. It is skipped under -short only.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs promtool; not under -short")
	}
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Fatal("promtool not found: apt-get install prometheus")
	}
	if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPrometheusTakesTheConfiguration(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "config", "prometheus/prometheus.yml")
}

// TestRulesByExample runs the cases in Prometheus' engine.
func TestRulesByExample(t *testing.T) {
	t.Parallel()
	for _, file := range ruleTests(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			promtool(t, "test", "rules", file)
		})
	}
}

// grafanaVariables stands for what Grafana fills in before it asks Prometheus.
var grafanaVariables = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")

func TestPrometheusParsesTheDashboards(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("grafana/dashboards/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded []string
	for _, file := range files {
		var d dashboard
		if err := json.Unmarshal([]byte(read(t, "deploy/"+file)), &d); err != nil {
			t.Fatal(err)
		}
		for _, panel := range d.Panels {
			for _, target := range panel.Targets {
				recorded = append(recorded, grafanaVariables.Replace(target.Expr))
			}
		}
	}
	if len(recorded) < 40 {
		t.Fatalf("%d expressions, want those of four dashboards", len(recorded))
	}
	parse(t, recorded)
}

// parse hands expressions to Prometheus' parser, as the rules that they would be.
func parse(t *testing.T, expressions []string) {
	t.Helper()
	type record struct{ Record, Expr string }
	var all []record
	for i, e := range expressions {
		all = append(all, record{fmt.Sprintf("expression_%d", i), e})
	}
	text, err := yaml.Marshal(map[string]any{"groups": []map[string]any{{"name": "expressions", "rules": all}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "expressions.yml")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}
