package checkpoint_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/quality"
)

// TestMeaningOfTraining reads the bundle of format 2 that training wrote, with
// every key (python -m agiqa_train.golden_bundle): the digest in it is
// training's, and reading fails for another.
func TestMeaningOfTraining(t *testing.T) {
	b, err := checkpoint.Open(filepath.Join("testdata", "meaning"), checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	c := b.Checkpoint()
	const digest = "sha256:79805b67af9bd58c700b88a3053f0ff1ffdfe22f2cad164f2b9fbfe35705c730"
	if got := c.Digest.String(); got != digest {
		t.Errorf("digest %s, want %s", got, digest)
	}
	if c.Task != quality.TaskAuthenticity || b.Manifest().Prompt {
		t.Errorf("task %s, prompt %t", c.Task, b.Manifest().Prompt)
	}
	if want := "224,448/r0c0,448/r0c1,1120/r4c4"; c.Views.String() != want {
		t.Errorf("views %s, want %s", c.Views, want)
	}
	if want := (quality.ScoreRange{Min: 0.5, Max: 100, Unit: "MOS", Clamp: true}); c.Score != want {
		t.Errorf("score %+v, want %+v", c.Score, want)
	}
	// The edge itself belongs to the upper bin.
	for raw, want := range map[float64]quality.Interval{
		20:     {Low: 20 - 3.125, High: 20 + 3.125, Coverage: 0.9},
		20.25:  {Low: 20.25 - 4.1, High: 20.25 + 4.1, Coverage: 0.9},
		99:     {Low: 99 - 2.7, High: 100, Coverage: 0.9},
		-1_000: {Low: 0.5, High: 0.5 + 3.125, Coverage: 0.9},
	} {
		if got := c.Calibration.Around(raw, c.Score); got != want {
			t.Errorf("interval of %g is %+v, want %+v", raw, got, want)
		}
	}
	if r := c.Reference; r.Threshold() != 0.35 || r.Rows() != 3 || r.Dim() != 8 {
		t.Errorf("reference of %d rows of %d, threshold %g", r.Rows(), r.Dim(), r.Threshold())
	}
	want := []checkpoint.Evaluation{
		{Dataset: "made up", Task: "authenticity", Images: 12, SRCC: 0.5, Low: 0.25, High: 0.75},
	}
	if diff := cmp.Diff(want, b.Manifest().Evaluation); diff != "" {
		t.Errorf("evaluation (-want +got):\n%s", diff)
	}
}

func TestOriginalOptionsDecideTheFormat(t *testing.T) {
	open := func(change func(*checkpoint.OriginalOptions)) *checkpoint.Bundle {
		t.Helper()
		o := originalOptions(t)
		change(&o)
		b, err := checkpoint.OpenOriginal(originalFolder("shared"), o, checkpoint.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	plain := open(func(*checkpoint.OriginalOptions) {})
	explicit := open(func(o *checkpoint.OriginalOptions) { o.Task, o.Views = "quality", []string{"224"} })
	if plain.Manifest().Format != checkpoint.FormatV1 || plain.Checkpoint().Digest != explicit.Checkpoint().Digest {
		t.Errorf("format %s, digests %s and %s", plain.Manifest().Format, plain.Checkpoint().Digest,
			explicit.Checkpoint().Digest)
	}
	for name, change := range map[string]func(*checkpoint.OriginalOptions){
		"task":  func(o *checkpoint.OriginalOptions) { o.Task = quality.TaskAuthenticity },
		"views": func(o *checkpoint.OriginalOptions) { o.Views = []string{"448/r0c0", "448/r1c1"} },
		"clamp": func(o *checkpoint.OriginalOptions) { o.Score.Clamp = true },
	} {
		b := open(change)
		if b.Manifest().Format != checkpoint.FormatV2 || b.Checkpoint().Digest == plain.Checkpoint().Digest {
			t.Errorf("%s: format %s, digest %s", name, b.Manifest().Format, b.Checkpoint().Digest)
		}
		golden := checkpoint.GoldenCase{ImageEmbedding: quality.Embedding{1, 0, 0, 0, 0, 0, 0, 0}, Score: 1}
		withGolden, err := b.WithGolden([]checkpoint.GoldenCase{golden})
		if err != nil {
			t.Fatal(err)
		}
		manifest, weights, err := checkpoint.Encode(withGolden)
		if err != nil {
			t.Fatal(err)
		}
		again, err := checkpoint.Decode(manifest, weights, checkpoint.DefaultLimits())
		if err != nil {
			t.Fatalf("%s: reading back: %v", name, err)
		}
		if diff := cmp.Diff(withGolden.Manifest(), again.Manifest()); diff != "" {
			t.Errorf("%s: read back (-want +got):\n%s", name, diff)
		}
	}
}
