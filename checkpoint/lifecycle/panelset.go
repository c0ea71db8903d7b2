package lifecycle

import (
	"bytes"
	"slices"

	"github.com/agiqa/agiqa/quality"
)

// Wanted says which sets of checkpoints should be scored by one call, each
// named by what its checkpoints contain, the most important set first. It is
// asked at every round of [Panels] and must not block.
type Wanted interface {
	WantedPanels() [][]quality.Digest
}

// covers reports whether a panel of that many columns is worth asking for n of
// its checkpoints: a column costs about a third of a call of a head.
func covers(columns, n int) bool { return columns <= max(8, 4*n) }

// canonicalPanel makes the panel of a set: the same for every order in which it is
// asked for.
func canonicalPanel(recipe string, set []quality.Checkpoint) (quality.Panel, error) {
	set = slices.Clone(set)
	slices.SortFunc(set, func(a, b quality.Checkpoint) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	set = slices.CompactFunc(set, func(a, b quality.Checkpoint) bool { return a.Digest == b.Digest })
	return quality.NewPanel(recipe, set)
}

// has reports whether p has every one of the checkpoints.
func has(p quality.Panel, checkpoints []quality.Checkpoint) bool {
	for _, c := range checkpoints {
		if _, ok := p.Column(c.Digest); !ok {
			return false
		}
	}
	return true
}

// smallest returns the smallest panel that has all the checkpoints and is
// worth asking.
func smallest(panels []quality.Panel, checkpoints []quality.Checkpoint) (best quality.Panel, ok bool) {
	for _, p := range panels {
		columns := len(p.Checkpoints)
		if covers(columns, len(checkpoints)) && (!ok || columns < len(best.Checkpoints)) && has(p, checkpoints) {
			best, ok = p, true
		}
	}
	return best, ok
}

// withoutRedundant leaves out the panels that a larger one, which stays, serves
// as well. The order stays.
func withoutRedundant(panels []quality.Panel) []quality.Panel {
	largest := slices.Clone(panels)
	slices.SortStableFunc(largest, func(a, b quality.Panel) int { return len(b.Checkpoints) - len(a.Checkpoints) })
	var kept []quality.Panel
	stays := map[quality.Digest]bool{}
	for _, p := range largest {
		if _, served := smallest(kept, p.Checkpoints); !served {
			kept, stays[p.ID] = append(kept, p), true
		}
	}
	return slices.DeleteFunc(slices.Clone(panels), func(p quality.Panel) bool { return !stays[p.ID] })
}
