package depcheck

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Rule says what one package may import. Its zero value allows the standard
// library and nothing else.
type Rule struct {
	// Why is the reason, told with every violation: what the package is, that
	// it should import so much and no more.
	Why string
	// Project are the project packages it may import, by their path below the
	// module; "..." stands for all but the test-only ones.
	Project []string
	// External are the packages outside the project and the standard library
	// that it may import. As everywhere in the go command, "x/y" is that
	// package alone, and "x/y/..." is it and all below it.
	External []string
	// TestProject and TestExternal are what its tests may import on top. Every
	// test may import test-only packages, those in [testModules], and the
	// package under test.
	TestProject, TestExternal []string
	// NeverReach are the patterns that no chain from the package's own files
	// may lead to. Those of the project begin with "./".
	NeverReach []string
	// NeverImport are the patterns of the standard library that its own files
	// may not import directly.
	NeverImport []string
	// TestOnly says that only tests, and other test-only packages, may import
	// the package.
	TestOnly bool
	// Planned says that the package need not exist yet.
	Planned bool
}

// testModules are libraries for tests; any package's tests may use them.
var testModules = []string{
	"github.com/google/go-cmp/...",
	"pgregory.net/rapid",
}

// A Violation is one broken rule.
type Violation struct {
	// Package is the project package at fault, by its path below the module.
	Package string
	// Chain is the shortest import chain from the package to what it may not
	// reach, both ends included; nil where the fault is the package's own row.
	Chain []string
	// Fault says what is wrong, and Why repeats the rule's reason.
	Fault, Why string
}

func (v Violation) String() string {
	s := v.Package + ": " + v.Fault
	if v.Chain != nil {
		s += "\n\t" + strings.Join(v.Chain, "\n\t  -> ")
	}
	if v.Why != "" {
		s += "\n\trule: " + v.Why
	}
	return s
}

// Check compares the graph with the rules, which are named by the packages'
// paths below the module. The answer is in the order of these names.
func Check(g *Graph, rules map[string]Rule) []Violation {
	c := checker{g: g, rules: rules}
	project := g.Project()
	for _, name := range slices.Sorted(maps.Keys(project)) {
		rule, ok := rules[name]
		if !ok {
			c.report(name, Rule{}, nil, "the table does not name this package: add it to House in house.go, with a reason")
			continue
		}
		c.checkPackage(name, project[name], rule)
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		if _, exists := project[name]; !exists && !rules[name].Planned {
			c.report(name, rules[name], nil, "the table names a package that does not exist: remove its row")
		}
	}
	return c.found
}

type checker struct {
	g     *Graph
	rules map[string]Rule
	found []Violation
}

func (c *checker) report(name string, rule Rule, chain []string, format string, args ...any) {
	c.found = append(c.found, Violation{
		Package: name, Chain: chain, Fault: fmt.Sprintf(format, args...), Why: rule.Why,
	})
}

func (c *checker) checkPackage(name string, p *Package, rule Rule) {
	for _, imp := range p.Imports {
		if fault := c.refuse(imp, rule, false); fault != "" {
			c.report(name, rule, []string{p.Path, imp}, "%s", fault)
		}
	}
	for _, imp := range p.TestImports {
		if imp == p.Path {
			continue
		}
		if fault := c.refuse(imp, rule, true); fault != "" {
			c.report(name, rule, []string{p.Path + " [test]", imp}, "%s", fault)
		}
	}
	for _, never := range rule.NeverReach {
		pattern := never
		if below, ok := strings.CutPrefix(never, "./"); ok {
			pattern = c.g.Module + "/" + below
		}
		if chain := c.g.chain(p.Path, pattern); chain != nil {
			c.report(name, rule, chain, "reaches %s, which it may never reach", never)
		}
	}
}

// refuse says why a direct import is not allowed, or "".
func (c *checker) refuse(imp string, rule Rule, fromTest bool) string {
	if name, ok := c.g.inProject(imp); ok {
		return c.refuseProject(name, rule, fromTest)
	}
	if c.g.isStandard(imp) {
		if !fromTest && matches(imp, rule.NeverImport) {
			return "imports " + imp + ", which it may never import"
		}
		return ""
	}
	if matches(imp, rule.External) || fromTest && (matches(imp, rule.TestExternal) || matches(imp, testModules)) {
		return ""
	}
	return "imports " + imp + ", which is not among the modules it may import"
}

func (c *checker) refuseProject(name string, rule Rule, fromTest bool) string {
	testOnly := c.rules[name].TestOnly
	switch {
	case testOnly && (fromTest || rule.TestOnly):
		return ""
	case testOnly:
		return "imports " + name + ", which is for tests only"
	case matches(name, rule.Project), fromTest && matches(name, rule.TestProject):
		return ""
	}
	return "imports " + name + ", which is not among the project packages it may import"
}

// matches reports whether one of the patterns stands for path.
func matches(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if pattern == "..." {
			return true
		}
		root, subtree := strings.CutSuffix(pattern, "/...")
		return path == root || subtree && strings.HasPrefix(path, root+"/")
	})
}

// chain returns a shortest chain of imports from one package to one that the
// pattern stands for, or nil. Test imports are not followed.
func (g *Graph) chain(from, pattern string) []string {
	parent := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at != from && matches(at, []string{pattern}) {
			return walkBack(parent, at)
		}
		p := g.Packages[at]
		if p == nil {
			continue
		}
		for _, next := range p.Imports {
			if _, seen := parent[next]; !seen {
				parent[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

func walkBack(parent map[string]string, at string) []string {
	var chain []string
	for ; at != ""; at = parent[at] {
		chain = append(chain, at)
	}
	slices.Reverse(chain)
	return chain
}
