package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/agiqa/agiqa/internal/config"
)

// Groups of settings that become the flags of a command.
var (
	// ServerGroups are for a command that runs a server.
	ServerGroups = []string{"HTTP", "Images", "Scoring", "Triton", "Checkpoints", "Experiments",
		"Cache", "Telemetry", "Program"}
	// ClientGroups are for a command that calls one.
	ClientGroups = []string{"Program"}
)

// LoadSettings reads the settings of a command from its flags, the environment
// and the settings file. The error reports every fault.
func LoadSettings(cmd *cobra.Command, t *Terminal) (config.Settings, error) {
	s, _, err := LoadGiven(cmd, t)
	return s, err
}

// LoadGiven is LoadSettings, and also returns what was set, by key.
func LoadGiven(cmd *cobra.Command, t *Terminal) (config.Settings, map[string]config.Given, error) {
	src := config.Sources{Flags: cmd.Flags(), Environ: t.Env, FileName: config.Environment(t.Env)["AGIQA_CONFIG"]}
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
	for _, name := range config.UnknownVariables(t.Env) {
		t.Note("agiqa: warning: %s is not a setting (see agiqa config reference)", name)
	}
	exposed, err := config.ExposedSecrets(src)
	if err != nil {
		return settings, nil, err
	}
	for _, file := range exposed {
		t.Note("agiqa: warning: every user of this machine may read the secret in %s", file)
	}
	locate(&settings)
	given, err := config.GivenBy(src)
	if set, ok := given["decoders"]; ok {
		t.Note("agiqa: warning: %s is deprecated and has no effect", set.Source)
	}
	return settings, given, err
}

// AddServerFlags adds the settings of a server as flags, and --otlp as a short
// name of --otlp-endpoint.
func AddServerFlags(cmd *cobra.Command) {
	config.AddFlags(cmd.Flags(), ServerGroups...)
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "otlp" {
			name = "otlp-endpoint"
		}
		return pflag.NormalizedName(name)
	})
}

// locate makes the default paths absolute: here if the project is here,
// otherwise beside the folder of the binary. A path that was given stays
// relative to the current folder.
func locate(s *config.Settings) {
	home := ProjectFolder()
	defaults := config.Default()
	if s.ModelRepository != config.AutoRepository {
		if abs, err := filepath.Abs(s.ModelRepository); err == nil {
			s.ModelRepository = abs
		}
	}
	for _, p := range []struct{ value, def *string }{
		{&s.Checkpoints, &defaults.Checkpoints},
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

// ProjectFolder returns the folder of the project: the current one, the one
// above the binary, or "." where neither is it.
func ProjectFolder() string {
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
