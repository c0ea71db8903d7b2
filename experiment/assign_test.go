package experiment_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
	"pgregory.net/rapid"

	"github.com/agiqa/agiqa/experiment"
)

func hasher(t testing.TB, key string) experiment.Hasher {
	t.Helper()
	h, err := experiment.NewHasher([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

const testKey = "a key of thirty-two bytes, secret"

// split is a running experiment whose arms have these weights.
func split(salt string, coverage experiment.PPM, weights ...experiment.PPM) experiment.Experiment {
	e := experiment.Experiment{HashVersion: 1, Salt: salt, Coverage: coverage}
	for i, w := range weights {
		e.Arms = append(e.Arms, experiment.Arm{ID: experiment.ArmID(string(rune('a' + i))), Weight: w})
	}
	e.Slots = experiment.Allot(nil, e.Arms)
	return e
}

// Buckets are those of testdata/assignment.py, on every architecture.
func TestBucketsGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/assignment.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Key   string
		Cases []struct {
			Version           int
			Salt, Kind, Value string
			Bucket            experiment.PPM
		}
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	key, err := hex.DecodeString(golden.Key)
	if err != nil || len(golden.Cases) < 30 {
		t.Fatalf("golden file: %v, %d cases", err, len(golden.Cases))
	}
	h := hasher(t, string(key))
	for _, c := range golden.Cases {
		if got := h.Bucket(c.Version, c.Salt, experiment.UnitKind(c.Kind), c.Value); got != c.Bucket {
			t.Errorf("%s %s %.20q: bucket %d, want %d", c.Salt, c.Kind, c.Value, got, c.Bucket)
		}
	}
}

func TestKeys(t *testing.T) {
	if _, err := experiment.NewHasher(make([]byte, 15)); err == nil {
		t.Error("a key of 15 bytes is taken")
	}
	h, other := hasher(t, testKey), hasher(t, testKey+"!")
	if h.Bucket(1, "s", experiment.UnitHeader, "u") == other.Bucket(1, "s", experiment.UnitHeader, "u") {
		t.Error("the bucket does not depend on the key")
	}
	if h.Unit(experiment.UnitHeader, "u") == h.Unit(experiment.UnitAPIKey, "u") ||
		h.Rater("s", "u") == h.Unit(experiment.UnitHeader, "u") || h.Rater("s", "u") == h.Rater("t", "u") ||
		h.Key("s", "u") == h.Key("t", "u") || h.Key("ab", "c") == h.Key("a", "bc") || h.Sender("s") == h.Sender("t") {
		t.Error("names of different things are alike")
	}
	id := h.Assignment(uuid.MustParse("018f5b0e-0000-7000-8000-000000000001"))
	if !h.Issued(id) {
		t.Errorf("%s is not known", id)
	}
	if other.Issued(id) {
		t.Error("another key's id is taken")
	}
	for i := range len(id) {
		forged := id[:i] + "A" + id[i+1:]
		if forged != id && h.Issued(forged) {
			t.Errorf("%s is taken for %s", forged, id)
		}
	}
	for _, s := range []string{"", "as_", "as_AAAA", strings.TrimPrefix(id, "as_"), id + "A",
		id + "\n", id[:9] + "\r\n" + id[9:]} {
		if h.Issued(s) {
			t.Errorf("%q is taken", s)
		}
	}
}

// uniform is the p-value of the counts against the weights.
func uniform(counts []float64, weights []experiment.PPM) float64 {
	var n float64
	for _, c := range counts {
		n += c
	}
	want := make([]float64, len(counts))
	for i, w := range weights {
		want[i] = n * float64(w) / float64(experiment.Whole)
	}
	return distuv.ChiSquared{K: float64(len(counts) - 1)}.Survival(stat.ChiSquare(counts, want))
}

func TestUniformity(t *testing.T) {
	t.Parallel()
	h := hasher(t, testKey)
	names := []string{"50/50", "90/10", "three-way"}
	splits := [][]experiment.PPM{{500_000, 500_000}, {900_000, 100_000}, {333_333, 333_333, 333_334}}
	units := make([]string, 100_000)
	for u := range units {
		units[u] = "user-" + strconv.Itoa(u)
	}
	for seed := range 20 {
		salt := fmt.Sprintf("%032x", seed)
		var counts [3][3]float64
		var experiments [3]experiment.Experiment
		for i, weights := range splits {
			experiments[i] = split(salt, experiment.Whole, weights...)
		}
		for _, unit := range units {
			bucket := h.Bucket(1, salt, experiment.UnitHeader, unit)
			for i := range experiments {
				arm, ok := experiments[i].ArmAt(bucket)
				if !ok {
					t.Fatal("a unit is in no arm at full coverage")
				}
				counts[i][arm[0]-'a']++
			}
		}
		for i, weights := range splits {
			if p := uniform(counts[i][:len(weights)], weights); p <= 0.001 {
				t.Errorf("%s, seed %d: %v has p = %g", names[i], seed, counts[i], p)
			}
		}
	}
}

// Where a unit is in one experiment says nothing about where it is in another.
func TestIndependence(t *testing.T) {
	t.Parallel()
	h := hasher(t, testKey)
	for seed := range 3 {
		one := split(fmt.Sprintf("%032x", seed), experiment.Whole, 500_000, 500_000)
		two := split(fmt.Sprintf("%032x", 1000+seed), experiment.Whole, 700_000, 200_000, 100_000)
		joint := make([]float64, 6)
		weights := []experiment.PPM{350_000, 100_000, 50_000, 350_000, 100_000, 50_000}
		for u := range 100_000 {
			a, _ := h.Assign(one, experiment.UnitHeader, fmt.Sprint(u))
			b, _ := h.Assign(two, experiment.UnitHeader, fmt.Sprint(u))
			joint[3*int(a[0]-'a')+int(b[0]-'a')]++
		}
		if p := uniform(joint, weights); p <= 0.001 {
			t.Errorf("seed %d: %v has p = %g", seed, joint, p)
		}
	}
}

// everywhere is the arm of each of 2,000 units, "" where it is not covered.
func everywhere(e experiment.Experiment, h experiment.Hasher) map[string]experiment.ArmID {
	out := map[string]experiment.ArmID{}
	for u := range 2000 {
		value := fmt.Sprint(u)
		out[value], _ = h.Assign(e, experiment.UnitHeader, value)
	}
	return out
}

// weightsGen draws weights that sum to the whole.
func weightsGen(n int) *rapid.Generator[[]experiment.PPM] {
	return rapid.Custom(func(t *rapid.T) []experiment.PPM {
		left, out := experiment.Whole, make([]experiment.PPM, n)
		for i := range n - 1 {
			out[i] = experiment.PPM(rapid.IntRange(0, int(left)).Draw(t, "weight"))
			left -= out[i]
		}
		out[n-1] = left
		return out
	})
}

// Raising the coverage moves nobody between arms, and nobody out; it does so
// after any changes of weights as well.
func TestRampMovesNobody(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 4).Draw(t, "arms")
		e := split("", 0, weightsGen(n).Draw(t, "weights")...)
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			for i, w := range weightsGen(n).Draw(t, "weights") {
				e.Arms[i].Weight = w
			}
			e.Slots = experiment.Allot(e.Slots, e.Arms)
		}
		buckets := rapid.SliceOfN(rapid.IntRange(0, int(experiment.Whole)-1), 100, 100).Draw(t, "buckets")
		before := make([]experiment.ArmID, len(buckets))
		for step := range 5 {
			e.Coverage = experiment.PPM(rapid.IntRange(int(e.Coverage), int(experiment.Whole)).Draw(t, "coverage"))
			for i, b := range buckets {
				arm, _ := e.ArmAt(experiment.PPM(b))
				if before[i] != "" && arm != before[i] {
					t.Fatalf("step %d: bucket %d went from %q to %q", step, b, before[i], arm)
				}
				before[i] = arm
			}
		}
	})
}

