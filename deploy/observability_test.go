package deploy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"go.yaml.in/yaml/v3"

	"github.com/agiqa/agiqa/internal/metrics"
)

// foreignMetrics are those of other programs that alerts and dashboards use, as
// Triton's and the collector's documentation name them.
var foreignMetrics = []string{
	"nv_inference_request_success", "nv_inference_request_failure", "nv_inference_count",
	"nv_inference_exec_count", "nv_inference_request_duration_us", "nv_inference_queue_duration_us",
	"nv_inference_compute_input_duration_us",
	"nv_inference_compute_infer_duration_us", "nv_inference_compute_output_duration_us",
	"nv_inference_pending_request_count", "nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes",
	"otelcol_exporter_send_failed_spans_total", "otelcol_exporter_sent_spans_total",
	"otelcol_receiver_refused_spans_total", "otelcol_receiver_accepted_spans_total",
	"up",
}

// ports are the ones that services listen on inside the network.
var ports = map[string][]string{
	"gateway":        {"8080", "8081"},
	"triton":         {"8001", "8002"},
	"redis":          {"6379"},
	"postgres":       {"5432"},
	"otel-collector": {"4317", "4318", "8888"},
	"jaeger":         {"4317", "4318", "8888", "16686"},
	"prometheus":     {"9090"},
	"grafana":        {"3000"},
}

type collectorConfig struct {
	Receivers  map[string]any
	Processors map[string]any
	Exporters  map[string]struct{ Endpoint string }
	Extensions map[string]any
	Service    struct {
		Extensions []string
		Pipelines  map[string]struct{ Receivers, Processors, Exporters []string }
	}
}

func TestCollector(t *testing.T) {
	t.Parallel()
	var c collectorConfig
	decodeYAML(t, "deploy/otel-collector.yaml", &c)
	if len(c.Service.Pipelines) == 0 {
		t.Fatal("the collector has no pipeline")
	}
	var receivers, processors, exporters []string
	for name, p := range c.Service.Pipelines {
		receivers = append(receivers, p.Receivers...)
		processors = append(processors, p.Processors...)
		exporters = append(exporters, p.Exporters...)
		if len(p.Processors) == 0 || p.Processors[0] != "memory_limiter" {
			t.Errorf("pipeline %s: processors %q, want memory_limiter first", name, p.Processors)
		}
		if last := len(p.Processors) - 1; last < 0 || p.Processors[last] != "batch" {
			t.Errorf("pipeline %s: processors %q, want batch last", name, p.Processors)
		}
	}
	sameNames(t, "receivers", c.Receivers, receivers)
	sameNames(t, "processors", c.Processors, processors)
	sameNames(t, "exporters", c.Exporters, exporters)
	sameNames(t, "extensions", c.Extensions, c.Service.Extensions)
	for name, exporter := range c.Exporters {
		// ${env:NAME:-DEFAULT}: compose sets no NAME.
		endpoint := regexp.MustCompile(`^\$\{env:\w+:-(.*)\}$`).ReplaceAllString(exporter.Endpoint, "$1")
		checkEndpoint(t, "exporter "+name, endpoint)
	}
}

