package stats

import "math"

// leastExpected is how many units an arm should expect before chi-square is
// trusted.
const leastExpected = 8

// SRM tests for a sample ratio mismatch: whether units fell to the arms as their
// weights say. Pearson's chi-square; degrees of freedom are the arms with a
// positive weight less one. An arm of weight 0 that has units gives p = 0 and an
// infinite statistic: no chance explains it. Every arm with a weight must expect
// at least 8 units. For data that is looked at more than once: [SequentialSRM].
func SRM(counts []int, weights []float64) (Test, error) {
	shares, err := sharesOf(weights)
	if err != nil {
		return Test{}, err
	}
	var total, df float64
	strays := false
	for i, n := range counts {
		total += float64(n)
		if shares[i] > 0 {
			df++
		} else if n > 0 {
			strays = true
		}
	}
	df--
	if strays {
		return Test{Statistic: math.Inf(1), DF: df, P: 0}, nil
	}
	var x float64
	for i, n := range counts {
		if shares[i] == 0 {
			continue
		}
		expected := total * shares[i]
		if expected < leastExpected {
			return Test{}, fault("counts", "arm %d expects %.3g units, %d are needed", i, expected, leastExpected)
		}
		d := float64(n) - expected
		x += d * d / expected
	}
	return chiSquareTest(x, df), nil
}

// sharesOf scales weights to a sum of 1; at least two must be above 0.
func sharesOf(weights []float64) ([]float64, error) {
	var sum float64
	positive := 0
	for i, w := range weights {
		if !(w >= 0) || !finite(w) {
			return nil, fault("weights", "value %d is %v, not a number of at least 0", i, w)
		}
		if w > 0 {
			positive++
		}
		sum += w
	}
	if positive < 2 {
		return nil, fault("weights", "%d are above 0, 2 are needed", positive)
	}
	shares := make([]float64, len(weights))
	for i, w := range weights {
		shares[i] = w / sum
	}
	return shares, nil
}

// SequentialSRM is the test for a sample ratio mismatch that may be read after
// every unit: an e-process, the ratio of a Dirichlet mixture of multinomials to
// the one of the weights (Lindon and Malek, "Anytime-Valid Inference for
// Multinomial Count Data", NeurIPS 2022). When the weights hold, the chance that
// it ever reaches 1/alpha is at most alpha. The value is not safe for several
// goroutines.
type SequentialSRM struct {
	shares   []float64
	counts   []int
	total    int
	evidence evidence
}

// concentration is the weight of the prior about the ordered shares, in units:
// mixtures of shares that are off by about sqrt(s(1-s)/2500), one percent for
// s = 1/2. A larger one finds small mismatches sooner and large ones later.
const concentration = 2500

// NewSequentialSRM takes the weights, of which at least two must be above 0.
func NewSequentialSRM(weights []float64) (*SequentialSRM, error) {
	shares, err := sharesOf(weights)
	if err != nil {
		return nil, err
	}
	return &SequentialSRM{shares: shares, counts: make([]int, len(shares))}, nil
}

// Add takes the arm of one unit, an index into the weights.
func (s *SequentialSRM) Add(arm int) {
	share := s.shares[arm]
	if share == 0 {
		s.evidence.add(math.Inf(1))
	} else {
		predicted := (concentration*share + float64(s.counts[arm])) / (concentration + float64(s.total))
		s.evidence.add(math.Log(predicted / share))
	}
	s.counts[arm]++
	s.total++
}

// LogE is the logarithm of the e-value now: log of the evidence against the
// weights. 0 at the beginning, infinite once a unit fell to an arm of weight 0.
func (s *SequentialSRM) LogE() float64 { return s.evidence.now }

// P is the anytime-valid p-value, 1 over the largest e-value so far; it never
// rises.
func (s *SequentialSRM) P() float64 { return s.evidence.p() }

// Counts are the units of every arm so far.
func (s *SequentialSRM) Counts() []int { return append([]int(nil), s.counts...) }

// evidence is a log e-process and its maximum.
type evidence struct{ now, most float64 }

func (e *evidence) add(step float64) { e.set(e.now + step) }

func (e *evidence) set(now float64) { e.now, e.most = now, max(e.most, now) }

// p is 1 over the largest e-value; at most 1, since an e-process begins at 1.
func (e *evidence) p() float64 { return math.Exp(-e.most) }
