package stats

import (
	"math"
	"math/bits"
	"slices"
)

// counted computes all metrics of all arms, then those of the later arms less
// those of the first.
func (s *sample) counted(metrics []Metric) Counted {
	r := newResample(s, metrics)
	return func(counts [][]int32, figures []float64) {
		r.draw(counts)
		for a := range s.arms {
			r.load(&s.arms[a])
			for i, m := range metrics {
				figures[a*len(metrics)+i] = r.metric(m, &s.arms[a])
			}
		}
		for i := len(metrics); i < len(s.arms)*len(metrics); i++ {
			figures[(len(s.arms)-1)*len(metrics)+i] = figures[i] - figures[i%len(metrics)]
		}
	}
}

// resample is one sample of images, and the memory of the worker that draws it.
// What all arms share is computed once, and images that were not drawn are passed
// over.
type resample struct {
	*sample
	srcc, krcc, plcc bool // whether they are wanted

	counts []int32   // by image
	own    []int32   // counts of this worker, where raters are drawn
	labels *variable // of the images that were drawn; this worker's where raters are
	sorter sorter
	drawn  []int32 // images whose count is above 0, ascending
	sorted []int32 // the same, by ascending value of the arm or label at hand
	total  int64   // sum of the counts

	// In the order of drawn: how often, label, label less the mean, score of an arm.
	times, label, moved, score []float64

	labelMean, labelSpread float64 // mean of labels, sum of squares about it
	labelRanks, armRanks   []int64 // by image, twice the rank less twice the mean rank
	labelRankSpread        int64   // sum of squares
	labelTies              int64   // pairs
	at, tree               []int32 // see kendall
}

func newResample(s *sample, metrics []Metric) *resample {
	floats := func() []float64 { return make([]float64, s.images) }
	return &resample{
		sample: s, labels: &s.labels,
		srcc: slices.Contains(metrics, SRCC), krcc: slices.Contains(metrics, KRCC), plcc: slices.Contains(metrics, PLCC),
		drawn: make([]int32, s.images), sorted: make([]int32, s.images), times: floats(), label: floats(),
		moved: floats(), score: floats(),
		labelRanks: make([]int64, s.images), armRanks: make([]int64, s.images),
		at: make([]int32, s.images), tree: make([]int32, 1<<bits.Len(uint(s.images-1))),
	}
}

// draw takes how often each image was drawn, and each rater where raters are.
func (r *resample) draw(counts [][]int32) {
	r.counts = counts[0]
	if len(counts) == 2 {
		r.relabel(counts[0], counts[1])
	}
	n := 0
	r.drawn, r.total = r.drawn[:r.images], 0
	for i, count := range r.counts {
		r.total += int64(count)
		r.drawn[n] = int32(i)
		if count > 0 {
			n++
		}
	}
	r.drawn, r.times, r.label, r.moved, r.score = r.drawn[:n], r.times[:n], r.label[:n], r.moved[:n], r.score[:n]
	for k, i := range r.drawn {
		r.times[k], r.label[k] = float64(r.counts[i]), r.labels.values[i]
	}
	if len(counts) == 2 && (r.srcc || r.krcc) {
		r.labels.sort(r.drawn, &r.sorter)
	}
	if r.srcc || r.krcc {
		r.sorted = r.labels.drawn(r.counts, r.sorted)
	}
	if r.srcc {
		r.labels.ranks(r.sorted, r.counts, r.total, r.labelRanks)
		r.labelRankSpread = 0
		for _, i := range r.drawn {
			r.labelRankSpread += int64(r.counts[i]) * r.labelRanks[i] * r.labelRanks[i]
		}
	}
	if r.krcc {
		r.labelTies = r.labels.tiedPairs(r.sorted, r.counts)
	}
	if r.plcc {
		r.labelMean, r.labelSpread = r.mean(r.label), 0
		for k, v := range r.label {
			d := v - r.labelMean
			r.moved[k] = d
			r.labelSpread += r.times[k] * d * d
		}
	}
}

// relabel takes the means of the ratings as their raters were drawn. An image whose
// raters were not drawn is not either.
func (r *resample) relabel(images, raters []int32) {
	if r.own == nil {
		own := newVariable(slices.Clone(r.labels.values))
		r.own, r.labels = make([]int32, r.images), &own
	}
	copy(r.own, images)
	r.counts = r.own
	for i, n := range r.own {
		if n == 0 {
			continue
		}
		label, rated := r.labelOf(i, raters)
		if !rated {
			r.own[i] = 0
			continue
		}
		r.labels.values[i] = label
	}
}

