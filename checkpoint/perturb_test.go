package checkpoint_test

import (
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/quality"
)

// TestPerturbed: another checkpoint, which reads back as itself, and the same
// one for the same seed.
func TestPerturbed(t *testing.T) {
	b := newDraft("demo", 1).bundle(t)
	other := func(seed uint64) *checkpoint.Bundle {
		t.Helper()
		p, err := b.Perturbed("other", seed, .1)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	one, two := other(1), other(2)
	if one.Checkpoint().Digest != other(1).Checkpoint().Digest || one.Checkpoint().Digest == two.Checkpoint().Digest ||
		one.Checkpoint().Digest == b.Checkpoint().Digest || one.Checkpoint().Name != "other" {
		t.Errorf("%+v and %+v of %+v", one.Checkpoint(), two.Checkpoint(), b.Checkpoint())
	}
	if b.Head().W1[0] != newDraft("demo", 1).bundle(t).Head().W1[0] {
		t.Error("the original has changed")
	}
	golden, err := one.WithGolden(b.Golden())
	if err != nil {
		t.Fatal(err)
	}
	manifest, weights, err := checkpoint.Encode(golden)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := checkpoint.Decode(manifest, weights, checkpoint.DefaultLimits()); err != nil ||
		again.Checkpoint() != one.Checkpoint() {
		t.Errorf("read back: %v", err)
	}
	if _, err := b.Perturbed("No Name", 1, .1); err == nil {
		t.Error("a name that cannot be")
	}
}

func TestRescaled(t *testing.T) {
	b := newDraft("demo", 1).bundle(t)
	r, err := b.Rescaled("calmer", .5, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Head().B1[0], b.Head().B1[0]/2+2; got != want {
		t.Errorf("bias: got %v, want %v", got, want)
	}
	for i, w := range r.Head().W1 {
		if w != b.Head().W1[i]/2 {
			t.Errorf("weight %d: got %v, want half of %v", i, w, b.Head().W1[i])
		}
	}
	if b.Checkpoint() != newDraft("demo", 1).bundle(t).Checkpoint() || r.Checkpoint().Digest == b.Checkpoint().Digest ||
		r.Checkpoint().Name != "calmer" {
		t.Errorf("%+v of %+v", r.Checkpoint(), b.Checkpoint())
	}
	if _, err := b.Rescaled("No Name", 1, 0); err == nil {
		t.Error("a name that cannot be")
	}
}

// TestWithViews: a bundle of format 2 that reads back as itself, with the head
// and the golden cases of the original.
func TestWithViews(t *testing.T) {
	b := newDraft("demo", 1).bundle(t)
	views, err := quality.ParseViews([]string{"448/r1c1", "224"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.WithViews("other", views)
	if err != nil {
		t.Fatal(err)
	}
	manifest, weights, err := checkpoint.Encode(other)
	if err != nil {
		t.Fatal(err)
	}
	again, err := checkpoint.Decode(manifest, weights, checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	c := again.Checkpoint()
	if c != other.Checkpoint() || c.Views != views || c.Name != "other" || c.Digest == b.Checkpoint().Digest ||
		again.Head().W1[0] != b.Head().W1[0] || len(again.Golden()) != len(b.Golden()) {
		t.Errorf("read back: %+v", c)
	}
	if b.Checkpoint().Views != (quality.Views{}) {
		t.Error("the original has changed")
	}
}
