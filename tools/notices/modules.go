package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// program is the package whose modules are meant.
const program = "./cmd/agiqa"

// A work is something of others with its licences.
type work struct {
	name, version string
	licences      []document
	notices       []document
}

// names lists the work's licences.
func (w work) names() []licence {
	var all []licence
	for _, l := range w.licences {
		all = append(all, l.licences...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// modules returns the Go modules that are linked into the program, by path, and
// the standard library.
func modules(ctx context.Context, root string) ([]work, error) {
	linked, err := linkedModules(ctx, root)
	if err != nil {
		return nil, err
	}
	standard, err := standardLibrary(ctx, root)
	if err != nil {
		return nil, err
	}
	works := []work{standard}
	var faults []error
	for _, m := range linked {
		licences, notices, err := documents(m.Dir)
		if err != nil {
			faults = append(faults, fmt.Errorf("module %s: %w", m.Path, err))
		}
		works = append(works, work{name: m.Path, version: m.Version, licences: licences, notices: notices})
	}
	return works, errors.Join(faults...)
}

// A module is what the go command reports about one.
type module struct{ Path, Version, Dir string }

// moduleFormat makes "go list" print the module of a package on one line, and
// nothing for packages of the standard library and of this project.
const moduleFormat = `{{with .Module}}{{if not .Main}}{{with or .Replace .}}` +
	"{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}{{end}}"

func linkedModules(ctx context.Context, root string) ([]module, error) {
	out, err := goOutput(ctx, root, "list", "-deps", "-f", moduleFormat, program)
	if err != nil {
		return nil, err
	}
	lines := slices.Sorted(strings.Lines(string(out))) // one for each package
	var linked []module
	for _, line := range slices.Compact(lines) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		linked = append(linked, module{fields[0], fields[1], fields[2]})
	}
	return linked, nil
}

// standardLibrary is under Go's own licence, in the toolchain's folder. Its
// version is go.mod's, so that the page does not change with the toolchain.
func standardLibrary(ctx context.Context, root string) (work, error) {
	goroot, err := goOutput(ctx, root, "env", "GOROOT")
	if err != nil {
		return work{}, err
	}
	version, err := goOutput(ctx, root, "list", "-m", "-f", "{{.GoVersion}}")
	if err != nil {
		return work{}, err
	}
	licences, _, err := documents(filepath.Clean(string(bytes.TrimSpace(goroot))))
	if err != nil {
		return work{}, fmt.Errorf("standard library: %w", err)
	}
	return work{name: "Go standard library", version: string(bytes.TrimSpace(version)), licences: licences}, nil
}

// goOutput runs go with args in dir and returns what it printed. The error holds
// the arguments and what the command said on its standard error.
func goOutput(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
