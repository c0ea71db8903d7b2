package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestDashboardsHaveNotDrifted: the files are what the program writes, all of
// them and no others.
func TestDashboardsHaveNotDrifted(t *testing.T) {
	t.Parallel()
	const committed = "../../deploy/grafana/dashboards"
	fresh := t.TempDir()
	if err := write(fresh); err != nil {
		t.Fatal(err)
	}
	for _, d := range all() {
		want, err := os.ReadFile(filepath.Join(fresh, d.uid+".json"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(committed, d.uid+".json"))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s.json differs from what is generated (%v); run make generate", d.uid, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(committed, "*.json"))
	if err != nil || len(files) != len(all()) {
		t.Errorf("%d dashboards are committed, %d are generated (%v)", len(files), len(all()), err)
	}
}

// TestEveryPanelHelps: a unit, and a text that says what to do.
func TestEveryPanelHelps(t *testing.T) {
	t.Parallel()
	for _, d := range all() {
		for _, r := range d.rows {
			for _, p := range r.panels {
				if p.title == "" || p.unit == "" || p.kind == "" || len(p.help) < 20 || len(p.queries) == 0 {
					t.Errorf("%s, panel %q: want title, unit, kind, queries and a text of some words, has %+v", d.title, p.title, p)
				}
			}
		}
	}
}
