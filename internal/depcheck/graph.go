package depcheck

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/agiqa/agiqa/internal/gocommand"
)

// A Package is one node of the import graph.
type Package struct {
	// Path is the import path.
	Path string
	// Module is the path of the module that the package comes from, "" for the
	// standard library.
	Module string
	// Imports are the import paths of the package's own files.
	Imports []string
	// TestImports are those of its _test.go files, the external test package
	// included. They are known for project packages only.
	TestImports []string
}

// A Graph maps import paths to packages: the project's and all that they reach.
type Graph struct {
	// Module is the project's module path.
	Module   string
	Packages map[string]*Package
}

// Project returns the project's packages by their path below the module, such
// as "cache/redistest".
func (g *Graph) Project() map[string]*Package {
	project := make(map[string]*Package)
	for path, p := range g.Packages {
		if name, ok := g.inProject(path); ok {
			project[name] = p
		}
	}
	return project
}

// inProject cuts the module path off an import path of the project.
func (g *Graph) inProject(path string) (name string, ok bool) {
	return strings.CutPrefix(path, g.Module+"/")
}

// isStandard reports whether path is of the standard library. An import path
// outside the graph is judged by its form: only the standard library's first
// element has no dot.
func (g *Graph) isStandard(path string) bool {
	if p, ok := g.Packages[path]; ok {
		return p.Module == ""
	}
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && !strings.HasPrefix(path, g.Module)
}

// listed is the part of the go command's answer that is read.
type listed struct {
	ImportPath   string
	Standard     bool
	Module       *struct{ Path string }
	Imports      []string
	TestImports  []string
	XTestImports []string
	Error        *struct{ Err string }
}

// Load asks the go command for the graph of the module in dir. A package that
// does not parse is an error, since half of its imports would be half a check.
func Load(ctx context.Context, dir string) (*Graph, error) {
	module, err := gocommand.Output(ctx, dir, "list", "-m")
	if err != nil {
		return nil, err
	}
	fields := "-json=ImportPath,Standard,Module,Imports,TestImports,XTestImports,Error"
	out, err := gocommand.Output(ctx, dir, "list", "-e", "-deps", fields, "./...")
	if err != nil {
		return nil, err
	}
	return decode(strings.TrimSpace(string(module)), bytes.NewReader(out))
}

func decode(module string, r io.Reader) (*Graph, error) {
	g := &Graph{Module: module, Packages: make(map[string]*Package)}
	var faults []error
	for dec := json.NewDecoder(r); ; {
		var l listed
		err := dec.Decode(&l)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("answer of go list: %w", err)
		}
		if l.Error != nil {
			faults = append(faults, fmt.Errorf("package %s: %s", l.ImportPath, l.Error.Err))
		}
		g.Packages[l.ImportPath] = l.asPackage()
	}
	return g, errors.Join(faults...)
}

func (l listed) asPackage() *Package {
	p := &Package{Path: l.ImportPath, Imports: l.Imports}
	p.TestImports = append(append(p.TestImports, l.TestImports...), l.XTestImports...)
	if l.Module != nil {
		p.Module = l.Module.Path
	}
	return p
}
