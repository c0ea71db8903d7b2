package locks_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// risks are what no script of the project does: run or install what it has not
// compared with a hash that is written down, or write to a name in /tmp that
// somebody else can predict.
var risks = []struct {
	what         string
	line, unless *regexp.Regexp
}{
	{
		"pip without hashes", regexp.MustCompile(`\bpip["']? .*\b(install|download)\b`),
		regexp.MustCompile(`--require-hashes|--no-index|--no-deps .*-e `),
	},
	{"uv without hashes", regexp.MustCompile(`\buv["']? (pip (install|sync)|tool|run|add)\b`), nil},
	{"npm without its lock file", regexp.MustCompile(`\bnpx\b|\bnpm (i|install|add|exec)\b`), nil},
	{"npm running scripts of packages", regexp.MustCompile(`\bnpm ci\b`), regexp.MustCompile(`--ignore-scripts`)},
	{"a Go program outside go.mod and gotools.mod", regexp.MustCompile(`\bgo (run|install|get)\b.*@(latest|v\d)`), nil},
	{"a download that is run", regexp.MustCompile(`\b(curl|wget)\b[^|;&]*\|\s*(sudo )?\S*(sh|python3?|tar)\b`), nil},
	{"a predictable name in /tmp", regexp.MustCompile(`[^:]/tmp/\w`), nil},
}

// said matches what isn't run: comments and messages.
var said = regexp.MustCompile(`^(#|echo "[^"|;]*"( >&2)?$)`)

// commands returns the lines of a script with their continuations, comments
// left out.
func commands(script string) []string {
	var lines []string
	for line := range strings.Lines(strings.ReplaceAll(script, "\\\n", " ")) {
		if line = strings.TrimSpace(line); line != "" && !said.MatchString(line) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	return lines
}

func riskOf(command string) string {
	for _, r := range risks {
		if r.line.MatchString(command) && (r.unless == nil || !r.unless.MatchString(command)) {
			return r.what
		}
	}
	return ""
}

func TestRisks(t *testing.T) {
	for command, want := range map[string]string{
		"venv/bin/python -m pip install --quiet x":                "pip without hashes",
		`"$venv/bin/python" -m pip install --require-hashes -r f`: "",
		"pip download -r f --require-hashes":                      "",
		"pip install --no-deps --no-build-isolation -e training":  "",
		`"$p" "$wheel/pip" install --no-index "$wheel"`:           "",
		"uv pip compile --generate-hashes f.in":                   "",
		"uv tool install ruff":                                    "uv without hashes",
		"npm ci":                                                  "npm running scripts of packages",
		"npm ci --ignore-scripts":                                 "",
		"npm install left-pad":                                    "npm without its lock file",
		"go run golang.org/x/tools/cmd/goimports@latest":          "a Go program outside go.mod and gotools.mod",
		"go tool -modfile=tools/gotools.mod govulncheck":          "",
		"curl -fsSL https://x/install.sh | sudo bash":             "a download that is run",
		"wget -O- https://x/y.tgz | tar xz":                       "a download that is run",
		"curl -fs https://x/metrics | grep x":                     "",
		"echo x >/tmp/agiqa.log":                                  "a predictable name in /tmp",
		"log=$(mktemp)":                                           "",
		"TMPDIR=/tmp ./x":                                         "",
	} {
		if got := riskOf(command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}

// TestDownloadsAreVerified reads every script and the program's own source.
func TestDownloadsAreVerified(t *testing.T) {
	const root = "../.."
	scripts := tracked(t, root, "*.sh", "Makefile", "*Dockerfile", ".ci/run", ".github/*")
	if len(scripts) < 10 {
		t.Fatalf("only %q", scripts)
	}
	for _, name := range scripts {
		for _, command := range commands(content(t, root, name)) {
			if risk := riskOf(command); risk != "" {
				t.Errorf("%s: %s: %s", name, risk, command)
			}
		}
	}
	for _, name := range tracked(t, root, "*.go", ":!*_test.go") {
		if strings.Contains(content(t, root, name), `"/tmp/`) {
			t.Errorf("%s: a predictable name in /tmp", name)
		}
	}
}

// TestToolsArePinned: every go tool that is run by its name is in gotools.mod.
func TestToolsArePinned(t *testing.T) {
	const root = "../.."
	tools := content(t, root, "tools/gotools.mod")
	block := tools[strings.Index(tools, "tool (\n"):]
	block = block[:strings.Index(block, ")")]
	used := regexp.MustCompile(`\b[a-z]+(?:\.[a-z]+)+/[\w./-]+|\bgo tool .*-modfile=\S+ (\w+)`)
	found := 0
	for _, name := range tracked(t, root, "*.sh", "Makefile") {
		for _, command := range commands(content(t, root, name)) {
			if !strings.Contains(command, "-modfile=tools/gotools.mod") {
				continue
			}
			for _, m := range used.FindAllStringSubmatch(command, -1) {
				found++
				if tool := cmp.Or(m[1], m[0]); !regexp.MustCompile(`(?m)^\t(\S+/)?` +
					regexp.QuoteMeta(tool) + `$`).MatchString(block) {
					t.Errorf("%s runs %s, which is no tool of gotools.mod", name, tool)
				}
			}
		}
	}
	if found < 3 {
		t.Errorf("scripts run only %d tools of gotools.mod", found)
	}
}

func tracked(t *testing.T, root string, patterns ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git",
		append([]string{"ls-files", "--cached", "--others", "--exclude-standard", "--"}, patterns...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// content is that of a file, or nothing where it was deleted and not committed.
func content(t *testing.T, root, name string) string {
	t.Helper()
	bytes, err := os.ReadFile(filepath.Join(root, name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(bytes)
}
