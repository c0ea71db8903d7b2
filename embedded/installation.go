package embedded

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// requirements is the list that venv.sh installs.
//
//go:embed requirements.lock
var requirements string

// installation is a Python environment with the wheel in it.
type installation struct {
	venv         string
	version      string // of Python, such as "3.11"
	sitePackages string
	freeThreaded bool
	sharedName   string   // such as libpython3.11.so.1.0
	sharedDirs   []string // where it may be
}

// inspection is a Python script that describes the interpreter that runs it.
// sysconfig's INSTSONAME names the static library if there is no shared one, so
// the name is built from the version. The path of the packages is relative to
// the environment, since Python may not be able to decode the latter's path.
const inspection = `
import json, os, sys, sysconfig
v = "%d.%d" % sys.version_info[:2]
lib = sysconfig.get_config_var
print(json.dumps({"version": v, "site_packages": os.path.relpath(sysconfig.get_paths()["purelib"], sys.prefix),
    "free_threaded": bool(lib("Py_GIL_DISABLED")), "shared_name": "libpython%s.so.1.0" % v,
    "shared_dirs": [d for d in (lib("LIBDIR"), os.path.join(sys.base_prefix, "lib")) if d]}))`

// inspectPython runs the environment's Python to describe it.
func inspectPython(ctx context.Context, venv string) (installation, error) {
	// Long enough for a cold disk and a busy machine.
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	python := filepath.Join(venv, "bin", "python")
	out, err := exec.CommandContext(ctx, python, "-I", "-X", "utf8", "-c", inspection).Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %.200s", err, lastLine(string(exit.Stderr)))
		}
		return installation{}, fmt.Errorf("%s does not run: %w", python, err)
	}
	var answer struct {
		Version      string   `json:"version"`
		SitePackages string   `json:"site_packages"`
		FreeThreaded bool     `json:"free_threaded"`
		SharedName   string   `json:"shared_name"`
		SharedDirs   []string `json:"shared_dirs"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return installation{}, fmt.Errorf("%s prints %.80q: %w", python, out, err)
	}
	return installation{
		venv: venv, version: answer.Version,
		sitePackages: filepath.Join(venv, answer.SitePackages), freeThreaded: answer.FreeThreaded,
		sharedName: answer.SharedName, sharedDirs: answer.SharedDirs,
	}, nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func (i installation) wheel(path ...string) string {
	return filepath.Join(append([]string{i.sitePackages, "pytriton", "tritonserver"}, path...)...)
}

// server is the tritonserver binary.
func (i installation) server() string { return i.wheel("bin", "tritonserver") }

// stub is the Python backend's worker for this Python.
func (i installation) stub() string {
	return i.wheel("python_backend_stubs", i.version, "triton_python_backend_stub")
}

// libPython returns the folder of the shared libpython, or "" without one.
func (i installation) libPython() string {
	for _, dir := range i.sharedDirs {
		if _, err := os.Stat(filepath.Join(dir, i.sharedName)); err == nil {
			return dir
		}
	}
	return ""
}

// missingPackages returns the packages of the lock that the environment lacks.
func (i installation) missingPackages(lock string) ([]string, error) {
	pins, err := parseLock(lock, i.version)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, p := range pins {
		if _, err := os.Stat(filepath.Join(i.sitePackages, p.distInfo(), "RECORD")); err != nil {
			missing = append(missing, p.name+"=="+p.version)
		}
	}
	return missing, nil
}

// pin is one package of a lock.
type pin struct{ name, version string }

// distInfo is the folder that pip creates beside an installed package.
func (p pin) distInfo() string {
	return strings.ReplaceAll(p.name, "-", "_") + "-" + p.version + ".dist-info"
}

var (
	lockLine   = regexp.MustCompile(`^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; (.*?))? *\\?$`)
	lockMarker = regexp.MustCompile(`^python_full_version (<|>=) '(\d+)\.(\d+)'$`)
)

// parseLock returns the pins of a requirements lock that apply to the given
// Python. It parses what lock.sh writes and rejects everything else.
func parseLock(lock, python string) ([]pin, error) {
	var pins []pin
	for line := range strings.Lines(lock) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "--hash=") {
			continue
		}
		m := lockLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("requirements: line %q is not name==version", line)
		}
		ok, err := markerHolds(m[3], python)
		if err != nil {
			return nil, err
		}
		if ok {
			pins = append(pins, pin{m[1], m[2]})
		}
	}
	return pins, nil
}

func markerHolds(marker, python string) (bool, error) {
	if marker == "" {
		return true, nil
	}
	m := lockMarker.FindStringSubmatch(marker)
	if m == nil {
		return false, fmt.Errorf("requirements: marker %q is not supported", marker)
	}
	have, err := parseVersion(python)
	if err != nil {
		return false, err
	}
	major, _ := strconv.Atoi(m[2])
	minor, _ := strconv.Atoi(m[3])
	older := have.before(version{major, minor})
	return older == (m[1] == "<"), nil
}

// version is the first two numbers of a version.
type version struct{ major, minor int }

func parseVersion(s string) (version, error) {
	var v version
	if _, err := fmt.Sscanf(s, "%d.%d", &v.major, &v.minor); err != nil {
		return v, fmt.Errorf("%.40q is not a version", s)
	}
	return v, nil
}

func (v version) before(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}
