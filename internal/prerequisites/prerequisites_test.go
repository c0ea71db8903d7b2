package prerequisites_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/internal/prerequisites"
)

// fakeMachine is a machine with nothing but bash: an empty PATH, an empty root
// and a checkout that was never built.
type fakeMachine struct {
	root, bin, checkout string
	env                 []string
}

func newFakeMachine(t *testing.T) *fakeMachine {
	t.Helper()
	dir := t.TempDir()
	m := &fakeMachine{
		root: filepath.Join(dir, "root"), bin: filepath.Join(dir, "bin"), checkout: filepath.Join(dir, "a clone é"),
	}
	for _, path := range []string{m.root, m.bin, m.checkout} {
		mkdir(t, path)
	}
	for _, name := range []string{"prerequisites.sh", "uv.lock"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(m.checkout, "internal/prerequisites", name), string(content), 0o755)
	}
	m.env = []string{"PATH=" + m.bin, "HOME=" + dir, "PREREQUISITES_ROOT=" + m.root}
	return m
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	mkdir(t, filepath.Dir(path))
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// command puts a program on the machine's PATH.
func (m *fakeMachine) command(t *testing.T, name, script string) {
	t.Helper()
	write(t, filepath.Join(m.bin, name), "#!/bin/bash\n"+script+"\n", 0o755)
}

// link puts one of this machine's own programs on the fake machine's PATH.
func (m *fakeMachine) link(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		m.command(t, name, fmt.Sprintf("exec %s \"$@\"", path))
	}
}

func (m *fakeMachine) file(t *testing.T, path string) {
	t.Helper()
	write(t, filepath.Join(m.root, path), "", 0o644)
}

func (m *fakeMachine) distribution(t *testing.T, id, version string) {
	t.Helper()
	write(t, filepath.Join(m.root, "etc/os-release"), fmt.Sprintf("NAME=x\nID=%s\nVERSION_ID=\"%s\"\n", id, version),
		0o644)
}

func (m *fakeMachine) run(args ...string) (string, error) {
	cmd := exec.Command("/bin/bash",
		append([]string{filepath.Join(m.checkout, "internal/prerequisites/prerequisites.sh")}, args...)...)
	cmd.Env = m.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// missing returns the names that status reports as missing, and all details.
func (m *fakeMachine) missing(t *testing.T) (names []string, details map[string]string) {
	t.Helper()
	out, err := m.run("status")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	details = map[string]string{}
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSpace(line), "\t", 4)
		details[f[0]] = f[2] + ": " + f[3]
		if f[2] == prerequisites.Missing {
			names = append(names, f[0])
		}
	}
	return names, details
}

const (
	// A Go of version $1 for command.
	goOf = "echo go%s; echo %s"
	// A Python that answers the questions about it with $1.
	pythonOf = "while read -r line; do :; done; printf '%%b' '%s'"
	tooNew   = `python\tpython3 is Python 3.13, and the bundled Triton works with 3.10, 3.11 and 3.12\n`
)

