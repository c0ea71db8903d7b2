package main

import (
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/quality"
)

// withViews writes the demo checkpoint with other views to a folder.
func withViews(t *testing.T, name string, texts ...string) string {
	t.Helper()
	demo, err := checkpoint.Open(filepath.Join(repository, "demo/checkpoints/demo"), checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	views, err := quality.ParseViews(texts)
	if err != nil {
		t.Fatal(err)
	}
	b, err := demo.WithViews(name, views)
	if err != nil {
		t.Fatal(err)
	}
	manifest, weights, err := checkpoint.Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for file, content := range map[string][]byte{checkpoint.ManifestFile: manifest, checkpoint.WeightsFile: weights} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestViewsOnARealTriton imports checkpoints with views into a running server:
// compare encodes the union of the views once, every score is the mean of its
// views, and what is known costs no row, by any checkpoint.
func TestViewsOnARealTriton(t *testing.T) {
	cells := []string{"448/r0c0", "448/r0c1", "448/r1c0", "448/r1c1"}
	data := t.TempDir()
	p := startUp(t, []string{"AGIQA_DATA_DIR=" + data, "AGIQA_DEFAULT_CHECKPOINT=demo"})
	env := []string{"AGIQA_DATA_DIR=" + data, "AGIQA_URL=" + p.url}
	agiqa(t, env, "checkpoint", "import", withViews(t, "four", cells...))
	agiqa(t, env, "checkpoint", "import", withViews(t, "five", append([]string{"224"}, cells...)...))
	rows := func(size string) float64 { return p.metric(t, "agiqa_rows_encoded_total", `size="`+size+`"`) }
	file := "examples/harbour.jpg"

	answer := agiqa(t, env, "compare", file, "--checkpoint", "demo,four,five", "--views")
	if rows("224") != 1 || rows("448") != 4 {
		t.Errorf("%g rows at 224 and %g at 448, want 1 and 4", rows("224"), rows("448"))
	}
	scores := map[string]float64{}
	byView := map[string]float64{}
	for _, s := range answer["scores"].([]any) {
		s := s.(map[string]any)
		name := s["checkpoint"].(map[string]any)["name"].(string)
		scores[name] = s["score"].(float64)
		sum, views := 0.0, s["views"].([]any)
		for _, v := range views {
			v := v.(map[string]any)
			score := v["score"].(float64)
			if before, seen := byView[v["view"].(string)]; seen && math.Abs(score-before) > 1e-5 {
				t.Errorf("%s: view %s has %g, another checkpoint with the same head says %g", name, v["view"], score, before)
			}
			byView[v["view"].(string)] = score
			sum += score
		}
		if mean := sum / float64(len(views)); math.Abs(scores[name]-mean) > 1e-5 {
			t.Errorf("%s: score %g, the mean of its views is %g", name, scores[name], mean)
		}
	}
	if len(scores) != 3 || len(byView) != 5 || scores["demo"] != byView["224"] || scores["four"] == scores["demo"] {
		t.Errorf("scores %v of views %v", scores, byView)
	}

	again := agiqa(t, env, "score", file, "--checkpoint", "four")
	if got := again["score"].(float64); math.Abs(got-scores["four"]) > 1e-5 {
		t.Errorf("alone: score %g, in a comparison %g", got, scores["four"])
	}
	if again["cache"].(map[string]any)["image_embedding"] != "hit" || rows("224")+rows("448") != 5 {
		t.Errorf("cache %v, %g rows; want a hit and no row more than 5", again["cache"], rows("224")+rows("448"))
	}

	// Through the ensemble, by an image that nobody knows.
	out, errs, status := runCommand(t, env, nil, "score", "examples/tiles.png", "--checkpoint",
		"five", "--views")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if status != 0 || len(lines) != 6 {
		t.Fatalf("status %d, %s%s", status, out, errs)
	}
	view := regexp.MustCompile(`^ +[0-9.]+  (224|448/r[01]c[01]) +[0-9]+x[0-9]+ at [0-9]+,[0-9]+$`)
	for _, line := range lines[1:] {
		if !view.MatchString(line) {
			t.Errorf("line %q", line)
		}
	}
	if rows("224") != 2 || rows("448") != 8 {
		t.Errorf("%g rows at 224 and %g at 448, want 2 and 8", rows("224"), rows("448"))
	}
}

// TestPreprocessCommandWritesViews: the cell of a picture, named in the id.
func TestPreprocessCommandWritesViews(t *testing.T) {
	pixels := func(view string) string {
		t.Helper()
		out := filepath.Join(t.TempDir(), "seen.npy")
		line := agiqa(t, nil, "preprocess", "examples/harbour.jpg", "--out", out, "--view", view)
		id := line["preprocess"].(string)
		if _, at, _ := strings.Cut(id, "@"); view == "224" != (at == "") || view != "224" && at != view {
			t.Errorf("view %s: preprocess id %s", view, id)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if a, b := pixels("448/r0c0"), pixels("448/r0c1"); a == b || a == pixels("224") || len(a) != len(b) {
		t.Error("views of one picture are equal, or not of one size")
	}
	_, errs, status := runCommand(t, nil, nil, "preprocess", "examples", "--out", t.TempDir(), "--view", "448")
	if status == 0 || !strings.Contains(errs, `--view: view "448" is not of the form "224" or "448/r0c1"`) {
		t.Errorf("status %d, %s", status, errs)
	}
}
