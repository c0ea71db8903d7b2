package depcheck_test

import (
	"slices"
	"testing"

	"github.com/agiqa/agiqa/internal/depcheck"
)

// TestHouse checks the project as it stands. A failure is answered by moving
// the import, or by changing the table together with a page in docs/decisions.
func TestHouse(t *testing.T) {
	t.Parallel()
	g := load(t)
	for _, v := range depcheck.Check(g, depcheck.House()) {
		t.Error(v)
	}
}

// TestLoadSeesTheRealGraph guards TestHouse against an empty graph, on which
// every rule would hold.
func TestLoadSeesTheRealGraph(t *testing.T) {
	t.Parallel()
	g := load(t)
	const want = "github.com/agiqa/agiqa"
	if g.Module != want {
		t.Fatalf("module = %q, want %q", g.Module, want)
	}
	domain := g.Project()["quality"]
	if domain == nil {
		t.Fatal("package quality is not in the graph")
	}
	if !slices.Contains(domain.Imports, "crypto/sha256") {
		t.Errorf("imports of quality = %q, want crypto/sha256 among them", domain.Imports)
	}
	self := g.Project()["internal/depcheck"]
	if self == nil || !slices.Contains(self.TestImports, "github.com/google/go-cmp/cmp") {
		t.Errorf("test imports of internal/depcheck = %+v, want go-cmp among them", self)
	}
	if fmt := g.Packages["fmt"]; fmt == nil || !slices.Contains(fmt.Imports, "os") {
		t.Errorf("package fmt = %+v, want it with its import of os: chains run through the standard library", fmt)
	}
}

// TestHouseCatches plants faults in the real table, so that a table that
// forbids nothing cannot pass.
func TestHouseCatches(t *testing.T) {
	t.Parallel()
	tests := []struct{ pkg, imports string }{
		{"quality", "os"},
		{"quality", "net/http"},
		{"quality", "github.com/google/uuid"},
		{"imageprep", "github.com/gin-gonic/gin"},
		{"clip", "m/checkpoint"},
		{"checkpoint", "github.com/redis/go-redis/v9"},
		{"experiment", "google.golang.org/grpc"},
		{"scoring", "os"},
		{"scoring", "m/tritonclient"},
		{"scoring", "go.opentelemetry.io/otel/sdk/trace"},
		{"tritonclient", "m/scoring"},
		{"cache", "google.golang.org/grpc"},
		{"gateway", "m/tritonclient"},
		{"gateway", "m/cache"},
		{"gateway", "google.golang.org/grpc"},
		{"gateway", "github.com/redis/go-redis/v9"},
		{"gateway", "github.com/prometheus/client_golang/prometheus"},
		{"telemetry", "m/quality"},
		{"embedded", "github.com/gin-gonic/gin"},
		{"embedded", "golang.org/x/sync/errgroup"},
		{"benchmarks/load", "m/gateway"},
		{"cmd/agiqa", "m/tritonclient/tritontest"},
	}
	for _, tt := range tests {
		t.Run(tt.pkg+" imports "+tt.imports, func(t *testing.T) {
			t.Parallel()
			g := graphOf("m/"+tt.pkg+": "+tt.imports, "m/quality:")
			found := depcheck.Check(g, depcheck.House())
			atFault := func(v depcheck.Violation) bool {
				return v.Package == tt.pkg && slices.Equal(v.Chain, []string{"m/" + tt.pkg, tt.imports})
			}
			if !slices.ContainsFunc(found, atFault) {
				t.Errorf("violations = %v, want one of %s for importing %s", found, tt.pkg, tt.imports)
			}
		})
	}
}

func load(t *testing.T) *depcheck.Graph {
	t.Helper()
	g, err := depcheck.Load(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	return g
}
