package pool_test

import (
	"testing"

	"github.com/agiqa/agiqa/imageprep/internal/pool"
)

func TestGetTakesTheSmallestThatFits(t *testing.T) {
	p := pool.New[byte](4, 1000)
	small, large := p.Get(10), p.Get(100)
	small[0], large[0] = 1, 2
	p.Put(large)
	p.Put(small)
	for _, tc := range []struct{ ask, first int }{{11, 2}, {5, 1}, {1, 0}} { // the last is new
		if b := p.Get(tc.ask); len(b) != tc.ask || int(b[0]) != tc.first {
			t.Errorf("Get(%d): length %d, first %d, want %d", tc.ask, len(b), b[0], tc.first)
		}
	}
}

func TestPoolIsBounded(t *testing.T) {
	for _, tc := range []struct {
		name string
		put  []int
		held int
	}{
		{"room", []int{10, 20}, 30},
		{"too many: the smallest goes", []int{10, 20, 5, 30}, 60},
		{"a smaller one does not push out", []int{10, 20, 30, 5}, 60},
		{"too long together", []int{40, 50, 60}, 60},
		{"longer than all may be", []int{40, 101}, 40},
		{"nothing", []int{0}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := pool.New[int16](3, 100)
			for _, n := range tc.put {
				p.Put(make([]int16, n))
			}
			if got := p.Held(); got != tc.held {
				t.Errorf("%v put: %d held, want %d", tc.put, got, tc.held)
			}
		})
	}
}

// TestGetLeavesWhatIsMuchTooLarge: memory is counted by what images ask for, so
// that a small image must not take a large one's buffer.
func TestGetLeavesWhatIsMuchTooLarge(t *testing.T) {
	const kept = 1 << 20
	for _, tc := range []struct {
		ask  int
		same bool
	}{{kept, true}, {kept / 2, true}, {kept/2 - 1, false}, {1, false}} {
		p := pool.New[byte](4, 1<<30)
		p.Put(make([]byte, kept))
		if b := p.Get(tc.ask); cap(b) >= kept != tc.same || len(b) != tc.ask {
			t.Errorf("asked for %d, got %d of %d with %d kept", tc.ask, len(b), cap(b), kept)
		}
	}
}

// TestAge: what nobody took between two calls goes.
func TestAge(t *testing.T) {
	p := pool.New[int16](4, 1<<30)
	p.Put(make([]int16, 100<<10))
	p.Put(make([]int16, 10<<10))
	for i, step := range []struct {
		use  bool
		held int64
	}{{false, 2 * 110 << 10}, {true, 2 * 10 << 10}, {true, 2 * 10 << 10}, {false, 0}} {
		if step.use {
			p.Put(p.Get(10 << 10))
		}
		p.Age()
		if held := p.HeldBytes(); held != step.held {
			t.Errorf("step %d: %d bytes held, want %d", i, held, step.held)
		}
	}
	p.Put(make([]int16, 5))
	p.Drop()
	if p.Held() != 0 {
		t.Errorf("%d held after Drop", p.Held())
	}
}

func TestNilPoolKeepsNothing(t *testing.T) {
	var p *pool.Pool[byte]
	p.Put([]byte{1})
	if b := p.Get(3); len(b) != 3 || b[0] != 0 {
		t.Errorf("got %v, want three zeros", b)
	}
}
