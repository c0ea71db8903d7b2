package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/agiqa/agiqa/internal/config"
)

// version is the release; the commit comes from the build information.
const version = "0.1.0"

// groups of settings that a kind of command reads; they become its flags.
var (
	serverGroups = []string{"HTTP", "Images", "Scoring", "Triton", "Checkpoints", "Experiments", "Cache", "Telemetry", "Program"}
	clientGroups = []string{"Program"}
)

func newRoot(t *terminal) *cobra.Command {
	root := &cobra.Command{
		Use:           "agiqa",
		Short:         "Score AI-generated images with CLIP-AGIQA on NVIDIA Triton",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       versionText(),
	}
	root.SetOut(t.out)
	root.SetErr(t.err)
	root.SetIn(t.in)
	root.SetVersionTemplate("agiqa {{.Version}}\n")
	root.PersistentFlags().String("config", "", "YAML file with settings (AGIQA_CONFIG)")
	root.AddCommand(
		newUp(t), newServe(t), newTrace(t),
		newScore(t), newCompare(t), newEval(t), newPreprocess(t), newTokenize(t), newCheckpoint(t), newExperiment(t), newBench(t),
		newDoctor(t), newHealthcheck(t), newConfig(t), newOpenAPI(t), newMetrics(t), newVersion(t),
	)
	return root
}

// loadSettings reads the settings of a command and reports every fault.
func loadSettings(cmd *cobra.Command, t *terminal) (config.Settings, error) {
	s, _, err := loadGiven(cmd, t)
	return s, err
}

// loadGiven also returns what was set, by key.
func loadGiven(cmd *cobra.Command, t *terminal) (config.Settings, map[string]config.Given, error) {
	src := config.Sources{Flags: cmd.Flags(), Environ: t.env, FileName: config.Environment(t.env)["AGIQA_CONFIG"]}
	if name, err := cmd.Flags().GetString("config"); err == nil && name != "" {
		src.FileName = name
	}
	if src.FileName != "" {
		file, err := os.ReadFile(src.FileName)
		if err != nil {
			return config.Settings{}, nil, fmt.Errorf("settings file: %w", err)
		}
		src.File = file
	}
	settings, err := config.Load(src)
	if err != nil {
		return settings, nil, err
	}
	for _, name := range config.UnknownVariables(t.env) {
		t.note("agiqa: warning: %s is not a setting (see agiqa config reference)", name)
	}
	locate(&settings)
	given, err := config.GivenBy(src)
	return settings, given, err
}

// addServerFlags adds the settings of a server as flags, and --otlp as a short
// name of --otlp-endpoint.
func addServerFlags(cmd *cobra.Command) {
	config.AddFlags(cmd.Flags(), serverGroups...)
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "otlp" {
			name = "otlp-endpoint"
		}
		return pflag.NormalizedName(name)
	})
}

// locate makes the default paths absolute: here if the project is here,
// otherwise beside the folder of the binary. A path that was given stays
// relative to where the person stands.
func locate(s *config.Settings) {
	home := projectFolder()
	defaults := config.Default()
	for _, p := range []struct{ value, def *string }{
		{&s.ModelRepository, &defaults.ModelRepository}, {&s.Checkpoints, &defaults.Checkpoints},
		{&s.Venv, &defaults.Venv}, {&s.DataDir, &defaults.DataDir},
	} {
		base := "."
		if *p.value == *p.def {
			base = home
		}
		if !filepath.IsAbs(*p.value) {
			*p.value = filepath.Join(base, *p.value)
		}
		if abs, err := filepath.Abs(*p.value); err == nil {
			*p.value = abs
		}
	}
}

func projectFolder() string {
	if isProject(".") {
		return "."
	}
	if exe, err := os.Executable(); err == nil {
		if resolved, err := filepath.EvalSymlinks(exe); err == nil {
			exe = resolved
		}
		if up := filepath.Dir(filepath.Dir(exe)); isProject(up) {
			return up
		}
	}
	return "."
}

func isProject(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, "model_repository", "encoder.json"))
	return err == nil && info.Mode().IsRegular()
}

func newVersion(t *terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON(cmd) {
				return printJSON(t.out, map[string]string{"version": version, "commit": commit()})
			}
			_, err := fmt.Fprintln(t.out, "agiqa "+versionText())
			return err
		},
	}
	addJSON(cmd)
	return cmd
}

func versionText() string {
	if c := commit(); c != "" {
		return version + " (" + c + ")"
	}
	return version
}

func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return ""
}

func addJSON(cmd *cobra.Command) {
	cmd.Flags().Bool("json", false, "print JSON; one object a line for many inputs")
}

func asJSON(cmd *cobra.Command) bool {
	v, err := cmd.Flags().GetBool("json")
	return err == nil && v
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
