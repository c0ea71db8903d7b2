package retrybudget_test

import (
	"testing"

	"github.com/agiqa/agiqa/internal/retrybudget"
)

func TestFiveFailuresEndIt(t *testing.T) {
	var b retrybudget.Budget
	for i := range 8 {
		if got, want := b.Failure(), i < 4; got != want {
			t.Errorf("failure %d: again %v, want %v", i+1, got, want)
		}
	}
}

// In the long run a tenth of the successes is what may be tried again.
func TestATenthInTheLongRun(t *testing.T) {
	var b retrybudget.Budget
	again := 0
	const rounds = 10_000
	for range rounds {
		b.Success()
		if b.Failure() {
			again++
		}
	}
	if again > 10 { // half of all fail: no budget for that
		t.Errorf("%d second attempts of %d", again, rounds)
	}
	b = retrybudget.Budget{}
	again = 0
	for i := range rounds {
		if i%20 == 0 {
			if b.Failure() {
				again++
			}
			continue
		}
		b.Success()
	}
	if want := rounds / 20; again != want {
		t.Errorf("%d second attempts, want all %d: one in twenty is within the budget", again, want)
	}
}
