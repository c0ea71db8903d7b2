package catalogue_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/internal/catalogue"
)

const root = "../.."

// instrument is what the source says of a metric.
type instrument struct{ Type, Unit, Says string }

// TestEveryInstrumentIsListed reads the instruments from the source, and wants
// them in the catalogue as they are, and nothing else of the project's own.
func TestEveryInstrumentIsListed(t *testing.T) {
	t.Parallel()
	made := map[string]instrument{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && path != root || entry.Name() == "catalogue") {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err == nil {
			instruments(file, made)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]instrument{}
	for _, m := range catalogue.All() {
		if m.From == "" {
			listed[m.Name] = instrument{string(m.Type), m.Unit, m.Says}
		}
	}
	if diff := cmp.Diff(made, listed); diff != "" {
		t.Errorf("internal/catalogue differs from the instruments (-source +catalogue); mend it and run make generate:\n%s", diff)
	}
}

// instruments finds calls such as meter.Int64Counter("agiqa.x", ...), and those
// of a local counter("agiqa.x", unit, text).
func instruments(file *ast.File, made map[string]instrument) {
	types := map[string]string{"Counter": "counter", "counter": "counter", "UpDownCounter": "gauge", "Gauge": "gauge", "gauge": "gauge", "Histogram": "histogram", "histogram": "histogram"}
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		method := called(call)
		for _, prefix := range []string{"Int64", "Float64", "Observable"} {
			method = strings.TrimPrefix(method, prefix)
		}
		name, kind := literal(call.Args[0]), types[method]
		if kind == "" || !strings.HasPrefix(name, "agiqa.") {
			return true
		}
		i := instrument{Type: kind}
		if len(call.Args) == 3 && literal(call.Args[2]) != "" {
			i.Unit, i.Says = literal(call.Args[1]), literal(call.Args[2])
		}
		for _, arg := range call.Args[1:] {
			if option, ok := arg.(*ast.CallExpr); ok && len(option.Args) == 1 {
				switch called(option) {
				case "WithUnit":
					i.Unit = literal(option.Args[0])
				case "WithDescription":
					i.Says = literal(option.Args[0])
				}
			}
		}
		made[name] = i
		return true
	})
}

func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		return f.Sel.Name
	case *ast.Ident:
		return f.Name
	}
	return ""
}

func literal(expr ast.Expr) string {
	lit, ok := expr.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	text, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return text
}

func TestInstruments(t *testing.T) {
	t.Parallel()
	const source = `package p
func f() {
	meter.Int64Counter("agiqa.images", metric.WithUnit("{image}"))
	meter.Float64Histogram("agiqa.took", metric.WithDescription("d"),
		metric.WithUnit("s"))
	meter.Int64ObservableGauge("agiqa.bytes", metric.WithUnit("By"))
	meter.Int64UpDownCounter("agiqa.active")
	counter("agiqa.e", "{x}", "text")
	attribute.Int("agiqa.attribute", 1)
	meter.Int64Counter("other")
}`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]instrument{}
	instruments(file, got)
	want := map[string]instrument{
		"agiqa.images": {"counter", "{image}", ""}, "agiqa.took": {"histogram", "s", "d"}, "agiqa.bytes": {"gauge", "By", ""},
		"agiqa.active": {"gauge", "", ""}, "agiqa.e": {"counter", "{x}", "text"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("instruments (-want +got):\n%s", diff)
	}
}

func TestPageHasNotDrifted(t *testing.T) {
	t.Parallel()
	committed, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(committed), catalogue.Reference()); diff != "" {
		t.Errorf("docs/metrics.md differs; run make generate\n(-committed +generated)\n%s", diff)
	}
}

func TestSeries(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		metric catalogue.Metric
		want   []string
	}{
		{catalogue.Metric{Name: "agiqa.images", Type: catalogue.Counter, Unit: "{image}"}, []string{"agiqa_images_total"}},
		{catalogue.Metric{Name: "agiqa.took", Type: catalogue.Histogram, Unit: "s"},
			[]string{"agiqa_took_seconds_bucket", "agiqa_took_seconds_count", "agiqa_took_seconds_sum"}},
		{catalogue.Metric{Name: "agiqa.memory.bytes", Type: catalogue.Gauge, Unit: "By"}, []string{"agiqa_memory_bytes"}},
		{catalogue.Metric{Name: "agiqa.copied", Type: catalogue.Counter, Unit: "By"}, []string{"agiqa_copied_bytes_total"}},
		{catalogue.Metric{Name: "go_x_bytes", Type: catalogue.Gauge, Unit: "By", From: "Go"}, []string{"go_x_bytes"}},
	} {
		if diff := cmp.Diff(test.want, test.metric.Series()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.metric.Name, diff)
		}
	}
}

func TestScrapeFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"sound", "# HELP agiqa_queue_depth Scoring requests that wait for their turn.\n# TYPE agiqa_queue_depth gauge\nagiqa_queue_depth 1\n", ""},
		{"unknown family", "# TYPE agiqa_novel gauge\nagiqa_novel 1\n", "agiqa_novel is not in the catalogue"},
		{"another type", "# HELP agiqa_queue_depth Scoring requests that wait for their turn.\n# TYPE agiqa_queue_depth counter\nagiqa_queue_depth 1\n", "agiqa_queue_depth: is a COUNTER, the catalogue says gauge"},
		{"another text", "# HELP agiqa_queue_depth Depth.\n# TYPE agiqa_queue_depth gauge\nagiqa_queue_depth 1\n", `agiqa_queue_depth: says "Depth.", the catalogue "Scoring requests that wait for their turn."`},
		{"unknown label", "# TYPE go_goroutine_count gauge\ngo_goroutine_count{path=\"/x\"} 1\n", "go_goroutine_count: label path is not in the catalogue"},
		{"unknown value", "# TYPE go_memory_used_bytes gauge\ngo_memory_used_bytes{go_memory_type=\"wood\"} 1\n", `go_memory_used_bytes: label go_memory_type has the value "wood", which the catalogue does not know`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, faults, err := catalogue.Scrape([]byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(faults, "; "); got != test.want {
				t.Errorf("faults %q, want %q", got, test.want)
			}
		})
	}
}
