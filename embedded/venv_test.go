package embedded_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// workshop is a folder for environments, with a package of our own for pip to
// install instead of the large ones of the index, which it must not ask.
type workshop struct {
	venv, lock, env string
}

// A wheel is a zip file; Python makes it, hash and all, without a build tool.
const makeWheel = `
import base64, hashlib, sys, zipfile
folder, name = sys.argv[1:]
info = name + "-1.0.dist-info/"
files = {name + ".py": b"answer = 42\n",
         info + "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
         info + "WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
def digest(b): return base64.urlsafe_b64encode(hashlib.sha256(b).digest()).rstrip(b"=").decode()
lines = [f"{p},sha256={digest(b)},{len(b)}\n" for p, b in files.items()] + [f"{info}RECORD,,\n"]
files[info + "RECORD"] = "".join(lines).encode()
path = f"{folder}/{name}-1.0-py3-none-any.whl"
with zipfile.ZipFile(path, "w") as z:
    for p, b in files.items(): z.writestr(p, b)
print(hashlib.sha256(open(path, "rb").read()).hexdigest())
`

func newWorkshop(t *testing.T) workshop {
	t.Helper()
	dir := t.TempDir()
	w := workshop{venv: filepath.Join(dir, "venv"), lock: filepath.Join(dir, "some.lock"), env: dir}
	write(t, w.lock, w.pin(t, "first"))
	return w
}

// pin makes a package and returns its line for a list.
func (w workshop) pin(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("python3", "-c", makeWheel, w.env, name).Output()
	if err != nil {
		t.Fatalf("python3, which these tests need: %v", err)
	}
	return name + "==1.0 --hash=sha256:" + string(out)
}

