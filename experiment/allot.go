package experiment

import (
	"cmp"
	"slices"
)

// Allot gives every arm as many buckets as its weight says. before is the
// allotment so far, nil at first: an arm that loses weight gives up the last of
// its buckets, one that gains takes what was given up, and no other bucket
// changes hands. So a change of weights moves as few units as can be, removing
// an arm moves that arm's units alone, and the allotment, which is part of the
// experiment, is the same on every gateway and after every restart.
//
// Slots are never joined: the covered part of each is its beginning, and
// joining two would move units.
func Allot(before []Slot, arms []Arm) []Slot {
	want := map[ArmID]PPM{}
	for _, a := range arms {
		want[a.ID] = a.Weight
	}
	before = slices.SortedFunc(slices.Values(before), byStart)
	held := map[ArmID]PPM{}
	var kept, free []Slot
	edge := PPM(0)
	for _, s := range before {
		if s.From > edge { // a gap belongs to nobody
			free = append(free, Slot{From: edge, To: s.From})
		}
		edge = s.To
		take := min(s.To-s.From, want[s.Arm]-held[s.Arm])
		if take > 0 {
			kept = append(kept, Slot{Arm: s.Arm, From: s.From, To: s.From + take})
			held[s.Arm] += take
		}
		if s.From+max(take, 0) < s.To {
			free = append(free, Slot{From: s.From + max(take, 0), To: s.To})
		}
	}
	if edge < Whole {
		free = append(free, Slot{From: edge, To: Whole})
	}
	for _, a := range arms {
		for held[a.ID] < a.Weight && len(free) > 0 {
			s := free[0]
			take := min(s.To-s.From, a.Weight-held[a.ID])
			kept = append(kept, Slot{Arm: a.ID, From: s.From, To: s.From + take})
			held[a.ID] += take
			if free[0].From += take; free[0].From == free[0].To {
				free = free[1:]
			}
		}
	}
	slices.SortFunc(kept, byStart)
	return kept
}

func byStart(a, b Slot) int { return cmp.Compare(a.From, b.From) }

// covers reports whether a bucket is in the covered part of a slot.
func (s Slot) covers(bucket, coverage PPM) bool {
	return bucket >= s.From && bucket < s.To && (bucket-s.From)*Whole < (s.To-s.From)*coverage
}