// TestCollectorKeepsWhatMatters: errors, what the latency objective calls slow,
// and changes are kept whole; of the rest a share.
func TestCollectorKeepsWhatMatters(t *testing.T) {
	t.Parallel()
	type attribute struct {
		Key    string
		Values []string
		Regex  bool `yaml:"enabled_regex_matching"`
	}
	type policy struct {
		Name, Type string
		StatusCode struct {
			Codes []string `yaml:"status_codes"`
		} `yaml:"status_code"`
		Latency struct {
			ThresholdMS int `yaml:"threshold_ms"`
		}
		Probabilistic struct {
			Percentage float64 `yaml:"sampling_percentage"`
		}
		And struct {
			Policies []struct {
				Attribute attribute `yaml:"string_attribute"`
			} `yaml:"and_sub_policy"`
		}
	}
	var c struct {
		Processors struct {
			TailSampling struct {
				Wait     string `yaml:"decision_wait"`
				Policies []policy
			} `yaml:"tail_sampling"`
		}
	}
	decodeYAML(t, "deploy/otel-collector.yaml", &c)
	by := make(map[string]policy)
	for _, p := range c.Processors.TailSampling.Policies {
		by[p.Type] = p
	}
	if !slices.Contains(by["status_code"].StatusCode.Codes, "ERROR") {
		t.Errorf("no policy keeps errors: %+v", by)
	}
	if ms := by["latency"].Latency.ThresholdMS; ms != 1000 {
		t.Errorf("slow begins at %d ms, want the second of the latency objective", ms)
	}
	if share := by["probabilistic"].Probabilistic.Percentage; share <= 0 || share > 100 {
		t.Errorf("%v %% of the rest, want a share", share)
	}
	matches := func(method, route string) bool {
		for _, p := range by["and"].And.Policies {
			value := map[string]string{"http.request.method": method, "http.route": route}[p.Attribute.Key]
			if !slices.ContainsFunc(p.Attribute.Values, func(v string) bool {
				return v == value || p.Attribute.Regex && regexp.MustCompile(v).MatchString(value)
			}) {
				return false
			}
		}
		return len(by["and"].And.Policies) > 0
	}
	for _, tt := range []struct {
		method, route string
		want          bool
	}{
		{"POST", "/v1/checkpoints", true}, {"DELETE", "/v1/checkpoints/:name", true},
		{"POST", "/v1/experiments/:id/start", true},
		{"GET", "/v1/checkpoints", false}, {"POST", "/v1/score", false}, {"POST", "/v1/feedback", false},
	} {
		if got := matches(tt.method, tt.route); got != tt.want {
			t.Errorf("%s %s is kept as a change: %v, want %v", tt.method, tt.route, got, tt.want)
		}
	}
}

// TestCollectorFitsItsContainer keeps the memory limiter below the memory limit.
func TestCollectorFitsItsContainer(t *testing.T) {
	t.Parallel()
	var c struct {
		Processors struct {
			MemoryLimiter struct {
				LimitMiB int64 `yaml:"limit_mib"`
				SpikeMiB int64 `yaml:"spike_limit_mib"`
			} `yaml:"memory_limiter"`
		}
	}
	decodeYAML(t, "deploy/otel-collector.yaml", &c)
	container := int64(load(t, "docker-compose.yml",
		secrets).Services["otel-collector"].Deploy.Resources.Limits.MemoryBytes)
	limit := c.Processors.MemoryLimiter
	if limit.LimitMiB == 0 || limit.LimitMiB<<20 > container*9/10 || limit.SpikeMiB >= limit.LimitMiB {
		t.Errorf("memory limiter %+v in a container of %d bytes: want a limit of at most nine tenths, and a spike below it",
			limit, container)
	}
}

func TestTracesReachTheCollector(t *testing.T) {
	t.Parallel()
	for _, profile := range profiles {
		services := load(t, "docker-compose.yml", secrets, profile).Services
		checkEndpoint(t, "AGIQA_OTLP_ENDPOINT", *services["gateway"].Environment["AGIQA_OTLP_ENDPOINT"])
		checkEndpoint(t, "AGIQA_TRITON", *services["gateway"].Environment["AGIQA_TRITON"])
		sent := 0
		for _, service := range services {
			for _, arg := range service.Command {
				if target, ok := strings.CutPrefix(arg, "--trace-config=opentelemetry,url="); ok {
					checkEndpoint(t, "Triton's traces", target)
					sent++
				}
			}
		}
		if sent != 1 {
			t.Errorf("profile %s: %d services send Triton's traces, want one", profile, sent)
		}
	}
}

type prometheusConfig struct {
	RuleFiles     []string `yaml:"rule_files"`
	ScrapeConfigs []struct {
		JobName string `yaml:"job_name"`
		DNS     []struct {
			Names []string
			Port  int
		} `yaml:"dns_sd_configs"`
		StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
	} `yaml:"scrape_configs"`
}

func TestPrometheusScrapesServices(t *testing.T) {
	t.Parallel()
	var c prometheusConfig
	decodeYAML(t, "deploy/prometheus/prometheus.yml", &c)
	for _, file := range c.RuleFiles {
		if _, err := os.Stat(filepath.Join("prometheus", file)); err != nil {
			t.Errorf("rule file: %v", err)
		}
	}
	for _, job := range c.ScrapeConfigs {
		targets := 0
		for _, static := range job.StaticConfigs {
			for _, target := range static.Targets {
				checkEndpoint(t, "job "+job.JobName, strings.Replace(target, "localhost:", "prometheus:", 1))
				targets++
			}
		}
		for _, dns := range job.DNS {
			for _, name := range dns.Names {
				checkEndpoint(t, "job "+job.JobName, fmt.Sprintf("%s:%d", name, dns.Port))
				targets++
			}
		}
		if targets == 0 {
			t.Errorf("job %s has no target", job.JobName)
		}
	}
	jobs := scrapeJobs(t)
	for _, want := range []string{"gateway", "triton", "otel-collector"} {
		if !slices.Contains(jobs, want) {
			t.Errorf("jobs %q, want %s among them", jobs, want)
		}
	}
}