// run runs venv.sh without a network.
func (w workshop) run(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("./venv.sh", args...)
	cmd.Env = append(os.Environ(), "PIP_NO_INDEX=1", "PIP_FIND_LINKS="+w.env, "UV_OFFLINE=1", "PYTHON=")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w workshop) make(t *testing.T, locks ...string) string {
	t.Helper()
	out, err := w.run(t, nil, append([]string{"", w.venv}, locks...)...)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

// has reports whether the environment's Python can import the package.
func (w workshop) has(name string) bool {
	return exec.Command(filepath.Join(w.venv, "bin", "python"), "-c", "import "+name).Run() == nil
}

func TestVenvIsMadeOnceAndMadeAnewWhenItMust(t *testing.T) {
	w := newWorkshop(t)
	if out := w.make(t, w.lock); !strings.Contains(out, "installing some.lock") || !w.has("first") {
		t.Fatalf("not made: %s", out)
	}
	// A file that goes when the environment is made anew.
	witness := filepath.Join(w.venv, "witness")
	other := filepath.Join(w.env, "other.lock")
	write(t, other, w.pin(t, "second"))
	tests := []struct {
		name   string
		change func()
		locks  []string
		says   string // "" for nothing to do
		anew   bool
	}{
		{"again", func() {}, []string{w.lock}, "", false},
		{"one more list", func() {}, []string{w.lock, other}, "installing other.lock", false},
		{"fewer lists", func() {}, []string{w.lock}, "", false},
		{
			"half made", func() { os.Remove(filepath.Join(w.venv, "agiqa.stamp")) },
			[]string{w.lock}, "installing some.lock", true,
		},
		{
			"Python gone", func() { os.Remove(filepath.Join(w.venv, "bin", "python")) },
			[]string{w.lock}, "installing some.lock", true,
		},
		{"another list", func() { write(t, w.lock, w.pin(t, "third")) }, []string{w.lock}, "installing some.lock", true},
	}
	for _, tt := range tests {
		write(t, witness, "")
		tt.change()
		out := w.make(t, tt.locks...)
		if (tt.says == "") != (out == "") || !strings.Contains(out, tt.says) {
			t.Errorf("%s: says %q, want %q", tt.name, out, tt.says)
		}
		if _, err := os.Stat(witness); (err != nil) != tt.anew {
			t.Errorf("%s: made anew: %v, want %v", tt.name, err != nil, tt.anew)
		}
	}
	if !w.has("third") || w.has("first") || w.has("second") {
		t.Error("the environment does not hold the last list alone")
	}
}

// TestVenvWithoutEnsurepip: a Python without ensurepip, as Debian 12's is on
// Debian 13, gets pip from Debian's own wheel.
func TestVenvWithoutEnsurepip(t *testing.T) {
	w, python := newWorkshop(t), suitablePython(t)
	// CPython bundles it; Debian has it in a folder of its own.
	out, err := exec.Command(python, "-c", "import glob, os, sysconfig\n"+
		"print((glob.glob(sysconfig.get_path('stdlib') + '/ensurepip/_bundled/pip-*.whl') + "+
		"glob.glob('/usr/share/python-wheels/pip-*.whl'))[0])").Output()
	if err != nil {
		t.Fatalf("no wheel of pip: %v", err)
	}
	pip := strings.TrimSpace(string(out))
	wheel, err := os.ReadFile(pip)
	if err != nil {
		t.Fatal(err)
	}
	root, disguise := t.TempDir(), t.TempDir()
	write(t, filepath.Join(root, "usr/share/python-wheels", filepath.Base(pip)), string(wheel))
	write(t, filepath.Join(disguise, "sitecustomize.py"), "import sys\nsys.modules['ensurepip'] = None\n")
	env := []string{"PYTHONPATH=" + disguise, "PREREQUISITES_ROOT=" + root}
	if out, err := w.run(t, env, python, w.venv, w.lock); err != nil || !w.has("first") {
		t.Errorf("%v: %s", err, out)
	}
}

// suitablePython is the interpreter that the list of prerequisites finds: the
// python3 of newer distributions is too new.
func suitablePython(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("bash", "../internal/prerequisites/prerequisites.sh", "python").Output()
	if err != nil {
		t.Fatalf("no suitable Python: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestVenvRefuses(t *testing.T) {
	w, python := newWorkshop(t), suitablePython(t)
	w.make(t, w.lock)
	fresh := filepath.Join(w.env, "fresh") // for refusals that come before anything is made
	// Python is told to be another one before it reads what venv.sh asks.
	disguise := func(t *testing.T, line string) []string {
		t.Helper()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "sitecustomize.py"), "import sys, sysconfig\n"+line+"\n")
		return []string{"PYTHONPATH=" + dir}
	}
	occupied := t.TempDir()
	write(t, filepath.Join(occupied, "thesis.tex"), "precious")
	wrong := filepath.Join(t.TempDir(), "wrong.lock")
	w.pin(t, "second")
	write(t, wrong, "second==1.0 --hash=sha256:"+strings.Repeat("0", 64)+"\n")
	absent := filepath.Join(t.TempDir(), "absent.lock")
	write(t, absent, "no-such-package-of-ours==1.0 --hash=sha256:"+strings.Repeat("0", 64)+"\n")
	broken := filepath.Join(t.TempDir(), "python3")
	write(t, broken, "#!/bin/sh\nexit 127\n")
	tests := []struct {
		name string
		env  []string
		args []string
		want []string
	}{
		{"no Python", nil, []string{"no-such-python", fresh, w.lock}, []string{"no-such-python not found"}},
		{"Python does not run", nil, []string{broken, fresh, w.lock}, []string{"does not run", "PYTHON"}},
		{
			"too old", disguise(t, "sys.version_info = (3, 9, 1, 'final', 0)"),
			[]string{"python3", fresh, w.lock}, []string{"is Python 3.9", "3.10, 3.11 and 3.12"},
		},
		{
			"too new", disguise(t, "sys.version_info = (3, 13, 1, 'final', 0)"),
			[]string{"python3", fresh, w.lock}, []string{"is Python 3.13"},
		},
		{
			"none of them will do", disguise(t, "sys.version_info = (3, 9, 1, 'final', 0)"),
			[]string{"", fresh, w.lock}, []string{"python3 is Python 3.9", "no other was downloaded", "make deps"},
		},
		{
			"no venv module", append(disguise(t, "sys.modules['ensurepip'] = None"), "PREREQUISITES_ROOT="+t.TempDir()),
			[]string{python, fresh, w.lock}, []string{"no venv module"},
		},
		{
			"no shared libpython", disguise(t, "sys.base_prefix = '/none'; sysconfig.get_config_vars()['LIBDIR'] = '/none'"),
			[]string{python, fresh, w.lock},
			[]string{"libpython", "which Triton's Python backend loads"},
		},
		{
			"somebody's folder", nil,
			[]string{"", occupied, w.lock}, []string{"no Python environment", "remove it or give another"},
		},
		{"no list", nil, []string{"", w.venv, filepath.Join(w.env, "none.lock")}, []string{"none.lock cannot be read"}},
		{
			"wrong hash", nil,
			[]string{"", w.venv, w.lock, wrong}, []string{"not the one that wrong.lock lists", "PIP_INDEX_URL"},
		},
		{
			"no network", nil,
			[]string{"", w.venv, w.lock, absent},
			[]string{"cannot be reached or lacks a package of absent.lock", "PIP_FIND_LINKS"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := w.run(t, tt.env, tt.args...)
			if err == nil {
				t.Fatalf("it accepts: %s", out)
			}
			lines := strings.Split(strings.TrimSpace(out), "\n")
			last := lines[len(lines)-1]
			if !strings.HasPrefix(last, "venv: ") {
				t.Errorf("last line %q is not its own", last)
			}
			for _, w := range tt.want {
				if !strings.Contains(last, w) {
					t.Errorf("says %q, want %q", last, w)
				}
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(occupied, "thesis.tex")); err != nil || string(b) != "precious" {
		t.Errorf("somebody's file: %q, %v", b, err)
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Error("a refusal left a folder")
	}
	stamp, err := os.ReadFile(filepath.Join(w.venv, "agiqa.stamp"))
	if err != nil || strings.Count(string(stamp), "\n") != 1 {
		t.Errorf("stamp %q (%v), want that of the list which was installed", stamp, err)
	}
}
