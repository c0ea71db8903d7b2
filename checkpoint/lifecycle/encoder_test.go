package lifecycle_test

import (
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// draftFor returns a sound bundle to be of any encoder.
func draftFor(t *testing.T, e quality.Encoder, name string, seed uint64) *checkpointtest.Draft {
	t.Helper()
	d := checkpointtest.New(e, name, seed)
	return d.AddGolden(t, 1, quality.TextEmbeddings(tritontest.TextEmbeddings(e, d.Prompts(t))))
}

// TestDefaultFollowsTheEncoder ships checkpoints of two encoders, small (demo,
// other) and large (quick, precise), and changes which of them serves.
func TestDefaultFollowsTheEncoder(t *testing.T) {
	small := tritontest.Encoder()
	large := small
	large.Name, large.Digest, large.DefaultCheckpoint = "large", quality.DigestOf([]byte("large")), "quick"
	unwished := large
	unwished.DefaultCheckpoint = ""
	unknown := quality.Encoder{Name: "unknown", Digest: quality.DigestOf([]byte("unknown"))}
	bundle := func(e quality.Encoder, name string, seed uint64) *checkpoint.Bundle {
		return draftFor(t, e, name, seed).Bundle(t)
	}
	demo, other := bundle(small, lifecycle.Demo, 1), bundle(small, "other", 2)
	quick, precise := bundle(large, "quick", 3), bundle(large, "precise", 4)
	all := []*checkpoint.Bundle{demo, other, quick, precise}
	for _, tt := range []struct {
		name    string
		shipped []*checkpoint.Bundle
		preset  string
		encoder quality.Encoder
		want    string
	}{
		{"demo of the small encoder", all, "", small, "demo"},
		{"the large encoder's own", all, "", large, "quick"},
		{"the preset", all, "precise", large, "precise"},
		{"a preset of another encoder", all, "other", large, "quick"},
		{"a wish that isn't there", []*checkpoint.Bundle{demo, precise}, "", large, "precise"},
		{"several and no wish", all, "", unwished, "demo"},
		{"no checkpoint of the encoder", all, "other", unknown, "other"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := lifecycle.OpenLibrary(lifecycle.LibraryConfig{
				Shipped: tt.shipped, Dir: t.TempDir(), Preset: tt.preset,
				Limits: checkpoint.DefaultLimits(), Tokenizer: checkpointtest.Tokenizer(t),
			})
			must(t, err)
			before := choice(l.Snapshot())[0]
			changed := l.UseEncoder(tt.encoder)
			if got := choice(l.Snapshot()); got != [2]string{tt.want, ""} {
				t.Errorf("default and previous are %q, want %q", got, tt.want)
			}
			if want := map[bool]string{true: tt.want}[before != tt.want]; changed != want {
				t.Errorf("changed is %q, want %q", changed, want)
			}
			if again := l.UseEncoder(tt.encoder); again != "" {
				t.Errorf("the second time changed %q", again)
			}
		})
	}
}

// TestDefaultComesBackWithItsEncoder: a choice isn't lost while another encoder
// serves.
func TestDefaultComesBackWithItsEncoder(t *testing.T) {
	r := newRig(t, false)
	large := tritontest.Encoder()
	large.Digest, large.DefaultCheckpoint = quality.DigestOf([]byte("large")), "quick"
	shipped := r.bundle(shippedName, 100)
	quick := draftFor(t, large, "quick", 3).Bundle(t)
	r.mustImport("one", 1)
	_, err := r.manager.Activate(t.Context(), "one", "test")
	must(t, err)
	config := r.libraryConfig(shipped)
	config.Shipped = append(config.Shipped, quick)
	for range 2 { // the second time after a restart under the other encoder
		l, err := lifecycle.OpenLibrary(config)
		must(t, err)
		for _, step := range []struct {
			encoder quality.Encoder
			want    string
		}{{large, "quick"}, {tritontest.Encoder(), "one"}, {large, "quick"}} {
			l.UseEncoder(step.encoder)
			if got := choice(l.Snapshot())[0]; got != step.want {
				t.Errorf("default is %q, want %q", got, step.want)
			}
		}
	}
}
