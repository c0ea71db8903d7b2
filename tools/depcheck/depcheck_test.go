package depcheck_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/agiqa/agiqa"

// layers says which other folders the packages of a folder may import, tests
// apart. The longest matching folder counts. "*" is everything.
var layers = map[string]string{
	"quality":                   "",
	"access":                    "quality",
	"evaluation":                "",
	"telemetry":                 "",
	"embedded":                  "tritonclient/inferencepb", // the protocol's messages, which are generated
	"imageprep":                 "quality",
	"clip":                      "quality",
	"checkpoint":                "quality clip",
	"checkpoint/tritonmodels":   "quality tritonclient checkpoint",
	"encoder":                   "quality checkpoint",
	"experiment":                "quality access evaluation checkpoint/desired",
	"checkpoint/desired":        "quality",
	"scoring":                   "quality access imageprep clip checkpoint experiment",
	"tritonclient":              "quality",
	"tritonclient/tritontest":   "quality tritonclient checkpoint/safetensors",
	"tritonclient/contracttest": "quality tritonclient checkpoint",
	"cache":                     "quality",
	"gateway":                   "quality access scoring experiment checkpoint",
	"benchmarks":                "quality imageprep tritonclient evaluation",
	"benchmarks/load":           "evaluation",
	"server": "quality access imageprep clip checkpoint experiment scoring tritonclient cache gateway " +
		"telemetry embedded",
	"cmd":      "*",
	"tools":    "*",
	"deploy":   "",
	"internal": "quality telemetry",
}

// bans name packages that may be reached, directly or through others, from the
// given folders only.
var bans = []struct{ reach, from string }{
	{"github.com/gin-gonic/gin", "gateway server cmd tools"},
	{"google.golang.org/grpc", "tritonclient telemetry embedded benchmarks server cmd tools checkpoint/tritonmodels " +
		"internal/otlptest"},
	{"github.com/redis/go-redis", "cache server cmd tools"},
	{"modernc.org/sqlite", "experiment/sqlstore experiment/storetest server cmd tools"},
	{"github.com/jackc/pgx", "experiment/sqlstore experiment/storetest experiment/postgrestest server cmd tools"},
	{"go.opentelemetry.io/otel/sdk", "telemetry server cmd tools"},
	{"github.com/prometheus", "telemetry server cmd tools"},
	{module + "/tritonclient", "tritonclient embedded checkpoint/tritonmodels benchmarks server cmd tools"},
	{module + "/cache", "cache server cmd tools"},
	{module + "/scoring", "scoring gateway server cmd tools"},
}

// pure folders import nothing of these: they open no files and no connections.
var (
	pure = strings.Fields("quality access imageprep clip evaluation scoring experiment/stats experiment/analysis " +
		"experiment/report")
	impure = strings.Fields("os net")
)

// node is a package of the import graph, by import path.
type node struct {
	ImportPath string
	Imports    []string
	Error      *struct{ Err string }
}

func load(t *testing.T) map[string]node {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Imports,Error", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	graph := map[string]node{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var n node
		if err := dec.Decode(&n); errors.Is(err, io.EOF) {
			return graph
		} else if err != nil {
			t.Fatal(err)
		}
		if n.Error != nil {
			t.Fatalf("%s: %s", n.ImportPath, n.Error.Err)
		}
		graph[n.ImportPath] = n
	}
}

// within reports whether a package path is one of the folders or below one.
func within(path string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return path == f || strings.HasPrefix(path, f+"/") })
}

// rule returns the folder of layers that a project package belongs to.
func rule(pkg string) (folder string, ok bool) {
	for folder = pkg; ; folder = folder[:strings.LastIndexByte(folder, '/')] {
		if _, ok := layers[folder]; ok {
			return folder, true
		}
		if !strings.Contains(folder, "/") {
			return "", false
		}
	}
}

// forTests reports whether a package exists for tests only, by its name.
func forTests(pkg string) bool {
	base := pkg[strings.LastIndexByte(pkg, '/')+1:]
	return strings.HasSuffix(base, "test") || strings.HasSuffix(base, "testing") || base == "testimages"
}

