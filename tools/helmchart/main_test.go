package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/internal/config"
)

// TestChartIsUpToDate: the chart has what its sources say, and nothing that
// once came from one.
func TestChartIsUpToDate(t *testing.T) {
	t.Parallel()
	const deploy = "../../deploy"
	files, err := generate(deploy)
	if err != nil {
		t.Fatal(err)
	}
	chart := filepath.Join(deploy, "chart")
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(chart, name))
		if err != nil {
			t.Errorf("%v; run make generate", err)
			continue
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("deploy/chart/%s differs from its source (-want +got); run make generate:\n%s", name, diff)
		}
	}
	err = filepath.WalkDir(filepath.Join(chart, "files"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(chart, path)
		if _, ok := files[name]; !ok {
			t.Errorf("deploy/chart/%s has no source; run make generate", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestChartsOwnSettingsExist: a setting that was renamed doesn't stay in the list.
func TestChartsOwnSettingsExist(t *testing.T) {
	t.Parallel()
	var known []string
	for _, s := range config.All() {
		known = append(known, s.Key)
	}
	for _, key := range ofChart {
		if !slices.Contains(known, key) {
			t.Errorf("%s is no setting", key)
		}
	}
	if len(settings()) < 40 {
		t.Errorf("gateway.settings takes %d settings, want nearly all", len(settings()))
	}
}