// everything maps each prerequisite to what makes it present, alone.
var everything = map[string]func(*testing.T, *fakeMachine){
	"make":         func(t *testing.T, m *fakeMachine) { m.command(t, "make", "") },
	"certificates": func(t *testing.T, m *fakeMachine) { m.file(t, "etc/ssl/certs/ca-certificates.crt") },
	"go":           func(t *testing.T, m *fakeMachine) { m.command(t, "go", fmt.Sprintf(goOf, "1.26.3", "local")) },
	// The parts of a Python come with it.
	"python": func(t *testing.T, m *fakeMachine) {
		m.command(t, "python3", fmt.Sprintf(pythonOf, `venv\tno\nlibpython\tno\n`))
	},
	"venv": func(t *testing.T,
		m *fakeMachine) {
		m.command(t, "python3", fmt.Sprintf(pythonOf, `libpython\tno\n`))
	},
	"libpython":  func(t *testing.T, m *fakeMachine) { m.command(t, "python3", fmt.Sprintf(pythonOf, `venv\tno\n`)) },
	"git":        func(t *testing.T, m *fakeMachine) { m.command(t, "git", "") },
	"gcc":        func(t *testing.T, m *fakeMachine) { m.command(t, "gcc", "") },
	"libc":       func(t *testing.T, m *fakeMachine) { m.file(t, "usr/include/stdlib.h") },
	"redis":      func(t *testing.T, m *fakeMachine) { m.command(t, "redis-server", "") },
	"postgresql": func(t *testing.T, m *fakeMachine) { m.file(t, "usr/lib/postgresql/15/bin/postgres") },
	"promtool":   func(t *testing.T, m *fakeMachine) { m.command(t, "promtool", "") },
	"haproxy":    func(t *testing.T, m *fakeMachine) { m.file(t, "usr/sbin/haproxy") },
	"node":       func(t *testing.T, m *fakeMachine) { m.command(t, "node", "") },
	"npm":        func(t *testing.T, m *fakeMachine) { m.command(t, "npm", "") },
	"jemalloc":   func(t *testing.T, m *fakeMachine) { m.file(t, "usr/lib/x86_64-linux-gnu/libjemalloc.so.2") },
}

// TestEachIsDetected: alone on an empty machine, each is found and all others
// are reported.
func TestEachIsDetected(t *testing.T) {
	all, _ := newFakeMachine(t).missing(t)
	if len(all) != len(everything) {
		t.Errorf("missing on an empty machine: %v, want all of %d", all, len(everything))
	}
	for _, name := range all {
		t.Run(name, func(t *testing.T) {
			bring, ok := everything[name]
			if !ok {
				t.Fatal("the test does not know how it is detected: add it to the table")
			}
			m := newFakeMachine(t)
			bring(t, m)
			_, details := m.missing(t)
			for other, detail := range details {
				python := func(s string) bool { return s == "python" || s == "venv" || s == "libpython" }
				if python(name) && python(other) && name != other {
					continue
				}
				if strings.HasPrefix(detail, "ok: ") != (other == name) {
					t.Errorf("%s is %q", other, detail)
				}
			}
		})
	}
}

func TestOldNode(t *testing.T) {
	m := newFakeMachine(t)
	m.command(t, "node", "exit 1")
	if _, details := m.missing(t); !strings.HasSuffix(details["node"], "/node is older than Node.js 18") {
		t.Errorf("node is %q", details["node"])
	}
}

