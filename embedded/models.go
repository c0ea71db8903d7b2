package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// findModels returns the models to load: those named, or all that have a
// configuration of the wanted name, in order of their names.
func findModels(cfg Config) ([]string, error) {
	if cfg.Models != nil {
		for _, m := range cfg.Models {
			if err := checkModel(cfg, m); err != nil {
				return nil, err
			}
		}
		return cfg.Models, nil
	}
	var found []string
	for _, repository := range cfg.ModelRepositories {
		entries, err := os.ReadDir(repository)
		if err != nil {
			return nil, fmt.Errorf("model repository: %w", err)
		}
		for _, e := range entries {
			if _, err := os.Stat(cfg.modelConfig(repository, e.Name())); err == nil {
				if err := checkModel(cfg, e.Name()); err != nil {
					return nil, err
				}
				found = append(found, e.Name())
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no model with a configs/%s.pbtxt in %v", cfg.ConfigName, cfg.ModelRepositories)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

var versionFolder = regexp.MustCompile(`^[1-9][0-9]*$`)

// checkModel returns an error for what Triton would reject: a model in no
// repository or in two, without the configuration, or without a version.
func checkModel(cfg Config, name string) error {
	var homes []string
	for _, repository := range cfg.ModelRepositories {
		if _, err := os.Stat(filepath.Join(repository, name)); err == nil {
			homes = append(homes, repository)
		}
	}
	if len(homes) != 1 {
		return fmt.Errorf("model %s is in %d of the repositories %v, want 1", name, len(homes), cfg.ModelRepositories)
	}
	if _, err := os.Stat(cfg.modelConfig(homes[0], name)); err != nil {
		return fmt.Errorf("model %s: %w", name, err)
	}
	entries, err := os.ReadDir(filepath.Join(homes[0], name))
	if err != nil {
		return fmt.Errorf("model %s: %w", name, err)
	}
	for _, e := range entries {
		if e.IsDir() && versionFolder.MatchString(e.Name()) {
			return nil
		}
	}
	return fmt.Errorf("model %s has no version folder, such as %s", name, filepath.Join(homes[0], name, "1"))
}

func (c Config) modelConfig(repository, model string) string {
	return filepath.Join(repository, model, "configs", c.ConfigName+".pbtxt")
}