type datasourceFile struct {
	Datasources []struct {
		Name, UID, URL string
		JSONData       struct {
			Exemplars []struct {
				DatasourceUID string `yaml:"datasourceUid"`
			} `yaml:"exemplarTraceIdDestinations"`
		} `yaml:"jsonData"`
	}
}

func TestGrafanaDatasources(t *testing.T) {
	t.Parallel()
	var c datasourceFile
	decodeYAML(t, "deploy/grafana/provisioning/datasources/datasources.yaml", &c)
	uids := datasourceUIDs(t)
	for _, source := range c.Datasources {
		checkEndpoint(t, "data source "+source.Name, source.URL)
		for _, exemplar := range source.JSONData.Exemplars {
			if !slices.Contains(uids, exemplar.DatasourceUID) {
				t.Errorf("exemplars of %s lead to %q, which is no data source of %q", source.Name, exemplar.DatasourceUID, uids)
			}
		}
	}
}

func TestGrafanaReadsTheDashboards(t *testing.T) {
	t.Parallel()
	var c struct {
		Providers []struct{ Options struct{ Path string } }
	}
	decodeYAML(t, "deploy/grafana/provisioning/dashboards/dashboards.yaml", &c)
	grafana := load(t, "docker-compose.yml", secrets).Services["grafana"]
	mounts := make(map[string]string)
	for _, volume := range grafana.Volumes {
		mounts[volume.Target] = volume.Source
	}
	if len(c.Providers) == 0 {
		t.Fatal("no provider of dashboards")
	}
	for _, provider := range c.Providers {
		source, ok := mounts[provider.Options.Path]
		if !ok {
			t.Errorf("dashboards are looked for in %s, which is none of the mounts %v", provider.Options.Path, mounts)
			continue
		}
		if files, _ := filepath.Glob(filepath.Join(source, "*.json")); len(files) == 0 {
			t.Errorf("%s holds no dashboard", source)
		}
	}
	if _, ok := mounts["/etc/grafana/provisioning"]; !ok {
		t.Errorf("Grafana's provisioning is not among the mounts %v", mounts)
	}
}

type dashboard struct {
	UID, Title string
	Templating struct{ List []struct{ Name, Query any } }
	Panels     []dashboardPanel
}

type dashboardPanel struct {
	ID                       int
	Type, Title, Description string
	Datasource               struct{ UID string }
	Targets                  []struct {
		Expr, RefID string
		Exemplar    bool
	}
	FieldConfig struct{ Defaults struct{ Unit string } }
}

func TestDashboards(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("dashboards = %q, %v; want one at least", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			var d dashboard
			if err := json.Unmarshal([]byte(read(t, "deploy/"+file)), &d); err != nil {
				t.Fatal(err)
			}
			if d.UID == "" || d.Title == "" {
				t.Errorf("uid %q, title %q: want both", d.UID, d.Title)
			}
			if len(d.Templating.List) == 0 || d.Templating.List[0].Name != "instance" {
				t.Errorf("variables %+v, want one for the instance", d.Templating.List)
			}
			checkPanels(t, d)
		})
	}
}

