// Package locks reads the files that pin what isn't a Go module: pip's
// requirements files and npm's package-lock.json. What pins nothing exactly, or
// without a hash, is an error.
package locks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The ecosystems, as the OSV schema names them.
const (
	PyPI = "PyPI"
	NPM  = "npm"
)

// Pin is one version of one package.
type Pin struct {
	Ecosystem string
	Name      string
	Version   string
	Marker    string   // the Pythons and platforms it is for; empty: all
	Hashes    []string // of the files that are accepted: "sha256:" and hexadecimal digits, or npm's integrity
	File      string   // as it was given
}

var (
	requirement = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)$`)
	hash        = regexp.MustCompile(`^--hash=(sha256:[0-9a-f]{64})$`)
	separators  = regexp.MustCompile(`[-_.]+`)
)

// Read returns the pins of a file, in its order.
func Read(file string) ([]Pin, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	parse := requirements
	if path.Base(filepath.ToSlash(file)) == "package-lock.json" {
		parse = packageLock
	}
	pins, err := parse(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(pins) == 0 {
		return nil, fmt.Errorf("%s: pins nothing", file)
	}
	for i := range pins {
		pins[i].File = file
	}
	return pins, nil
}

func requirements(content []byte) (pins []Pin, err error) {
	var faults []error
	for line := range strings.Lines(strings.ReplaceAll(string(content), "\\\n", " ")) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		what, options, _ := strings.Cut(line, " --")
		spec, marker, _ := strings.Cut(what, ";")
		m := requirement.FindStringSubmatch(strings.TrimSpace(spec))
		if m == nil {
			faults = append(faults, fmt.Errorf("%q is no NAME==VERSION", what))
			continue
		}
		pin := Pin{
			Ecosystem: PyPI, Name: strings.ToLower(separators.ReplaceAllString(m[1], "-")), Version: m[2],
			Marker: strings.TrimSpace(marker),
		}
		for _, option := range strings.Fields("--" + options) {
			if h := hash.FindStringSubmatch(option); h != nil {
				pin.Hashes = append(pin.Hashes, h[1])
			} else if option != "--" {
				faults = append(faults, fmt.Errorf("%s: option %s isn't a SHA-256", pin.Name, option))
			}
		}
		if len(pin.Hashes) == 0 {
			faults = append(faults, fmt.Errorf("%s has no hash", pin.Name))
		}
		pins = append(pins, pin)
	}
	return pins, errors.Join(faults...)
}

func packageLock(content []byte) (pins []Pin, err error) {
	var lock struct {
		LockfileVersion int
		Packages        map[string]struct{ Name, Version, Integrity string }
	}
	if err := json.Unmarshal(content, &lock); err != nil {
		return nil, err
	}
	if lock.LockfileVersion != 3 {
		return nil, fmt.Errorf("lockfileVersion is %d, want 3", lock.LockfileVersion)
	}
	var faults []error
	for _, folder := range slices.Sorted(maps.Keys(lock.Packages)) {
		if folder == "" { // the project itself
			continue
		}
		p := lock.Packages[folder]
		if p.Name == "" { // other than that of the folder only for an alias
			p.Name = folder[strings.LastIndex(folder, "node_modules/")+len("node_modules/"):]
		}
		if p.Version == "" || !strings.HasPrefix(p.Integrity, "sha512-") {
			faults = append(faults, fmt.Errorf("%s has no version, or no SHA-512", folder))
		}
		pins = append(pins, Pin{Ecosystem: NPM, Name: p.Name, Version: p.Version, Hashes: []string{p.Integrity}})
	}
	return pins, errors.Join(faults...)
}

// Files returns the lock files of a clone, relative to its root. They are
// recognized by their names: *.lock, requirements*.txt and package-lock.json.
func Files(root string) ([]string, error) {
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--",
		"*.lock", "*requirements*.txt", "*package-lock.json")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var files []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil { // not deleted
			files = append(files, name)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no lock file in %s", root)
	}
	return files, nil
}
