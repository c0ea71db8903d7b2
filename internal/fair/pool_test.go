package fair_test

import (
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/fair"
)

// world is a pool with a clock that stands still until it's moved.
type world struct {
	pool  *fair.Pool[string]
	now   time.Time
	turns map[string]*fair.Turn[string]
}

func newWorld(cfg fair.Config) *world {
	return &world{fair.NewPool[string](cfg), time.Unix(1_000_000, 0), map[string]*fair.Turn[string]{}}
}

// begun are those that may begin now.
func (w *world) begun() string {
	var out []string
	for t := w.pool.Begin(); t != nil; t = w.pool.Begin() {
		out = append(out, t.Value)
	}
	return strings.Join(out, " ")
}

// enter has "name@client" come and returns what begins by that.
func (w *world) enter(name string, cost float64, memory int64) string {
	_, client, _ := strings.Cut(name, "@")
	w.turns[name] = w.pool.Enter(w.now, who(client, name), cost, memory, name)
	return w.begun()
}

func (w *world) leave(name string) string {
	w.pool.Leave(w.turns[name])
	return w.begun()
}

func (w *world) want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %q begin, want %q", what, got, want)
	}
}

func TestUnitsAreHandedOn(t *testing.T) {
	w := newWorld(fair.Config{Units: 2})
	w.want(t, "the first", w.enter("1@a", 1, 0), "1@a")
	w.want(t, "the second", w.enter("2@a", 1, 0), "2@a")
	w.want(t, "no unit is left", w.enter("3@a", 1, 0), "")
	w.want(t, "no unit is left", w.enter("4@a", 1, 0), "")
	w.want(t, "no unit is left", w.enter("5@b", 0.9, 0), "")
	w.want(t, "one that waits leaves", w.leave("3@a"), "")
	w.want(t, "the other client's turn", w.leave("1@a"), "5@b")
	w.want(t, "and the first one's", w.leave("5@b"), "4@a")
	w.leave("2@a")
	w.leave("4@a")
	if w.pool.Used() != 0 || w.pool.Queue().Len() != 0 || w.pool.Queue().Cost() != 0 {
		t.Errorf("%d units are used, %d items wait", w.pool.Used(), w.pool.Queue().Len())
	}
}

// Small items find a unit although large ones of everybody wait for one. Where
// none come, and where all cost about the same, no unit is kept for them.
func TestAUnitIsKeptForSmallItems(t *testing.T) {
	w := newWorld(fair.Config{Units: 3, Kept: 1})
	for _, name := range []string{"1@a", "2@a", "3@a"} {
		w.want(t, "alike", w.enter(name, 25, 0), name)
	}
	w.want(t, "all units are taken", w.enter("4@b", 1, 0), "")
	w.want(t, "a large one comes while small ones do", w.enter("5@a", 25, 0), "")
	w.want(t, "the small one is first", w.leave("1@a"), "4@b")
	w.want(t, "its unit is not for the large one, which has all others", w.leave("4@b"), "5@a")
	w.want(t, "a large one", w.enter("6@a", 25, 0), "")
	w.want(t, "one more large one than may be", w.leave("2@a"), "6@a")
	w.leave("3@a")
	w.want(t, "large ones", w.enter("7@a", 25, 0), "")
	w.want(t, "small, with large ones waiting", w.enter("8@a", 1, 0), "8@a")
	w.leave("8@a")
	w.now = w.now.Add(time.Minute)
	w.want(t, "no small one has come for long", w.enter("9@a", 25, 0), "9@a")
}

func TestMemoryOfAPool(t *testing.T) {
	w := newWorld(fair.Config{Units: 10, Kept: 1, Memory: 800})
	w.want(t, "small", w.enter("s1@a", 1, 50), "s1@a")
	w.want(t, "large", w.enter("l1@a", 25, 400), "l1@a")
	w.want(t, "more than large ones may have together", w.enter("l2@a", 25, 400), "")
	w.want(t, "small ones still fit", w.enter("s2@b", 1, 50), "s2@b")
	w.want(t, "the other large one", w.leave("l1@a"), "l2@a")
	w.want(t, "more than there is", w.enter("l3@a", 50, 900), "")
	w.leave("s1@a")
	w.leave("s2@b")
	w.want(t, "alone", w.leave("l2@a"), "l3@a")
	w.want(t, "beside it nothing fits", w.enter("s3@b", 1, 1), "")
	w.want(t, "after it", w.leave("l3@a"), "s3@b")
}
