package stats

import "math"

// Groups measures how well a weighted mean is known when values of one group may
// be alike: labels of one rater, images of one prompt. It holds sums only, so one
// more value takes constant time. The zero value is empty.
//
// The variance of the mean is that of the groups' sums around it,
//
//	G/(G-1) * sum over groups of (sum w (v - mean))^2 / (sum w)^2
//
// (Liang and Zeger 1986, with the usual correction for G groups). With one value a
// group it is the ordinary one.
type Groups struct {
	sums, weights       []float64
	n                   int     // groups with a value
	value, weight       float64 // sums of w v and of w
	squares, cross, own float64 // sums over groups of S^2, S W and W^2
}

// Add takes a value with its weight, above 0, of a group: a small whole number.
func (g *Groups) Add(group int, value, weight float64) {
	for len(g.sums) <= group {
		g.sums, g.weights = append(g.sums, 0), append(g.weights, 0)
	}
	s, w := g.sums[group], g.weights[group]
	if w == 0 {
		g.n++
	}
	s2, w2 := s+weight*value, w+weight
	g.squares += s2*s2 - s*s
	g.cross += s2*w2 - s*w
	g.own += w2*w2 - w*w
	g.sums[group], g.weights[group] = s2, w2
	g.value += weight * value
	g.weight += weight
}

// N is the number of groups.
func (g *Groups) N() int { return g.n }

// Mean is 0 when there is no value.
func (g *Groups) Mean() float64 {
	if g.weight == 0 {
		return 0
	}
	return g.value / g.weight
}

// SE is the standard error of the mean; infinite with fewer than two groups.
func (g *Groups) SE() float64 {
	if g.n < 2 {
		return math.Inf(1)
	}
	mean := g.Mean()
	squares := g.squares - 2*mean*g.cross + mean*mean*g.own
	return math.Sqrt(max(0, squares)*float64(g.n)/float64(g.n-1)) / g.weight
}

// Effective is the number of groups of equal weight that would tell as much about
// the variance, at most [Groups.N]: (sum W)^2 / sum W^2.
func (g *Groups) Effective() float64 {
	if g.own == 0 {
		return 0
	}
	return g.weight * g.weight / g.own
}

// Multiplier is by how many standard errors an interval of a confidence sequence
// reaches to each side after n observations.
func (o SequenceOptions) Multiplier(n int) float64 {
	return o.halfWidth(float64(n), math.Sqrt(float64(n)), o.rho())
}

// manyGroups is where Student's distribution is the normal one for all that
// matters here.
const manyGroups = 1000

// StudentReach turns a multiplier of standard errors that are known into one of
// standard errors that were estimated with df degrees of freedom, at the same
// level. Below one degree it is infinite.
func StudentReach(multiplier, df float64) float64 {
	switch {
	case df < 1:
		return math.Inf(1)
	case df > manyGroups:
		return multiplier
	}
	return -tQuantile(normalTails(multiplier)/2, df)
}

// BlockSE is the standard error of the mean of all values from the means of
// consecutive blocks, as equal in size as can be; prefix[i] is the sum of the first
// i values. It holds up when neighbours are alike, as long as blocks are longer than
// that (Ibragimov and Müller 2010). Infinite with fewer values than blocks.
func BlockSE(prefix []float64, blocks int) float64 {
	n := len(prefix) - 1
	if n < blocks || blocks < 2 {
		return math.Inf(1)
	}
	var m Moments
	for b := range blocks {
		from, to := b*n/blocks, (b+1)*n/blocks
		m.add((prefix[to] - prefix[from]) / float64(to-from))
	}
	return m.SD() / math.Sqrt(float64(blocks))
}