func TestCheckReportsAllAtOnce(t *testing.T) {
	m := newFakeMachine(t)
	wants := map[string]int{"build": 3, "run": 6, "test": len(everything)}
	for purpose, want := range wants {
		out, err := m.run("check", purpose)
		if err == nil {
			t.Errorf("check %s succeeds on an empty machine", purpose)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if got := len(lines) - 2; got != want || !strings.HasSuffix(lines[len(lines)-1], "make deps") {
			t.Errorf("check %s reports %d, want %d and the command that installs them:\n%s", purpose, got, want, out)
		}
	}
	for name, bring := range everything {
		if name != "venv" && name != "libpython" {
			bring(t, m)
		}
	}
	m.command(t, "python3", fmt.Sprintf(pythonOf, ""))
	for purpose := range wants {
		if out, err := m.run("check", purpose); err != nil || out != "" {
			t.Errorf("check %s with everything there: %v, %q", purpose, err, out)
		}
	}
}

func TestGoVersions(t *testing.T) {
	tests := []struct {
		name, version, toolchain string
		env                      string
		want                     string
	}{
		{"as go.mod wants", "1.26.0", "local", "", "ok: BIN/go"},
		{"newer", "1.30", "auto", "", "ok: BIN/go"},
		{"downloads its successor", "1.24.4", "auto", "", "ok: BIN/go"},
		{"may not download", "1.24.4", "local", "",
			"missing: BIN/go is go1.24.4, and GOTOOLCHAIN=local keeps it from downloading Go 1.26"},
		{"may not download here", "1.24.4", "auto", "GOTOOLCHAIN=local",
			"missing: BIN/go is go1.24.4, and GOTOOLCHAIN=local keeps it from downloading Go 1.26"},
		{"cannot download", "1.20.14", "auto", "", "missing: BIN/go is go1.20.14"},
		{"older than such numbers", "1.9", "auto", "", "missing: BIN/go is go1.9"},
		{"development version", "devel", "auto", "", "missing: BIN/go has no known version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newFakeMachine(t)
			m.env = append(m.env, tt.env)
			m.command(t, "go", strings.ReplaceAll(fmt.Sprintf(goOf, tt.version, tt.toolchain), "godevel", "devel +abc"))
			_, details := m.missing(t)
			if got := strings.ReplaceAll(details["go"], m.bin, "BIN"); got != tt.want {
				t.Errorf("go is %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("given, and not there", func(t *testing.T) {
		m := newFakeMachine(t)
		everything["go"](t, m)
		m.env = append(m.env, "GO=gotip")
		if _, details := m.missing(t); details["go"] != "missing: gotip not found" {
			t.Errorf("go is %q", details["go"])
		}
	})
	t.Run("not on PATH", func(t *testing.T) {
		m := newFakeMachine(t)
		m.command(t, "go", fmt.Sprintf(goOf, "1.19", "auto"))
		elsewhere := filepath.Join(m.root, "usr/lib/go-1.26/bin/go")
		write(t, elsewhere, "#!/bin/bash\n"+fmt.Sprintf(goOf, "1.26.1", "auto"), 0o755)
		if out, err := m.run("go"); err != nil || strings.TrimSpace(out) != elsewhere {
			t.Errorf("go is %q (%v), want %s", out, err, elsewhere)
		}
	})
}

// TestGoVersionIsThatOfTheModule: the list and go.mod name the same Go.
func TestGoVersionIsThatOfTheModule(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	script, err := os.ReadFile("prerequisites.sh")
	if err != nil {
		t.Fatal(err)
	}
	if m == nil || !strings.Contains(string(script), "Go "+string(m[1])+",") {
		t.Errorf("go.mod wants Go %s, the list another", m[1])
	}
}

func TestPython(t *testing.T) {
	downloads := `mkdir -p "$UV_PYTHON_INSTALL_DIR/cpython-3.12.9-linux-x86_64-gnu/bin" && printf '#!/bin/bash\nwhile read -r line; do :; done\n%%s' '%s' > "$UV_PYTHON_INSTALL_DIR/cpython-3.12.9-linux-x86_64-gnu/bin/python3.12" && chmod +x "$UV_PYTHON_INSTALL_DIR"/*/bin/*`
	tests := []struct {
		name    string
		prepare func(*testing.T, *fakeMachine)
		state   string // of python
		out     string // of download-python: its last line
		fails   bool
	}{
		{
			name: "too new, uv is here",
			prepare: func(t *testing.T, m *fakeMachine) {
				m.command(t, "python3", fmt.Sprintf(pythonOf, tooNew))
				m.command(t, "uv", fmt.Sprintf(downloads, ""))
			},
			state: "download: python3 is Python 3.13",
		},
		{
			name:    "none at all, uv is here",
			prepare: func(t *testing.T, m *fakeMachine) { m.command(t, "uv", fmt.Sprintf(downloads, "")) },
			state:   "download: python3 not found",
		},
		{
			name: "uv cannot download",
			prepare: func(t *testing.T, m *fakeMachine) {
				m.command(t, "uv", "echo 'error: failed' >&2; echo '  Caused by: no route to host' >&2; exit 1")
			},
			state: "download", out: "uv: Caused by: no route to host", fails: true,
		},
		{
			name: "uv installs something else",
			prepare: func(t *testing.T, m *fakeMachine) {
				m.command(t, "uv", fmt.Sprintf(downloads, `printf "libpython\\tno shared library\\n"`))
			},
			state: "download", out: "no shared library", fails: true,
		},
		{
			name: "uv installs nothing",
			prepare: func(t *testing.T, m *fakeMachine) {
				m.command(t, "uv", "")
			},
			state: "download", out: "not found", fails: true,
		},
		{
			name: "no uv, and the index cannot be reached",
			prepare: func(t *testing.T, m *fakeMachine) {
				python, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
				if err != nil {
					t.Fatal(err)
				}
				// The first argument is "-" where it is asked about itself.
				m.command(t, "python3",
					fmt.Sprintf(`[[ $1 == - ]] || exec %s "$@"; `+pythonOf, strings.TrimSpace(string(python)), tooNew))
				m.env = append(m.env, "PIP_NO_INDEX=1")
			},
			state: "download: python3 is Python 3.13", out: "installing uv: ERROR: No matching distribution found for uv",
			fails: true,
		},
		{
			name: "no uv and no venv",
			prepare: func(t *testing.T, m *fakeMachine) {
				m.command(t, "python3", fmt.Sprintf(`[[ $1 == - ]] || exit 1; `+pythonOf, tooNew))
			},
			state: "missing: python3 is Python 3.13", out: "neither uv nor a python3 with venv is here", fails: true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newFakeMachine(t)
			m.link(t, "mkdir", "chmod", "rm")
			tt.prepare(t, m)
			_, details := m.missing(t)
			if !strings.HasPrefix(details["python"], tt.state) {
				t.Errorf("python is %q, want %q", details["python"], tt.state)
			}
			out, err := m.run("download-python")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if (err != nil) != tt.fails || !strings.Contains(lines[len(lines)-1], tt.out) {
				t.Errorf("download-python: %v, %q, want %q", err, out, tt.out)
			}
			if python, err := m.run("python"); !tt.fails &&
				(err != nil || !strings.Contains(python, ".cache/python/cpython-3.12.9")) {
				t.Errorf("after the download python is %q (%v)", python, err)
			}
		})
	}
}

// fakeArchive is where the fake machine's apt gets Debian from; its security
// updates come first in apt's list.
const fakeArchive = "http://mirror.example/debian"

// indexTargets is a fake apt-get's answer to that question.
const indexTargets = `if [[ $1 == indextargets ]]; then
echo "` + fakeArchive + `-security/ stable-security"; echo "` + fakeArchive + `/ stable"; exit
fi
`

// TestInstall: make deps announces what it runs, runs exactly that, and is
// content only when nothing is missing afterwards.
func TestInstall(t *testing.T) {
	bare := "apt-get install --yes --no-install-recommends ca-certificates make"
	rest := "git gcc libc6-dev redis-server postgresql prometheus haproxy nodejs npm libjemalloc2"
	key := "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] " + fakeArchive
	backports := "/etc/apt/sources.list.d/agiqa-bookworm-backports.list"
	tests := []struct {
		name, id, version string
		prepare           func(*testing.T, *fakeMachine)
		want              []string // commands of apt-get
		files             map[string]string
		out               string
	}{
		{
			name: "Debian 12", id: "debian", version: "12",
			want: []string{
				"apt-get update", bare + " python3 python3-venv libpython3-dev " + rest,
				"apt-get install --yes --no-install-recommends -t bookworm-backports golang-go",
			},
			files: map[string]string{backports: "deb " + key + " bookworm-backports main\n"},
		},
		{
			name: "Debian 12 with a Go", id: "debian", version: "12",
			prepare: everything["go"],
			want: []string{"apt-get update", bare + " python3 python3-venv libpython3-dev " +
				rest},
		},
		{
			name: "Debian 13", id: "debian", version: "13",
			want: []string{"apt-get update", bare + " golang-go python3 python3-venv " + rest},
		},
		{
			name: "Debian 13 whose Python is too new, and no download", id: "debian", version: "13",
			prepare: func(t *testing.T, m *fakeMachine) {
				m.command(t, "python3", fmt.Sprintf(`[[ $1 == - ]] || exit 0; `+pythonOf, tooNew))
				m.command(t, "uv", "echo 'no route to host' >&2; exit 1")
			},
			want: []string{
				"apt-get update", bare + " golang-go " + rest,
				"apt-get update", "apt-get install --yes --no-install-recommends python3.11 libpython3.11 python3-pip-whl",
			},
			files: map[string]string{
				"/etc/apt/sources.list.d/agiqa-python3.11.list": "deb " + key + " bookworm main\n" +
					"deb " + key + "-security bookworm-security main\n",
				"/etc/apt/preferences.d/agiqa-python3.11": "Package: *\nPin: release n=bookworm*\nPin-Priority: -1\n\n" +
					"Package: python3.11* libpython3.11*\nPin: release n=bookworm*\nPin-Priority: 500\n",
			},
			out: "Python 3.12 was not downloaded (uv: no route to host).",
		},
		{
			name: "Ubuntu 22.04", id: "ubuntu", version: "22.04",
			want: []string{
				"apt-get update",
				bare + " golang-1.23-go python3 python3-venv libpython3-dev " +
					strings.Replace(rest, "nodejs ", "", 1),
			},
		},
		{
			name: "Ubuntu 24.04 without a shared libpython", id: "ubuntu", version: "24.04",
			prepare: everything["venv"],
			want: []string{
				"apt-get update", bare + " golang-go libpython3-dev " + rest,
			},
		},
		{
			name: "another Python than the system's lacks its parts", id: "ubuntu", version: "24.04",
			prepare: func(t *testing.T, m *fakeMachine) {
				m.command(t, "python3", fmt.Sprintf(pythonOf, tooNew))
				m.command(t, "python3.11", fmt.Sprintf(pythonOf, `venv\tpython3.11 has no venv\nlibpython\tpython3.11 has none\n`))
			},
			want: []string{
				"apt-get update",
				bare + " golang-go python3.11-venv libpython3.11-dev " + rest,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newFakeMachine(t)
			m.distribution(t, tt.id, tt.version)
			if tt.prepare != nil {
				tt.prepare(t, m)
			}
			mkdir(t, filepath.Join(m.root, "etc/apt/sources.list.d"))
			mkdir(t, filepath.Join(m.root, "etc/apt/preferences.d"))
			m.link(t, "env", "bash", "stat")
			m.command(t, "sudo", `exec "$@"`)
			log := filepath.Join(t.TempDir(), "log")
			m.command(t, "apt-get",
				indexTargets+fmt.Sprintf("echo \"apt-get $*\" >> %s; [[ $1 == update ]] || . %s/after", log, m.root))
			// Installation brings everything, Python last.
			var after strings.Builder
			full := newFakeMachine(t)
			for name, bring := range everything {
				if name != "venv" && name != "libpython" && name != "python" {
					bring(t, full)
				}
			}
			fmt.Fprintf(&after, "PATH=/usr/bin:/bin; cp -a %s/. %s/; cp -an %s/. %s/\n", full.root, m.root, full.bin, m.bin)
			last := tt.want[len(tt.want)-1]
			fmt.Fprintf(&after, "case $* in *'%s') printf '#!/bin/bash\\nwhile read -r line; do :; done\\n' | tee "+
				"%s/python3.11 > %[2]s/python3; chmod +x %[2]s/python*;; esac\n",
				last[strings.LastIndexByte(last, ' '):], m.bin)
			write(t, filepath.Join(m.root, "after"), after.String(), 0o644)

			out, err := m.run("install")
			if err != nil || !strings.HasSuffix(out, "Everything that make run and make test need is here.\n") {
				t.Errorf("%v: %s", err, out)
			}
			ran, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Split(strings.TrimSpace(string(ran)), "\n")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
			for _, command := range got {
				if !strings.Contains(out, "  "+command+"\n") {
					t.Errorf("%s was not announced:\n%s", command, out)
				}
			}
			for path, want := range tt.files {
				if b, err := os.ReadFile(m.root + path); err != nil || string(b) != want {
					t.Errorf("%s is %q (%v), want %q", path, b, err, want)
				}
			}
			if !strings.Contains(out, tt.out) {
				t.Errorf("says %q, want %q", out, tt.out)
			}
		})
	}
}

func TestInstallRefuses(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(*testing.T, *fakeMachine)
		want    string
	}{
		{"no apt", func(*testing.T, *fakeMachine) {}, "no apt: install the above with its own package manager"},
		{"apt fails", func(t *testing.T, m *fakeMachine) {
			m.link(t, "env", "bash")
			m.command(t, "sudo", `exec "$@"`)
			m.command(t, "apt-get", "exit 100")
		}, "failed: apt-get update"},
		{"something stays missing", func(t *testing.T, m *fakeMachine) {
			m.link(t, "env", "bash", "stat")
			m.command(t, "sudo", `exec "$@"`)
			m.command(t, "apt-get", "")
			m.command(t, "python3", fmt.Sprintf(pythonOf, ""))
		}, "still missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newFakeMachine(t)
			tt.prepare(t, m)
			out, err := m.run("install")
			if err == nil || !strings.Contains(out, tt.want) {
				t.Errorf("%v: %q, want %q", err, out, tt.want)
			}
		})
	}
	t.Run("neither root nor sudo", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("runs as root")
		}
		m := newFakeMachine(t)
		m.command(t, "apt-get", "echo ran")
		out, err := m.run("install")
		if err == nil || !strings.Contains(out, "Run this as root") || strings.Contains(out, "ran\n") {
			t.Errorf("%v: %q", err, out)
		}
	})
}

