package quality_test

import (
	"slices"
	"testing"

	"github.com/agiqa/agiqa/quality"
)

func TestPanel(t *testing.T) {
	encoder := quality.DigestOf([]byte("encoder"))
	of := func(name string) quality.Checkpoint {
		return quality.Checkpoint{Name: name, Digest: quality.DigestOf([]byte(name)), Encoder: encoder}
	}
	a, b, c := of("a"), of("b"), of("c")
	foreign := of("f")
	foreign.Encoder = quality.DigestOf([]byte("another"))
	panel := func(recipe string, cs ...quality.Checkpoint) quality.Panel {
		t.Helper()
		p, err := quality.NewPanel(recipe, cs)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}

	first := panel("r/1", a, b)
	renamed := a
	renamed.Name, renamed.HeadOnly = "other", true
	if again := panel("r/1", renamed, b); again.ID != first.ID || again.Model() != "prompt_panel_"+first.ID.Short() {
		t.Errorf("the same contents are panel %s and %s", again.Model(), first.Model())
	}
	for name, other := range map[string]quality.Panel{
		"another order": panel("r/1", b, a), "another recipe": panel("r/2", a, b),
		"one more": panel("r/1", a, b, c), "another member": panel("r/1", a, c),
	} {
		if other.ID == first.ID {
			t.Errorf("%s has the same id", name)
		}
	}

	p := panel("r/1", c, a, b)
	for i, x := range []quality.Checkpoint{c, a, b} {
		if got, ok := p.Column(x.Digest); !ok || got != i {
			t.Errorf("column of %s is %d (%t), want %d", x.Name, got, ok, i)
		}
	}
	if _, ok := p.Column(foreign.Digest); ok {
		t.Error("a checkpoint that is not in the panel has a column")
	}

	given := []quality.Checkpoint{a, b}
	kept := panel("r/1", given...)
	given[0] = c
	if kept.Checkpoints[0] != a {
		t.Error("the panel follows a slice of its caller")
	}

	many := slices.Repeat([]quality.Checkpoint{a}, quality.MaxPanel+1)
	for i := range many {
		many[i].Digest = quality.Digest{byte(i), 1}
	}
	for name, cs := range map[string][]quality.Checkpoint{
		"none": nil, "one": {a}, "too many": many, "one twice": {a, b, a}, "two encoders": {a, foreign},
	} {
		if p, err := quality.NewPanel("r/1", cs); err == nil {
			t.Errorf("%s: a panel of %d", name, len(p.Checkpoints))
		}
	}
	panel("r/1", many[:quality.MaxPanel]...)
}
