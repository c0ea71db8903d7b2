package prerequisites_test

import (
	"go/scanner"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	makeTarget = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*(?: [a-z][a-z0-9-]*)*):`)
	makeAdvice = regexp.MustCompile(`\bmake (\.?[a-z][a-z0-9-]*)`)
	// packageList is a list of packages, of which make is one.
	packageList = regexp.MustCompile(`ca-certificates make[a-z0-9. -]*`)
	codeSpan    = regexp.MustCompile("(?s)```.*?```|`[^`\n]+`")
	comment     = regexp.MustCompile(`#.*`)
	// english are the words that follow "make" in messages for people.
	english = strings.Fields("a an fewer has it its more no not room the them two")
)

// TestAdvisedTargetsExist: whoever is told to run make X, by a message, a
// script or a document, finds that target.
func TestAdvisedTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, m := range makeTarget.FindAllStringSubmatch(string(makefile), -1) {
		targets = append(targets, strings.Fields(m[1])...)
	}
	if !slices.Contains(targets, "deps") || !slices.Contains(targets, "venv") {
		t.Fatalf("targets of the Makefile: %v", targets)
	}
	list := exec.Command("git", "ls-files", "-z", "*.go", "*.sh", "*.md", ".ci/run",
		":!THIRD_PARTY_NOTICES.md", ":!CHANGELOG.md")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join("../..", name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range makeAdvice.FindAllStringSubmatch(packageList.ReplaceAllString(spoken(name, content), ""), -1) {
			if slices.Contains(english, m[1]) {
				continue
			}
			found++
			if !slices.Contains(targets, m[1]) {
				t.Errorf("%s: advises make %s, and the Makefile has no such target", name, m[1])
			}
		}
	}
	if found < 50 {
		t.Errorf("found only %d pieces of advice: the search is broken", found)
	}
}

// spoken returns the parts of a file in which a command may stand: strings of
// Go, code of Markdown, commands and comments of scripts.
func spoken(name string, content []byte) string {
	switch filepath.Ext(name) {
	case ".go":
		var s scanner.Scanner
		set := token.NewFileSet()
		s.Init(set.AddFile(name, -1, len(content)), content, nil, 0)
		var out strings.Builder
		for {
			_, tok, literal := s.Scan()
			if tok == token.EOF {
				return out.String()
			}
			if tok == token.STRING {
				out.WriteString(literal + "\n")
			}
		}
	case ".md":
		return strings.Join(codeSpan.FindAllString(string(content), -1), "\n")
	default:
		return comment.ReplaceAllString(string(content), "")
	}
}

// TestBinaryHasOneSpelling: commands in the documents run bin/agiqa, which is
// where make build puts it. What programs print of themselves is left alone.
func TestBinaryHasOneSpelling(t *testing.T) {
	command := regexp.MustCompile(`(?:^|[^\w/.-])agiqa (?:up|serve|score|compare|doctor|experiment|bench|eval|trace|checkpoint)\b`)
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(documents) < 5 {
		t.Fatalf("documents: %v, %v", documents, err)
	}
	generated := []string{"configuration.md", "metrics.md", "fidelity.md"}
	for _, name := range append(documents, "../../README.md", "../../CONTRIBUTING.md", "../../deploy/README.md",
		"../../training/README.md") {
		if slices.Contains(generated, filepath.Base(name)) {
			continue
		}
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range codeSpan.FindAllString(string(content), -1) {
			for _, found := range command.FindAllString(code, -1) {
				t.Errorf("%s: %q, want bin/agiqa", strings.TrimPrefix(name, "../../"), strings.TrimSpace(found))
			}
		}
	}
}