// faults returns every import that the rules forbid, as "a -> b: why".
func faults(graph map[string]node) []string {
	var found []string
	for path, n := range graph {
		pkg, ours := strings.CutPrefix(path, module+"/")
		if !ours {
			continue
		}
		folder, ok := rule(pkg)
		if !ok {
			found = append(found, pkg+": no rule names its folder; add one to layers")
			continue
		}
		for _, imported := range n.Imports {
			if fault := direct(pkg, folder, imported); fault != "" {
				found = append(found, pkg+" -> "+imported+": "+fault)
			}
		}
		for _, ban := range bans {
			if within(pkg, strings.Fields(ban.from)...) || forTests(pkg) {
				continue
			}
			if chain := reach(graph, path, ban.reach); chain != nil {
				found = append(found, strings.Join(chain, " -> ")+": only "+ban.from+" may reach "+ban.reach)
			}
		}
	}
	slices.Sort(found)
	return found
}

func direct(pkg, folder, imported string) string {
	if within(pkg, pure...) && !forTests(pkg) && within(imported, impure...) {
		return "this folder opens no files and no connections"
	}
	target, ours := strings.CutPrefix(imported, module+"/")
	switch {
	case !ours:
		return ""
	case forTests(target) && !forTests(pkg):
		return "that package is for tests"
	case layers[folder] == "*", within(target, folder), within(target, "internal"):
		return ""
	case within(target, strings.Fields(layers[folder])...):
		return ""
	case within(folder, strings.SplitN(target, "/", 2)[0]) && within(target, strings.SplitN(folder, "/", 2)[0]):
		return "" // within one top folder
	}
	return folder + " may import " + layers[folder] + " only"
}

// reach returns the shortest chain from a package to one below the target.
func reach(graph map[string]node, from, target string) []string {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at != from && within(at, target) {
			chain := []string{at}
			for at = before[at]; at != ""; at = before[at] {
				chain = append([]string{at}, chain...)
			}
			return chain
		}
		for _, next := range graph[at].Imports {
			if _, seen := before[next]; !seen {
				before[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

func TestLayers(t *testing.T) {
	graph := load(t)
	if n := graph[module+"/quality"]; !slices.Contains(n.Imports, "crypto/sha256") {
		t.Fatalf("imports of quality are %v: the graph is not the real one", n.Imports)
	}
	for _, fault := range faults(graph) {
		t.Error(fault)
	}
}

// TestLayersCatch plants one forbidden import at a time.
func TestLayersCatch(t *testing.T) {
	for _, tt := range []struct{ pkg, imports string }{
		{"quality", "os"},
		{"imageprep", "net/http"},
		{"scoring", "os"},
		{"clip", module + "/checkpoint"},
		{"imageprep", "github.com/gin-gonic/gin"},
		{"checkpoint", "github.com/redis/go-redis/v9"},
		{"experiment", "google.golang.org/grpc"},
		{"scoring", module + "/tritonclient"},
		{"scoring", "go.opentelemetry.io/otel/sdk/trace"},
		{"tritonclient", module + "/scoring"},
		{"cache", "google.golang.org/grpc/codes"},
		{"gateway", module + "/tritonclient"},
		{"gateway", module + "/cache"},
		{"gateway", module + "/between"},
		{"telemetry", module + "/quality"},
		{"server", module + "/cmd/agiqa"},
		{"embedded", "github.com/gin-gonic/gin"},
		{"embedded", module + "/tritonclient"},
		{"benchmarks/load", module + "/gateway"},
		{"cmd/agiqa", module + "/tritonclient/tritontest"},
		{"elsewhere", "fmt"},
	} {
		t.Run(tt.pkg+" imports "+tt.imports, func(t *testing.T) {
			graph := map[string]node{
				module + "/" + tt.pkg:   {Imports: []string{tt.imports}},
				module + "/between":     {Imports: []string{module + "/cache"}},
				module + "/cache":       {Imports: []string{"github.com/redis/go-redis/v9"}},
				module + "/checkpoint":  {},
				module + "/quality/sub": {Imports: []string{"fmt"}},
			}
			if tt.pkg == "cache" || tt.pkg == "checkpoint" {
				graph[module+"/"+tt.pkg] = node{Imports: []string{tt.imports}}
			}
			if !slices.ContainsFunc(faults(graph), func(f string) bool {
				return strings.HasPrefix(strings.TrimPrefix(f, module+"/"), tt.pkg+" ") || strings.HasPrefix(f, tt.pkg+":")
			}) {
				t.Errorf("not found; faults are %v", faults(graph))
			}
		})
	}
}