func checkPanels(t *testing.T, d dashboard) {
	uids, made, jobs := datasourceUIDs(t), madeMetrics(t), scrapeJobs(t)
	ids := make(map[int]bool)
	for _, panel := range d.Panels {
		if ids[panel.ID] {
			t.Errorf("panel %q: id %d is taken", panel.Title, panel.ID)
		}
		ids[panel.ID] = true
		if panel.Type == "row" {
			continue
		}
		if !slices.Contains(uids, panel.Datasource.UID) {
			t.Errorf("panel %q: data source %q is none of %q", panel.Title, panel.Datasource.UID, uids)
		}
		if panel.FieldConfig.Defaults.Unit == "" || panel.Description == "" {
			t.Errorf("panel %q: unit %q, description %q; want both", panel.Title,
				panel.FieldConfig.Defaults.Unit, panel.Description)
		}
		if len(panel.Targets) == 0 {
			t.Errorf("panel %q asks nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			if strings.Contains(target.Expr, "histogram_quantile") &&
				strings.Contains(target.Expr, "agiqa_") && !target.Exemplar {
				t.Errorf("panel %q: no exemplars, which lead from a latency to a trace", panel.Title)
			}
			for _, fault := range expressionFaults(target.Expr, made, jobs) {
				t.Errorf("panel %q: %s", panel.Title, fault)
			}
		}
	}
}

func TestExpressionFaultsAreFound(t *testing.T) {
	t.Parallel()
	made := []string{"agiqa_request_duration_seconds_count", "agiqa_request_duration_seconds_bucket"}
	jobs := []string{"gateway"}
	tests := []struct{ name, expr, want string }{
		{"sound", `sum by (route) (rate(agiqa_request_duration_seconds_count{status=~"5.."}[5m]))`, ""},
		{"sound job", `up{job="gateway"} == 0`, ""},
		{"not PromQL", "sum(up", "unexpected token"},
		{"empty", "", "unexpected token"},
		{"unknown metric of ours", "rate(agiqa_request_durations_count[5m])",
			"agiqa_request_durations_count is not exported"},
		{"unknown metric of Triton", "rate(nv_inference_counts[5m])", "nv_inference_counts is not exported"},
		{"unknown job", `up{job="gatway"}`, "gatway is no scrape job"},
		{"in a subquery", `max_over_time(agiqa_gone[5m:1m])`, "agiqa_gone is not exported"},
		{"unknown label", `agiqa_request_duration_seconds_count{code="500"}`, "has no label code"},
		{"unknown label of two", `agiqa_request_duration_seconds_count{route="/x" or outcome!="ok"}`, "has no label outcome"},
		{"unknown value", `agiqa_request_duration_seconds_count{method="FETCH"}`, "method is never FETCH"},
		{"sum by an unknown label", `sum by (route, code) (rate(agiqa_request_duration_seconds_count[5m]))`,
			"nothing has the label code to sum by"},
		{"sum by the instance", `sum by (instance, le) (rate(agiqa_request_duration_seconds_bucket[5m]))`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(expressionFaults(tt.expr, made, jobs), "; ")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("faults of %s = %q, want %q", tt.expr, got, tt.want)
			}
		})
	}
}

// expressionFaults names the metrics of a query that nobody exports, the jobs
// that are not scraped, and the labels that this program's metrics don't have: a
// query with one of them silently finds nothing.
func expressionFaults(expr string, made, jobs []string) []string {
	parsed, err := metricsql.Parse(grafanaVariables.Replace(expr))
	if err != nil {
		return []string{err.Error()}
	}
	var faults []string
	metricsql.VisitAll(parsed, func(e metricsql.Expr) {
		selector, ok := e.(*metricsql.MetricExpr)
		if !ok {
			return
		}
		for _, filter := range slices.Concat(selector.LabelFilterss...) {
			switch {
			case filter.IsRegexp || filter.IsNegative:
			case filter.Label == "__name__" && !slices.Contains(made, filter.Value) &&
				!slices.Contains(foreignMetrics, filter.Value):
				faults = append(faults, "metric "+filter.Value+" is not exported")
			case filter.Label == "job" && !slices.Contains(jobs, filter.Value):
				faults = append(faults, filter.Value+" is no scrape job")
			}
		}
	})
	return append(faults, labelFaults(parsed)...)
}