// Every arm has exactly its weight in buckets, and only as many change hands
// as the weights demand.
func TestAllotMovesTheFewest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 5).Draw(t, "arms")
		e := split("", experiment.Whole, weightsGen(n).Draw(t, "weights")...)
		for range 4 {
			was, slots := append([]experiment.Arm(nil), e.Arms...), e.Slots
			for i, w := range weightsGen(n).Draw(t, "weights") {
				e.Arms[i].Weight = w
			}
			e.Slots = experiment.Allot(slots, e.Arms)
			held, edge := map[experiment.ArmID]experiment.PPM{}, experiment.PPM(0)
			for _, s := range e.Slots {
				if s.From != edge || s.From >= s.To {
					t.Fatalf("slots leave a gap or overlap: %v", e.Slots)
				}
				edge = s.To
				held[s.Arm] += s.To - s.From
			}
			var must experiment.PPM
			for i, a := range e.Arms {
				if held[a.ID] != a.Weight {
					t.Fatalf("arm %s has %d buckets, want %d", a.ID, held[a.ID], a.Weight)
				}
				must += max(0, was[i].Weight-a.Weight)
			}
			if edge != experiment.Whole || moved(slots, e.Slots) != must {
				t.Fatalf("%d buckets moved, want %d; the end is %d", moved(slots, e.Slots), must, edge)
			}
		}
	})
}