// TestPackagesExist: apt knows every package that is advised on this
// distribution.
func TestPackagesExist(t *testing.T) {
	aptCache, err := exec.LookPath("apt-cache")
	if err != nil {
		t.Skip("this machine has no apt")
	}
	list, err := exec.Command(aptCache, "pkgnames").Output()
	if err != nil {
		t.Fatal(err)
	}
	// Without lists apt knows what is installed, and no more.
	if strings.Count(string(list), "\n") < 10_000 {
		t.Skip("this machine has no lists of apt packages")
	}
	out, err := exec.Command("./prerequisites.sh", "packages", "test").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(out))
	if len(names) < 10 {
		t.Fatalf("packages %q", out)
	}
	known := strings.Fields(string(list))
	for _, name := range names {
		if !slices.Contains(known, name) {
			t.Errorf("apt does not know %s", name)
		}
	}
}

// TestDocumentsNameTheList: the README and the installation page name the
// packages of the list, for each distribution that they speak of.
func TestDocumentsNameTheList(t *testing.T) {
	tests := []struct{ document, id, version string }{
		{"README.md", "debian", "12"},
		{"README.md", "debian", "13"},
		{"docs/installation.md", "debian", "12"},
		{"docs/installation.md", "debian", "13"},
		{"docs/installation.md", "ubuntu", "22.04"},
		{"docs/installation.md", "ubuntu", "24.04"},
	}
	for _, tt := range tests {
		content, err := os.ReadFile(filepath.Join("../..", tt.document))
		if err != nil {
			t.Fatal(err)
		}
		m := newFakeMachine(t)
		m.distribution(t, tt.id, tt.version)
		run, err := m.run("packages", "run")
		if err != nil {
			t.Fatal(run)
		}
		all, err := m.run("packages", "test")
		if err != nil {
			t.Fatal(all)
		}
		run = strings.TrimSpace(run)
		for _, want := range []string{run, strings.TrimPrefix(strings.TrimSpace(all), run+" ")} {
			if !strings.Contains(string(content), "`"+want+"`") {
				t.Errorf("%s lacks the packages for %s %s: `%s`", tt.document, tt.id, tt.version, want)
			}
		}
	}
}

func TestStatus(t *testing.T) {
	items, err := prerequisites.Status(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, item := range items {
		names = append(names, item.Name)
		if !slices.Contains([]string{"build", "run", "test"}, item.Purpose) || item.Detail == "" ||
			!slices.Contains([]string{prerequisites.OK, prerequisites.Missing, prerequisites.Download}, item.State) {
			t.Errorf("%+v", item)
		}
	}
	for name := range everything {
		if !slices.Contains(names, name) {
			t.Errorf("status lacks %s", name)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := prerequisites.Status(t.Context(), "."); err == nil || !strings.Contains(err.Error(), "bash") {
		t.Errorf("without bash: %v", err)
	}
}
