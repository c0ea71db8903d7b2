package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// clone makes a repository with the files.
func clone(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "git", "-C", root, "init", "--quiet").CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	return root
}

func pin(name, version string) string {
	return fmt.Sprintf("%s==%s --hash=sha256:%s\n", name, version, strings.Repeat("0", 64))
}

// program is a module whose main calls a function.
func program(call string) map[string]string {
	return map[string]string{
		"go.mod":  "module example.com/fixture\n\ngo 1.26.0\n",
		"main.go": "package main\n\nimport \"net/url\"\n\nfunc main() { " + call + " }\n",
		"a.lock":  pin("fine", "1"),
	}
}

// goDatabase is a database of Go's vulnerabilities with one, of url.Parse in
// every version of the standard library.
func goDatabase(t *testing.T) string {
	return "file://" + clone(t, map[string]string{
		"index/db.json":      `{"modified": "2026-11-01T00:00:00Z"}`,
		"index/modules.json": `[{"path": "stdlib", "vulns": [{"id": "GO-2026-0001", "modified": "2026-11-01T00:00:00Z"}]}]`,
		"index/vulns.json":   `[{"id": "GO-2026-0001", "modified": "2026-11-01T00:00:00Z"}]`,
		"ID/GO-2026-0001.json": `{"schema_version": "1.3.1", "id": "GO-2026-0001", "modified": "2026-11-01T00:00:00Z",
			"published": "2026-11-01T00:00:00Z", "summary": "An invented fault", "details": "An invented fault.",
			"database_specific": {"url": "https://localhost/GO-2026-0001"},
			"affected": [{"package": {"name": "stdlib", "ecosystem": "Go"},
				"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
				"ecosystem_specific": {"imports": [{"path": "net/url", "symbols": ["Parse"]}]}}]}`,
	})
}

// osv is a server with OSV's API. It answers a query with one advisory at a
// time, as OSV may.
func osv(t *testing.T, advisories map[string][]string) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/querybatch", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Queries []struct {
				Package struct{ Name, Ecosystem string }
				Version string
				Token   string `json:"page_token"`
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		results := []any{}
		for _, q := range body.Queries {
			ids, result := advisories[q.Package.Ecosystem+" "+q.Package.Name+" "+q.Version], map[string]any{}
			ids = ids[min(len(q.Token), len(ids)):]
			if len(ids) > 0 {
				result["vulns"] = []any{map[string]string{"id": ids[0]}}
			}
			if len(ids) > 1 {
				result["next_page_token"] = q.Token + "x"
			}
			results = append(results, result)
		}
		json.NewEncoder(w).Encode(map[string]any{"results": results})
	})
	mux.HandleFunc("GET /v1/vulns/{id}", func(w http.ResponseWriter, r *http.Request) {
		v := map[string]any{"id": r.PathValue("id"), "aliases": []string{"CVE-" + r.PathValue("id")},
			"summary": "An invented fault"}
		if strings.HasPrefix(r.PathValue("id"), "W") {
			v["withdrawn"] = "2026-11-01T00:00:00Z"
		}
		json.NewEncoder(w).Encode(v)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// nowhere is an address that nothing answers at.
func nowhere() string {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	return s.URL
}

func TestAudit(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiles govulncheck")
	}
	npm := `{"lockfileVersion": 3, "packages": {"node_modules/left": {"version": "1.0.0", "integrity": "sha512-x"}}}`
	for _, test := range []struct {
		name     string
		files    map[string]string
		osv      map[string][]string
		unreach  bool
		accepted string
		found    bool
		fault    string
		want     []string
		without  []string
	}{
		{
			name: "nothing", files: program("url.QueryEscape(``)"),
			want: []string{"Go modules: no known vulnerability", "packages: no known vulnerability in 1 pinned"},
		},
		{
			name: "a function of Go's that is called", files: program("url.Parse(``)"), found: true,
			want: []string{"GO-2026-0001", "An invented fault", "url.Parse"},
		},
		{
			name: "packages", found: true,
			files: map[string]string{
				"go.mod": "module a\n", "a.go": "package a\n",
				"a/requirements.lock": pin("Bad_Name", "1.0") + pin("fine", "1") + pin("old", "1 ; python_version < '3'"),
				"b/package-lock.json": npm,
			},
			osv: map[string][]string{
				"PyPI bad-name 1.0": {"GHSA-1", "PYSEC-2"}, "PyPI old 1": {"GHSA-3"}, "npm left 1.0.0": {"GHSA-4"},
				"PyPI fine 1": {"W-5"}, "PyPI fine 2": {"GHSA-6"},
			},
			want: []string{
				"bad-name 1.0: GHSA-1 CVE-GHSA-1 An invented fault (pinned by a/requirements.lock)", "bad-name 1.0: PYSEC-2",
				"old 1: GHSA-3", "left 1.0.0: GHSA-4",
			},
			without: []string{"W-5", "GHSA-6"},
		},
		{
			name: "accepted", files: program(""), osv: map[string][]string{"PyPI fine 1": {"GHSA-1"}},
			accepted: "# why\nGHSA-1 only the tests use it\n", want: []string{"1 pinned versions (1 accepted)"},
		},
		{name: "accepted without need", files: program(""), accepted: "GHSA-1 why",
			fault: "GHSA-1 is accepted and no longer found"},
		{name: "accepted without a reason", files: program(""), accepted: "GHSA-1", fault: "GHSA-1 has no reason"},
		{
			name: "out of reach", files: program("url.Parse(``)"), unreach: true,
			want: []string{"Go modules: SKIPPED, http://", "packages: SKIPPED, http://", "set GOVULNDB", "set OSV_URL"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if main, ok := test.files["main.go"]; ok && strings.Contains(main, "main() {  }") {
				test.files["main.go"] = "package main\n\nfunc main() {}\n"
			}
			var out bytes.Buffer
			a := audit{
				root: clone(t, test.files), tools: "../gotools.mod", out: &out, client: http.DefaultClient,
				goDB: goDatabase(t), osvURL: osv(t, test.osv),
			}
			if test.unreach {
				a.goDB, a.osvURL = nowhere(), nowhere()
			}
			skipped, err := a.run(t.Context(), test.accepted)
			switch {
			case (skipped != nil) != test.unreach:
				t.Errorf("skipped: %v, want some: %t", skipped, test.unreach)
			case errors.Is(err, errFound) != test.found:
				t.Errorf("%v, want findings: %t", err, test.found)
			case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
				t.Errorf("%v, want %q", err, test.fault)
			case err != nil && !test.found && test.fault == "":
				t.Error(err)
			}
			for _, part := range test.want {
				if !strings.Contains(out.String(), part) {
					t.Errorf("%q is missing:\n%s", part, out.String())
				}
			}
			for _, part := range test.without {
				if strings.Contains(out.String(), part) {
					t.Errorf("%q is reported:\n%s", part, out.String())
				}
			}
		})
	}
}