// moved counts the buckets whose arm changed.
func moved(a, b []experiment.Slot) (n experiment.PPM) {
	for _, x := range a {
		for _, y := range b {
			if x.Arm != y.Arm {
				n += max(0, min(x.To, y.To)-max(x.From, y.From))
			}
		}
	}
	return n
}

func TestRemovingAnArmMovesOnlyItsUnits(t *testing.T) {
	h := hasher(t, testKey)
	e := split("00000000000000000000000000000001", experiment.Whole, 400_000, 300_000, 300_000)
	before := everywhere(e, h)
	e.Arms[0].Weight, e.Arms[1].Weight = 700_000, 0
	e.Slots = experiment.Allot(e.Slots, e.Arms)
	shifted := 0
	for u, arm := range everywhere(e, h) {
		switch {
		case before[u] == "b" && arm == "a":
			shifted++
		case before[u] != arm:
			t.Errorf("unit %s went from %s to %s", u, before[u], arm)
		}
	}
	if shifted < 400 {
		t.Errorf("%d units moved with their arm", shifted)
	}
}

func TestCoverageBounds(t *testing.T) {
	h := hasher(t, testKey)
	for coverage, want := range map[experiment.PPM]int{0: 0, experiment.Whole: 2000} {
		covered := 0
		for _, arm := range everywhere(split("00000000000000000000000000000002", coverage, 500_000, 500_000), h) {
			if arm != "" {
				covered++
			}
		}
		if covered != want {
			t.Errorf("coverage %d has %d of 2000 units, want %d", coverage, covered, want)
		}
	}
}

// Experiments that divide a namespace share no unit.
func TestNamespace(t *testing.T) {
	h := hasher(t, testKey)
	one := split("00000000000000000000000000000003", experiment.Whole, 500_000, 500_000)
	two := split("00000000000000000000000000000004", experiment.Whole, 500_000, 500_000)
	one.Namespace = &experiment.Namespace{Name: "n", From: 0, To: 400_000}
	two.Namespace = &experiment.Namespace{Name: "n", From: 400_000, To: experiment.Whole}
	counts := [2]int{}
	a, b := everywhere(one, h), everywhere(two, h)
	for u := range a {
		if a[u] != "" && b[u] != "" {
			t.Errorf("unit %s is in both", u)
		}
		if a[u] != "" {
			counts[0]++
		}
		if b[u] != "" {
			counts[1]++
		}
	}
	if counts[0]+counts[1] != 2000 || counts[0] < 700 || counts[0] > 900 {
		t.Errorf("the namespace is divided as %v", counts)
	}
}
