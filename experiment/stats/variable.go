package stats

import "math"

// variable is one value an image, with their order.
type variable struct {
	values []float64
	order  []int32 // images by ascending value
	run    []int32 // by image: how many smaller values there are, equal ones as one
	runs   int
}

func newVariable(values []float64) variable {
	v := variable{values: values, order: make([]int32, 0, len(values)), run: make([]int32, len(values))}
	all := make([]int32, len(values))
	for i := range all {
		all[i] = int32(i)
	}
	v.sort(all, new(sorter))
	return v
}

// sort orders the values of some images, the only ones that may be looked at from
// then on. Equal values may stand in any order: only whole runs are looked at.
func (v *variable) sort(images []int32, by *sorter) {
	v.order = append(v.order[:0], images...)
	by.sort(v.order, v.values)
	v.runs = 0
	for place, i := range v.order {
		if place == 0 || v.values[i] != v.values[v.order[place-1]] {
			v.runs++
		}
		v.run[i] = int32(v.runs - 1)
	}
}

// drawn fills list with the images whose count is above 0, by ascending value.
func (v *variable) drawn(counts, list []int32) []int32 {
	list = list[:len(v.order)]
	n := 0
	for _, i := range v.order {
		list[n] = i
		if counts[i] > 0 {
			n++
		}
	}
	return list[:n]
}

// end is one past the run of equal values that begins at a place of such a list.
func (v *variable) end(list []int32, first int) int {
	run := v.run[list[first]]
	for first++; first < len(list) && v.run[list[first]] == run; first++ {
	}
	return first
}

// ranks fills out with twice the rank of every image of such a list, less twice the
// mean rank, in a sample that holds image i counts[i] times; equal values share the
// mean of their ranks. total is the sum of counts.
func (v *variable) ranks(list, counts []int32, total int64, out []int64) {
	var passed int64
	for first := 0; first < len(list); {
		end := v.end(list, first)
		var run int64
		for _, i := range list[first:end] {
			run += int64(counts[i])
		}
		for _, i := range list[first:end] {
			out[i] = 2*passed + run - total
		}
		passed += run
		first = end
	}
}

// tiedPairs counts the pairs of equal values in such a sample.
func (v *variable) tiedPairs(list, counts []int32) int64 {
	var pairs int64
	for first := 0; first < len(list); {
		end := v.end(list, first)
		var run int64
		for _, i := range list[first:end] {
			run += int64(counts[i])
		}
		pairs += run * (run - 1) / 2
		first = end
	}
	return pairs
}

// sorter orders images by their values, one byte of a value's bits after another:
// labels are sorted in every resample, and comparing them takes ten times as long.
// It keeps its memory.
type sorter struct{ items, spare []item }

type item struct {
	key   uint64 // in the order of the values
	image int32
}

func (s *sorter) sort(images []int32, values []float64) {
	if cap(s.items) < len(images) {
		s.items, s.spare = make([]item, len(images)), make([]item, len(images))
	}
	from, to := s.items[:len(images)], s.spare[:len(images)]
	var counts [8][256]int32
	for k, i := range images {
		key := math.Float64bits(values[i])
		key ^= uint64(int64(key)>>63) | 1<<63 // negative: all bits turned; others: the first
		from[k] = item{key, i}
		for b := range counts {
			counts[b][byte(key>>(8*b))]++
		}
	}
	for b := range counts {
		places := &counts[b]
		if len(from) > 0 && places[byte(from[0].key>>(8*b))] == int32(len(from)) {
			continue // all have the same byte here
		}
		var before int32
		for k, n := range places {
			places[k] = before
			before += n
		}
		for _, it := range from {
			place := &places[byte(it.key>>(8*b))]
			to[*place] = it
			*place++
		}
		from, to = to, from
	}
	for k, it := range from {
		images[k] = it.image
	}
}