// labelFaults names the labels and values that the metrics of a query don't
// have. Those of other programs and of recording rules are not known here.
func labelFaults(parsed metricsql.Expr) (faults []string) {
	declared := make(map[string]metrics.Metric)
	for _, m := range metrics.All() {
		for _, name := range m.Series() {
			declared[name] = m
		}
	}
	metricsql.VisitAll(parsed, func(e metricsql.Expr) {
		switch e := e.(type) {
		case *metricsql.MetricExpr:
			for _, filters := range e.LabelFilterss {
				m, ok := declared[filters[0].Value]
				for _, filter := range filters[1:] {
					if label, has := labelOf(m, filter.Label); ok && !has {
						faults = append(faults, m.Name+" has no label "+filter.Label)
					} else if ok && !filter.IsRegexp && !label.Allows(filter.Value) {
						faults = append(faults, m.Name+": "+filter.Label+" is never "+filter.Value)
					}
				}
			}
		case *metricsql.AggrFuncExpr:
			if strings.ToLower(e.Modifier.Op) != "by" {
				return
			}
			for _, name := range e.Modifier.Args {
				if !mayHave(e, declared, name) {
					faults = append(faults, "nothing has the label "+name+" to "+e.Name+" by")
				}
			}
		}
	})
	return faults
}

// mayHave reports whether a metric within e may have a label.
func mayHave(e metricsql.Expr, declared map[string]metrics.Metric, name string) (may bool) {
	metricsql.VisitAll(e, func(e metricsql.Expr) {
		if selector, ok := e.(*metricsql.MetricExpr); ok {
			for _, filters := range selector.LabelFilterss {
				m, known := declared[filters[0].Value]
				_, has := labelOf(m, name)
				may = may || !known || has
			}
		}
	})
	return may
}

// labelOf returns a label that a series of m has, those of Prometheus included.
func labelOf(m metrics.Metric, name string) (metrics.Label, bool) {
	if slices.Contains([]string{"instance", "job", "le"}, name) {
		return metrics.Label{Name: name, Bound: "Prometheus' own"}, true
	}
	at := slices.IndexFunc(m.Labels, func(l metrics.Label) bool { return l.Name == name })
	if at < 0 {
		return metrics.Label{}, false
	}
	return m.Labels[at], true
}

// madeMetrics are the names that a query may use of this project: what the
// program exports, and what the rules record.
func madeMetrics(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, m := range metrics.All() {
		names = append(names, m.Series()...)
	}
	for _, group := range ruleFile(t, "rules.yml").Groups {
		for _, rule := range group.Rules {
			names = append(names, rule.Record)
		}
	}
	return names
}

// sameNames wants every declared component used, and every used one declared.
func sameNames[V any](t *testing.T, what string, declared map[string]V, used []string) {
	t.Helper()
	for _, name := range used {
		if _, ok := declared[name]; !ok {
			t.Errorf("%s: %s is used and not declared", what, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		if !slices.Contains(used, name) {
			t.Errorf("%s: %s is declared and not used", what, name)
		}
	}
}

// checkEndpoint wants host:port, or a URL with both, of a service in the
// network that listens there.
func checkEndpoint(t *testing.T, what, endpoint string) {
	t.Helper()
	hostPort := endpoint
	if u, err := url.Parse(endpoint); err == nil && strings.Contains(endpoint, "://") {
		hostPort = u.Host
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		t.Errorf("%s: %q: %v", what, endpoint, err)
		return
	}
	if !slices.Contains(ports[host], port) {
		t.Errorf("%s: %s: no service %s listens on %s; its ports are %q", what, endpoint, host, port, ports[host])
	}
}

// TestPortsAreOfServices keeps the table of ports to services that exist.
func TestPortsAreOfServices(t *testing.T) {
	t.Parallel()
	services := load(t, "docker-compose.yml", secrets, "gpu").Services
	for name := range ports {
		if _, ok := services[name]; !ok {
			t.Errorf("%s is no service of docker-compose.yml", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		for _, published := range services[name].Ports {
			if !slices.Contains(ports[name], fmt.Sprint(published.Target)) {
				t.Errorf("%s publishes %d, which is none of %q", name, published.Target, ports[name])
			}
		}
	}
}

func scrapeJobs(t *testing.T) []string {
	t.Helper()
	var c prometheusConfig
	decodeYAML(t, "deploy/prometheus/prometheus.yml", &c)
	var jobs []string
	for _, job := range c.ScrapeConfigs {
		jobs = append(jobs, job.JobName)
	}
	return jobs
}

func datasourceUIDs(t *testing.T) []string {
	t.Helper()
	var c datasourceFile
	decodeYAML(t, "deploy/grafana/provisioning/datasources/datasources.yaml", &c)
	var uids []string
	for _, source := range c.Datasources {
		uids = append(uids, source.UID)
	}
	return uids
}

// decodeYAML reads one document. A key given twice is a fault.
func decodeYAML(t *testing.T, path string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, path)), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
