package analysis

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// asked counts the raters who answered tasks about an image.
type asked struct{ labels, pairs int }

func (s *State) answered(image quality.Digest) {
	if row, _ := s.asked.row(key(image[:16])); row != nil {
		row.labels++
	}
}

func (s *State) compared(image quality.Digest) {
	if row, _ := s.asked.row(key(image[:16])); row != nil {
		row.pairs++
	}
}

// Wanted says which tasks a rater asks for.
type Wanted struct {
	Rater string // keyed hash
	Count int
	Among []quality.Digest // these images alone; nil: all
	// Skip leaves out an image; nil: none.
	Skip func(quality.Digest) bool
	// Since leaves out images that were last shown before it, labels of which
	// would soon be late.
	Since time.Time
}

// candidate is an image that a rater may be asked about.
type candidate struct {
	image quality.Digest
	asked int    // answers so far
	tie   uint64 // differs by rater, so that raters who ask at once get other images
}

func (a candidate) compare(b candidate) int {
	return cmp.Or(cmp.Compare(a.asked, b.asked), cmp.Compare(a.tie, b.tie), bytes.Compare(a.image[:], b.image[:]))
}

// TaskImages returns images of which nobody was shown a score in this phase and
// which the rater has not labelled blind, those with the fewest labels first.
func (s *State) TaskImages(w Wanted) []quality.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	chosen := s.candidates(w, w.Count, func(a *asked) int { return a.labels }, func(image quality.Digest) bool {
		return s.labels.rows[keyOf(w.Rater, image.Hex(), blindly)] != nil
	})
	images := make([]quality.Digest, len(chosen))
	for i, c := range chosen {
		images[i] = c.image
	}
	return images
}

// TaskPairs returns pairs of such images, which the rater has not compared
// blind. No image is in two of them.
func (s *State) TaskPairs(w Wanted) [][2]quality.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A few more than are needed, for pairs that the rater knows.
	chosen := s.candidates(w, 4*w.Count+16, func(a *asked) int { return a.pairs },
		func(quality.Digest) bool { return false })
	var pairs [][2]quality.Digest
	taken := make([]bool, len(chosen))
	for i := range chosen {
		for k := i + 1; k < len(chosen) && !taken[i] && len(pairs) < w.Count; k++ {
			a, b := chosen[i].image, chosen[k].image
			if taken[k] || s.prefers(w.Rater, a, b) {
				continue
			}
			taken[i], taken[k] = true, true
			pairs = append(pairs, [2]quality.Digest{a, b})
		}
	}
	return pairs
}

// prefers reports whether a rater has compared two images blind.
func (s *State) prefers(rater string, a, b quality.Digest) bool {
	low, high := a.Hex(), b.Hex()
	if low > high {
		low, high = high, low
	}
	return s.pairs.rows[keyOf(rater, low, high, blindly)] != nil
}

// candidates returns at most count images that may be asked about, in order,
// without those that are known to the rater. It holds a few times as many.
func (s *State) candidates(
	w Wanted, count int, of func(*asked) int, known func(quality.Digest) bool,
) []candidate {
	seed := seedOf(w.Rater)
	var kept []candidate
	var worst *candidate // of those that are kept, once there are enough
	consider := func(row *image) {
		if row == nil || !row.blind || row.open || row.last < w.Since.UnixNano() || !s.complete(row) {
			return
		}
		c := candidate{image: row.digest, tie: binary.BigEndian.Uint64(row.digest[:8]) ^ seed}
		if a := s.asked.rows[key(row.digest[:16])]; a != nil {
			c.asked = of(a)
		}
		if worst != nil && c.compare(*worst) >= 0 || w.Skip != nil && w.Skip(row.digest) || known(row.digest) {
			return
		}
		if kept = append(kept, c); len(kept) >= 2*count+64 {
			slices.SortFunc(kept, candidate.compare)
			kept = kept[:count]
			worst = &candidate{}
			*worst = kept[count-1]
		}
	}
	if w.Among == nil {
		for _, row := range s.images.rows {
			consider(row)
		}
	} else {
		for _, digest := range uniq(w.Among) {
			consider(s.images.rows[key(digest[:16])])
		}
	}
	slices.SortFunc(kept, candidate.compare)
	return kept[:min(count, len(kept))]
}

// complete reports whether an image has the scores that a label is held against.
func (s *State) complete(row *image) bool {
	for i := range row.scores {
		if !row.scores[i].any && !s.e.Arms[i].Out {
			return false
		}
	}
	return true
}

func uniq(images []quality.Digest) []quality.Digest {
	sorted := slices.SortedFunc(slices.Values(images), func(a, b quality.Digest) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(sorted)
}

// seedOf makes ties fall in another way for every rater.
func seedOf(rater string) uint64 {
	raw, err := hex.DecodeString(rater)
	if err != nil || len(raw) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(raw)
}

// OldestShown is how long before now the exposure of an image may be that a
// rater is asked about, so that the answer is not late.
const OldestShown = experiment.LateAfter - experiment.TaskFor
