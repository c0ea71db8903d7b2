package analysis

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/agiqa/agiqa/experiment/stats"
)

const (
	fewestInSlice  = 20 // images
	mostSliceNames = 12 // of an attribute, the most frequent ones
)

// slices looks at the difference of losses on images of one kind, discounted for
// chance: the largest of many slices is mostly luck.
func (s *State) slices(v view) []Slice {
	type kind struct{ attribute, value string }
	byKind := map[kind][]rated{}
	for _, i := range v.images {
		for attribute, value := range i.slices {
			byKind[kind{attribute, value}] = append(byKind[kind{attribute, value}], i)
		}
	}
	byAttribute := map[string][]kind{}
	for k, images := range byKind {
		if len(images) >= fewestInSlice {
			byAttribute[k.attribute] = append(byAttribute[k.attribute], k)
		}
	}
	attributes := slices.Sorted(maps.Keys(byAttribute))
	var all []Slice
	for _, arm := range s.treatments() {
		for _, attribute := range attributes[:min(mostSlices, len(attributes))] {
			kinds := byAttribute[attribute]
			slices.SortFunc(kinds, func(a, b kind) int {
				return cmp.Or(-cmp.Compare(len(byKind[a]), len(byKind[b])), cmp.Compare(a.value, b.value))
			})
			var group []Slice
			var effects []stats.SliceEffect
			for _, k := range kinds[:min(mostSliceNames, len(kinds))] {
				var m stats.Moments
				for _, i := range byKind[k] {
					_ = m.Add(stats.Gain(i.scores[s.control], i.scores[arm], i.label)) // finite
				}
				se := m.SD() / math.Sqrt(float64(max(1, m.N())))
				if se == 0 {
					continue
				}
				effects = append(effects, stats.SliceEffect{Effect: m.Mean(), SE: se})
				group = append(group, Slice{
					Attribute: k.attribute, Value: k.value, Arm: s.e.Arms[arm].ID, Images: m.N(),
					Effect: Number(m.Mean()), SE: Number(se),
					Shrunk: unknown(), ShrunkSE: unknown(), Kept: unknown(), Exploratory: true,
				})
			}
			if shrunk, err := stats.Shrink(effects); err == nil {
				for i, e := range shrunk {
					group[i].Shrunk, group[i].ShrunkSE, group[i].Kept = Number(e.Effect), Number(e.SE), Number(e.Kept)
				}
			}
			all = append(all, group...)
		}
	}
	return all
}