// load takes the scores of an arm.
func (r *resample) load(arm *variable) {
	for k, i := range r.drawn {
		r.score[k] = arm.values[i]
	}
	if r.srcc || r.krcc {
		r.sorted = arm.drawn(r.counts, r.sorted)
	}
}

func (r *resample) metric(m Metric, arm *variable) float64 {
	switch m {
	case SRCC:
		return r.spearman(arm)
	case KRCC:
		return r.kendall(arm)
	case PLCC:
		return r.pearson()
	case RMSE:
		return math.Sqrt(r.meanSquare())
	}
	return r.meanSquare()
}

// spearman is in whole numbers, twice the ranks, up to its last line.
func (r *resample) spearman(arm *variable) float64 {
	arm.ranks(r.sorted, r.counts, r.total, r.armRanks)
	var xy, xx int64
	for _, i := range r.drawn {
		nx := int64(r.counts[i]) * r.armRanks[i]
		xy += nx * r.labelRanks[i]
		xx += nx * r.armRanks[i]
	}
	if xx == 0 || r.labelRankSpread == 0 {
		return math.NaN()
	}
	return float64(xy) / math.Sqrt(float64(xx)) / math.Sqrt(float64(r.labelRankSpread))
}

// mean is that of values in the order of drawn.
func (r *resample) mean(values []float64) float64 {
	var sum float64
	for k, v := range values {
		sum += r.times[k] * v
	}
	return sum / float64(r.total)
}

func (r *resample) pearson() float64 {
	mean := r.mean(r.score)
	var xy, xx float64
	for k, v := range r.score {
		d := v - mean
		nd := r.times[k] * d
		xy += nd * r.moved[k]
		xx += nd * d
	}
	// Rounding leaves a little where all values are the same.
	nothing := 1e-24 * float64(r.total)
	if xx <= nothing*mean*mean || r.labelSpread <= nothing*r.labelMean*r.labelMean || xx == 0 || r.labelSpread == 0 {
		return math.NaN()
	}
	return xy / math.Sqrt(xx) / math.Sqrt(r.labelSpread)
}

func (r *resample) meanSquare() float64 {
	var sum float64
	for k, v := range r.score {
		d := v - r.label[k]
		sum += r.times[k] * d * d
	}
	return sum / float64(r.total) // NaN when nothing was drawn
}

// kendall walks the arm's values upwards and counts, in a tree over the labels, how
// many images were passed at every one: those of a lower label are concordant, those
// of a higher one discordant. The copies of an image are tied with each other.
func (r *resample) kendall(arm *variable) float64 {
	leaves := 1 << bits.Len(uint(r.labels.runs-1))
	tree, at := r.tree[:leaves], r.at[:r.labels.runs]
	clear(tree)
	clear(at)
	var difference, armTies, passed int64
	for first := 0; first < len(r.sorted); {
		end := arm.end(r.sorted, first)
		alone := end == first+1 // counted on the way; of several none counts for another
		var run int64
		for _, i := range r.sorted[first:end] {
			label, n, counted := r.labels.run[i], r.counts[i], int32(0)
			if alone {
				counted = n
			}
			difference += int64(n) * (2*pass(tree, label, counted) + int64(at[label]) - passed)
			run += int64(n)
		}
		for _, i := range r.sorted[first:end] {
			label, n := r.labels.run[i], r.counts[i]
			at[label] += n
			if !alone {
				pass(tree, label, n)
			}
		}
		passed += run
		armTies += run * (run - 1) / 2
		first = end
	}
	pairs := r.total * (r.total - 1) / 2
	if armTies == pairs || r.labelTies == pairs {
		return math.NaN()
	}
	return float64(difference) / math.Sqrt(float64(pairs-armTies)) / math.Sqrt(float64(pairs-r.labelTies))
}

// pass counts n images at a label and returns how many were counted at lower ones
// before. The labels are the leaves of a binary tree whose node k, of children 2k and
// 2k+1, holds the count below its left child. It does not branch: which way to go is
// a coin's toss, and guessing wrong costs more than the arithmetic.
func pass(tree []int32, label, n int32) int64 {
	var lower int64
	for k := uint32(len(tree)) + uint32(label); k > 1; k >>= 1 {
		right := -int32(k & 1)
		node := &tree[k>>1]
		lower += int64(*node & right)
		*node += n &^ right
	}
	return lower
}
