package stats

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// Ability is one item's place on the scale of [BradleyTerry].
type Ability struct {
	LogStrength float64 // natural logarithm; all of them sum to 0
	SE          float64 // of LogStrength, from the observed information
}

// BradleyTerry fits abilities to pairwise comparisons: i beats j with probability
// 1/(1+exp(b_j-b_i)) (Bradley and Terry 1952). wins[i][j] is how often i beat j; add
// half a win to both sides for a tie. Maximum likelihood by Newton's method with
// step halving; it exists only where every item is reached from every other by a
// chain of wins (Ford 1957).
func BradleyTerry(wins [][]float64) ([]Ability, error) {
	if err := checkWins(wins); err != nil {
		return nil, err
	}
	n := len(wins)
	b := make([]float64, n)
	for range 100 {
		gradient, information := slope(wins, b)
		var factor mat.Cholesky
		var step mat.VecDense
		if !factor.Factorize(information) || factor.SolveVecTo(&step, gradient) != nil {
			return nil, loose()
		}
		gain := mat.Dot(&step, gradient) // twice what the step promises
		b = stepped(wins, b, &step, gain)
		if gain < 1e-20 {
			break
		}
	}
	_, information := slope(wins, b)
	var factor mat.Cholesky
	var inverse mat.SymDense
	if !factor.Factorize(information) || factor.InverseTo(&inverse) != nil {
		return nil, loose()
	}
	abilities := make([]Ability, n)
	for i := range abilities {
		// The information was raised by 1/n everywhere, which is its own inverse on
		// the direction that the sum of 0 takes away.
		abilities[i] = Ability{b[i], math.Sqrt(max(0, inverse.At(i, i)-1/float64(n)))}
	}
	return abilities, nil
}

func loose() error {
	return fault("wins", "the comparisons do not hold the items together firmly enough for a float64")
}

// stepped takes the step, halved until the likelihood rises. Near the top, where
// rounding hides the rise, the whole step is right.
func stepped(wins [][]float64, b []float64, step *mat.VecDense, gain float64) []float64 {
	moved, before := make([]float64, len(b)), logLikelihood(wins, b)
	for share := 1.0; share > 1e-9; share /= 2 {
		for i := range b {
			moved[i] = b[i] + share*step.AtVec(i)
		}
		if gain < 1e-6 || logLikelihood(wins, moved) > before {
			return moved
		}
	}
	return b
}

// slope is the gradient of the log-likelihood and its negative second derivative,
// plus the matrix of 1/n that keeps the sum of the abilities where it is.
func slope(wins [][]float64, b []float64) (*mat.VecDense, *mat.SymDense) {
	n := len(wins)
	gradient, information := mat.NewVecDense(n, nil), mat.NewSymDense(n, nil)
	for i := range n {
		for j := i; j < n; j++ {
			information.SetSym(i, j, 1/float64(n))
		}
	}
	for i := range n {
		for j := i + 1; j < n; j++ {
			games := wins[i][j] + wins[j][i]
			p := 1 / (1 + math.Exp(b[j]-b[i]))
			d, h := wins[i][j]-games*p, games*p*(1-p)
			gradient.SetVec(i, gradient.AtVec(i)+d)
			gradient.SetVec(j, gradient.AtVec(j)-d)
			information.SetSym(i, i, information.At(i, i)+h)
			information.SetSym(j, j, information.At(j, j)+h)
			information.SetSym(i, j, information.At(i, j)-h)
		}
	}
	return gradient, information
}

func logLikelihood(wins [][]float64, b []float64) float64 {
	var sum float64
	for i := range wins {
		for j, w := range wins[i] {
			if w > 0 {
				sum -= w * softplus(b[j]-b[i])
			}
		}
	}
	return sum
}

// softplus is log(1+exp(x)) without overflow.
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func checkWins(wins [][]float64) error {
	n := len(wins)
	if n < 2 {
		return fault("wins", "%d items are too few, 2 are needed", n)
	}
	beats := func(i, j int) bool { return wins[i][j] > 0 }
	if !reachesAll(n, beats) || !reachesAll(n, func(i, j int) bool { return beats(j, i) }) {
		return fault("wins", "some items never lose to the others, or never win: their abilities have no bound")
	}
	return nil
}

// reachesAll reports whether item 0 reaches every item.
func reachesAll(n int, edge func(i, j int) bool) bool {
	seen, queue := make([]bool, n), []int{0}
	seen[0] = true
	for next := 0; next < len(queue); next++ {
		for j := range n {
			if !seen[j] && edge(queue[next], j) {
				seen[j] = true
				queue = append(queue, j)
			}
		}
	}
	return len(queue) == n
}
