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

// TestRecipeOfTraining reads the bundle of a recipe that training wrote; its
// digest is training's.
func TestRecipeOfTraining(t *testing.T) {
	b, err := checkpoint.Open(filepath.Join("testdata", "recipe"), checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if want := "224:pillow13-bicubic-224,448/r0c1:pillow13-bicubic-224"; b.Checkpoint().Views.String() != want {
		t.Errorf("views %s, want %s", b.Checkpoint().Views, want)
	}
}

// TestRecipeIsPartOfTheCheckpoint: two recipes are two checkpoints, and naming
// the one of those that name none makes no other.
func TestRecipeIsPartOfTheCheckpoint(t *testing.T) {
	digests := map[string]quality.Digest{}
	for _, recipe := range []string{"", "pillow12-bicubic-224", "pillow13-bicubic-224"} {
		d := newMeaningfulDraft("demo", 1)
		if recipe != "" {
			d.manifest["recipe"] = recipe
		}
		files := d.files(t)
		b, err := checkpoint.Read(files, checkpoint.DefaultLimits())
		if err != nil {
			t.Fatalf("%s: %v", recipe, err)
		}
		c := b.Checkpoint()
		digests[recipe] = c.Digest
		if got := c.Views.Recipe().String(); got != recipe && (recipe != "" || got != "pillow12-bicubic-224") {
			t.Errorf("recipe %q: views by %s", recipe, got)
		}
		manifest, weights, err := checkpoint.Encode(b)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := checkpoint.Decode(manifest, weights, checkpoint.DefaultLimits()); err != nil ||
			again.Checkpoint().Views != c.Views {
			t.Errorf("%s: read back: %v", recipe, err)
		}
	}
	if digests[""] != digests["pillow12-bicubic-224"] || digests[""] == digests["pillow13-bicubic-224"] {
		t.Errorf("digests %v", digests)
	}
}

// TestRecipeNeedsFormat2: format 1 has no such key.
func TestRecipeNeedsFormat2(t *testing.T) {
	d := newDraft("demo", 1)
	d.manifest["recipe"] = "pillow13-bicubic-224"
	wantFault(t, d.files(t), `unknown key "recipe"`)
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
	explicit := open(func(o *checkpoint.OriginalOptions) {
		o.Task, o.Views, o.Recipe = "quality", []string{"224"}, "pillow12-bicubic-224"
	})
	if plain.Manifest().Format != checkpoint.FormatV1 || plain.Checkpoint().Digest != explicit.Checkpoint().Digest {
		t.Errorf("format %s, digests %s and %s", plain.Manifest().Format, plain.Checkpoint().Digest,
			explicit.Checkpoint().Digest)
	}
	for name, change := range map[string]func(*checkpoint.OriginalOptions){
		"task":   func(o *checkpoint.OriginalOptions) { o.Task = quality.TaskAuthenticity },
		"views":  func(o *checkpoint.OriginalOptions) { o.Views = []string{"448/r0c0", "448/r1c1"} },
		"clamp":  func(o *checkpoint.OriginalOptions) { o.Score.Clamp = true },
		"recipe": func(o *checkpoint.OriginalOptions) { o.Recipe = "pillow13-bicubic-224" },
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
