package stats

import (
	"cmp"
	"slices"
)

// variable is one value an image, with their order.
type variable struct {
	values []float64
	order  []int32 // images by ascending value
	ends   []int32 // one past each run of equal values in order
	run    []int32 // by image: its run
}

func newVariable(values []float64) variable {
	v := variable{
		values: values, order: make([]int32, len(values)),
		ends: make([]int32, 0, len(values)), run: make([]int32, len(values)),
	}
	for i := range v.order {
		v.order[i] = int32(i)
	}
	v.sort()
	return v
}

func (v variable) clone() variable { return newVariable(slices.Clone(v.values)) }

// sort orders the values anew. Equal values may stand in any order: only whole
// runs are looked at.
func (v *variable) sort() {
	slices.SortFunc(v.order, func(a, b int32) int { return cmp.Compare(v.values[a], v.values[b]) })
	v.ends = v.ends[:0]
	for place, i := range v.order {
		if place > 0 && v.values[i] != v.values[v.order[place-1]] {
			v.ends = append(v.ends, int32(place))
		}
		v.run[i] = int32(len(v.ends))
	}
	v.ends = append(v.ends, int32(len(v.order)))
}

// ranks fills out with twice the rank of every image, less twice the mean rank,
// in a sample that holds image i counts[i] times; equal values share the mean of
// their ranks. total is the sum of counts.
func (v *variable) ranks(counts []int32, total int64, out []int64) {
	var passed int64
	first := int32(0)
	for _, end := range v.ends {
		var run int64
		for _, i := range v.order[first:end] {
			run += int64(counts[i])
		}
		rank := 2*passed + run - total
		for _, i := range v.order[first:end] {
			out[i] = rank
		}
		passed += run
		first = end
	}
}

// tiedPairs counts the pairs of equal values in such a sample.
func (v *variable) tiedPairs(counts []int32) int64 {
	var pairs int64
	first := int32(0)
	for _, end := range v.ends {
		var run int64
		for _, i := range v.order[first:end] {
			run += int64(counts[i])
		}
		pairs += run * (run - 1) / 2
		first = end
	}
	return pairs
}
