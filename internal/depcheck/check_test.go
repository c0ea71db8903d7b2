package depcheck_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/internal/depcheck"
)

// graphOf draws a graph of module "m" from lines such as "a: fmt m/b other.org/x".
// "a [test]:" gives the imports of a's tests.
func graphOf(lines ...string) *depcheck.Graph {
	g := &depcheck.Graph{Module: "m", Packages: make(map[string]*depcheck.Package)}
	node := func(path string) *depcheck.Package {
		if g.Packages[path] == nil {
			g.Packages[path] = &depcheck.Package{Path: path}
			if host, _, _ := strings.Cut(path, "/"); strings.Contains(host, ".") || host == "m" {
				g.Packages[path].Module = host
			}
		}
		return g.Packages[path]
	}
	for _, line := range lines {
		name, imports, _ := strings.Cut(line, ":")
		name, isTest := strings.CutSuffix(name, " [test]")
		p := node(name)
		for _, imp := range strings.Fields(imports) {
			node(imp)
			if isTest {
				p.TestImports = append(p.TestImports, imp)
			} else {
				p.Imports = append(p.Imports, imp)
			}
		}
	}
	return g
}

func TestCheck(t *testing.T) {
	t.Parallel()
	type rules = map[string]depcheck.Rule
	tests := []struct {
		name  string
		graph *depcheck.Graph
		rules rules
		want  []string // "package: fault | chain"
	}{
		{
			name:  "the standard library is allowed to an empty rule",
			graph: graphOf("m/a: fmt os net/http"),
			rules: rules{"a": {}},
		},
		{
			name:  "a package without a row",
			graph: graphOf("m/a: fmt", "m/b: fmt"),
			rules: rules{"a": {}},
			want:  []string{"b: the table does not name this package: add it to House in house.go, with a reason"},
		},
		{
			name:  "a row without a package",
			graph: graphOf("m/a: fmt"),
			rules: rules{"a": {}, "gone": {}, "later": {Planned: true}},
			want:  []string{"gone: the table names a package that does not exist: remove its row"},
		},
		{
			name:  "project packages are allowed by exact name",
			graph: graphOf("m/a: m/b m/b/sub", "m/b:", "m/b/sub:"),
			rules: rules{"a": {Project: []string{"b"}}, "b": {}, "b/sub": {}},
			want:  []string{"a: imports b/sub, which is not among the project packages it may import | m/a > m/b/sub"},
		},
		{
			name:  "an external package is refused unless named",
			graph: graphOf("m/a: x.org/lib x.org/lib/sub", "m/b: x.org/lib x.org/lib/sub", "m/c: x.org/libother"),
			rules: rules{
				"a": {External: []string{"x.org/lib"}},
				"b": {External: []string{"x.org/lib/..."}},
				"c": {External: []string{"x.org/lib/..."}},
			},
			want: []string{
				"a: imports x.org/lib/sub, which is not among the modules it may import | m/a > x.org/lib/sub",
				"c: imports x.org/libother, which is not among the modules it may import | m/c > x.org/libother",
			},
		},
		{
			name:  "a standard package that is refused, with what lies below it",
			graph: graphOf("m/a: fmt net/http osx", "fmt: os"),
			rules: rules{"a": {NeverImport: []string{"net/...", "os"}}},
			want:  []string{"a: imports net/http, which it may never import | m/a > net/http"},
		},
		{
			name: "the shortest chain to a forbidden module, through other packages",
			graph: graphOf("m/a: m/b y.org/long", "m/b: x.org/web", "x.org/web: z.org/grpc/codes",
				"y.org/long: y.org/longer", "y.org/longer: x.org/web"),
			rules: rules{
				"a": {Project: []string{"b"}, External: []string{"y.org/..."}, NeverReach: []string{"z.org/grpc/..."}},
				"b": {External: []string{"x.org/web"}},
			},
			want: []string{"a: reaches z.org/grpc/..., which it may never reach | m/a > m/b > x.org/web > z.org/grpc/codes"},
		},
		{
			name:  "a forbidden project package, through another",
			graph: graphOf("m/a: m/b", "m/b: m/c", "m/c:"),
			rules: rules{
				"a": {Project: []string{"b"}, NeverReach: []string{"./c"}},
				"b": {Project: []string{"c"}},
				"c": {},
			},
			want: []string{"a: reaches ./c, which it may never reach | m/a > m/b > m/c"},
		},
		{
			name:  "the whole project may be forbidden, the package itself apart",
			graph: graphOf("m/a: fmt", "m/b: m/a"),
			rules: rules{"a": {NeverReach: []string{"./..."}}, "b": {Project: []string{"a"}, NeverReach: []string{"./..."}}},
			want:  []string{"b: reaches ./..., which it may never reach | m/b > m/a"},
		},
		{
			name:  "a cycle of modules ends",
			graph: graphOf("m/a: x.org/p", "x.org/p: x.org/q", "x.org/q: x.org/p"),
			rules: rules{"a": {External: []string{"x.org/p"}, NeverReach: []string{"w.org/..."}}},
		},
		{
			name:  "test-only packages are for tests, though all may be imported",
			graph: graphOf("m/a: m/fake", "m/b:", "m/b [test]: m/fake m/b", "m/fake: m/fake2", "m/fake2:"),
			rules: rules{
				"a": {Project: []string{"..."}}, "b": {},
				"fake": {TestOnly: true}, "fake2": {TestOnly: true},
			},
			want: []string{"a: imports fake, which is for tests only | m/a > m/fake"},
		},
		{
			name: "tests have their own allowance, and the never-import rule is not theirs",
			graph: graphOf("m/a: m/c x.org/lib", "m/a [test]: m/c x.org/lib y.org/lib os pgregory.net/rapid", "m/c:",
				"m/d:", "m/d [test]: m/c x.org/lib"),
			rules: rules{
				"a": {TestProject: []string{"c"}, TestExternal: []string{"x.org/lib"}, NeverImport: []string{"os"}},
				"c": {},
				"d": {TestProject: []string{"c"}, TestExternal: []string{"x.org/lib"}},
			},
			want: []string{
				"a: imports c, which is not among the project packages it may import | m/a > m/c",
				"a: imports x.org/lib, which is not among the modules it may import | m/a > x.org/lib",
				"a: imports y.org/lib, which is not among the modules it may import | m/a [test] > y.org/lib",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, v := range depcheck.Check(tt.graph, tt.rules) {
				line := v.Package + ": " + v.Fault
				if v.Chain != nil {
					line += " | " + strings.Join(v.Chain, " > ")
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestViolationTellsChainAndReason(t *testing.T) {
	t.Parallel()
	v := depcheck.Violation{
		Package: "a", Chain: []string{"m/a", "m/b", "x.org/grpc"},
		Fault: "reaches x.org/grpc, which it may never reach", Why: "a is pure",
	}
	want := "a: reaches x.org/grpc, which it may never reach\n\tm/a\n\t  -> m/b\n\t  -> x.org/grpc\n\trule: a is pure"
	if got := v.String(); got != want {
		t.Errorf("String() = %q\nwant       %q", got, want)
	}
}
