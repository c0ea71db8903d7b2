// Package bench is the command "agiqa bench": flags and printing around the
// packages below benchmarks, which send the load and compute the reports.
package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/version"
)

// New returns the command "bench" with its sub-commands.
func New(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "Benchmark agiqa or any other server on this machine", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(
		newHTTP(t), newTriton(t), newKnee(t), newCompare(t), newOverload(t), newSoak(t), newReport(t),
		newStubHTTP(t), newStubTriton(t), newDraw(t),
		newArms(t), newViews(t), newPreprocess(t),
	)
	return cmd
}

// buildCommit is what the binary was built from, or, where the build did not
// note it, what is checked out here.
func buildCommit() string {
	if b := version.Current(); b.Commit != "" {
		return b.Commit[:min(12, len(b.Commit))]
	}
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// credential finds headers that carry one.
var credential = regexp.MustCompile(`(?i)(authorization|x-api-key|cookie) *:`)

// commandLine says how to run the command again. It is kept with results, which
// name no folder for temporary files of one machine and no secret.
func commandLine(cmd *cobra.Command) string {
	line := []string{cmd.CommandPath()}
	secret := func(f *pflag.Flag) bool {
		return slices.ContainsFunc(config.All(),
			func(s config.Setting) bool { return s.Key == f.Name && s.Type == "secret" }) ||
			f.Name == "header" && credential.MatchString(f.Value.String())
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if secret(f) {
			line = append(line, "--"+f.Name+"=...")
			return
		}
		line = append(line, fmt.Sprintf("--%s=%s", f.Name, strings.Trim(f.Value.String(), "[]")))
	})
	return strings.ReplaceAll(strings.Join(line, " "), filepath.Clean(os.TempDir())+"/", "$TMPDIR/")
}
