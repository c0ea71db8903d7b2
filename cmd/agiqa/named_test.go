package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/config"
)

var (
	codeSpans  = regexp.MustCompile("(?s)```.*?```|`[^`\n]+`")
	makeNamed  = regexp.MustCompile(`(?m)(?:^|` + "`" + `|; |&& |\$ )make((?: +[a-z][a-z-]*)+)`)
	agiqaNamed = regexp.MustCompile(`(?m)(?:^|[\s` + "`" + `(/])agiqa((?: +[^\s` + "`" + `;|&()]+)+)`)
	variable   = regexp.MustCompile(`AGIQA_[A-Z0-9_]*[A-Z0-9]`)
	flagNamed  = regexp.MustCompile(`^--[a-z][a-z0-9-]*`)
	wordNamed  = regexp.MustCompile(`^[a-z][a-z-]*$`)
)

// files reads the files of the repository whose names match, by path.
func files(t *testing.T, match func(name string) bool) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != repository &&
				(strings.HasPrefix(name, ".") || slices.Contains([]string{"results", "node_modules", "runs", "tmp"}, name)) {
				return fs.SkipDir
			}
			return nil
		}
		if !match(d.Name()) || !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, repository+"/")] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// isDocument holds for texts for people. The changelog may name what was there
// once.
func isDocument(name string) bool {
	return filepath.Ext(name) == ".md" && name != "CHANGELOG.md" && name != "THIRD_PARTY_NOTICES.md"
}

// readsVariables holds for files that may read a variable of the environment.
func readsVariables(name string) bool {
	return slices.Contains([]string{".go", ".sh", ".py", ".example"}, filepath.Ext(name)) &&
		!strings.HasSuffix(name, "_test.go") ||
		name == "Makefile"
}

// TestWhatDocumentsNameExists: every target of make, every command with its
// flags and every variable that a document names.
func TestWhatDocumentsNameExists(t *testing.T) {
	makefile := readFile(t, filepath.Join(repository, "Makefile"))
	var read []string
	for _, text := range files(t, readsVariables) {
		read = append(read, variable.FindAllString(text, -1)...)
	}
	counts := map[string]int{}
	for name, text := range files(t, isDocument) {
		code := strings.Join(codeSpans.FindAllString(text, -1), "\n")
		code = strings.ReplaceAll(code, "\\\n", " ")
		for _, m := range makeNamed.FindAllStringSubmatch(code, -1) {
			for target := range strings.FieldsSeq(m[1]) {
				counts["make"]++
				if !regexp.MustCompile(`(?m)^` + target + `:`).MatchString(makefile) {
					t.Errorf("%s: make has no target %s", name, target)
				}
			}
		}
		for _, m := range agiqaNamed.FindAllStringSubmatch(code, -1) {
			counts["agiqa"]++
			if fault := unknownCommand(strings.Fields(m[1])); fault != "" {
				t.Errorf("%s: agiqa%s: %s", name, m[1], fault)
			}
		}
		for _, v := range variable.FindAllString(text, -1) {
			counts["variable"]++
			if len(config.UnknownVariables([]string{v + "=x"})) > 0 && !slices.Contains(read, v) {
				t.Errorf("%s: %s is not a setting, and nothing else reads it", name, v)
			}
		}
	}
	if counts["make"] < 10 || counts["agiqa"] < 50 || counts["variable"] < 50 {
		t.Errorf("found no more than %v", counts)
	}
}

// unknownCommand says what of a command line the program doesn't have.
func unknownCommand(words []string) string {
	cmd := newRoot(&cli.Terminal{})
	for _, word := range words {
		switch flag := flagNamed.FindString(word); {
		case flag != "":
			if !hasFlag(cmd, strings.TrimPrefix(flag, "--")) {
				return "no flag " + flag
			}
		case cmd.HasSubCommands():
			for alternative := range strings.SplitSeq(strings.Trim(word, ".,:"), "|") {
				if !wordNamed.MatchString(alternative) {
					return ""
				}
				i := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == alternative })
				if i < 0 {
					return "no command " + alternative
				}
				if !strings.Contains(word, "|") {
					cmd = cmd.Commands()[i]
					break
				}
			}
			if strings.Contains(word, "|") {
				return ""
			}
		}
	}
	return ""
}

func hasFlag(cmd *cobra.Command, name string) bool {
	if name == "help" || cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil {
		return true
	}
	return slices.ContainsFunc(cmd.Commands(), func(c *cobra.Command) bool { return hasFlag(c, name) })
}

func TestUnknownCommand(t *testing.T) {
	for line, want := range map[string]string{
		"score x.png --json": "", "experiment start x": "", "bench http|knee": "", "experiment": "", "up --trace": "",
		"scroe x": "no command scroe", "experiment begin x": "no command begin", "bench http|knie": "no command knie",
		"score --jsn": "no flag --jsn", "checkpoint list --yes": "no flag --yes",
	} {
		if got := unknownCommand(strings.Fields(line)); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
