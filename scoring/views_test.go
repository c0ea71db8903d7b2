package scoring_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// withViews returns c with views.
func withViews(t *testing.T, c quality.Checkpoint, texts ...string) quality.Checkpoint {
	t.Helper()
	views, err := quality.ParseViews(texts)
	if err != nil {
		t.Fatal(err)
	}
	c.Views = views
	return c
}

var cells448 = []string{"448/r0c0", "448/r0c1", "448/r1c0", "448/r1c1"}

// What the fakes make of the views of the image "good1" by checkpoint 1: 1049
// for 224, and 1059, 1060, 1075 and 1076 for the cells at 448.
func TestViewsAreRows(t *testing.T) {
	a := checkpointOf("a", 1)
	four := withViews(t, checkpointOf("four", 1), cells448...)
	other := withViews(t, checkpointOf("other", 2), cells448...)
	five := withViews(t, checkpointOf("five", 3), append([]string{"224"}, cells448...)...)
	two := withViews(t, checkpointOf("two", 4), "448/r1c1", "448/r0c0")
	bare := two
	bare.Name, bare.HeadOnly = "bare", true
	for _, tc := range []struct {
		name    string
		warm    []quality.Checkpoint // that scored the images before
		panel   []quality.Checkpoint
		spoil   func(rows [][]quality.HeadScore)
		images  []string
		ask     []quality.Checkpoint
		decoded int
		cached  bool
		calls   []string // in order of text
		want    []string
	}{
		{name: "one call of the ensemble for all views, and their mean", images: []string{"good1"},
			ask: []quality.Checkpoint{four}, decoded: 1, calls: []string{"ensemble four ++++"}, want: []string{"1067.5"}},
		{name: "rows of several images go together", images: []string{"good1", "good2", "good1"},
			ask: []quality.Checkpoint{two}, decoded: 2, calls: []string{"ensemble two ++++"},
			want: []string{"4067.5", "4068.5", "4067.5"}},
		{name: "without an ensemble", images: []string{"good1"}, ask: []quality.Checkpoint{bare}, decoded: 1,
			calls: []string{"encoder++", "head bare ++"}, want: []string{"4067.5"}},
		{name: "the same views by another checkpoint: its head alone", warm: []quality.Checkpoint{four},
			images: []string{"good1"}, ask: []quality.Checkpoint{other}, cached: true,
			calls: []string{"head other ++++"}, want: []string{"2067.5"}},
		{name: "some views known: the others alone are encoded", warm: []quality.Checkpoint{a, two},
			images: []string{"good1"}, ask: []quality.Checkpoint{five}, decoded: 1,
			calls: []string{"ensemble five ++", "head five +++"}, want: []string{"3063.8"}},
		{name: "compare decodes once and encodes the union once", images: []string{"good1"},
			ask: []quality.Checkpoint{a, four, five, two}, decoded: 1,
			calls: []string{"encoder+++++", "head a +", "head five +++++", "head four ++++", "head two ++"},
			want:  []string{"1049 1067.5 3063.8 4067.5"}},
		{name: "compare with all known", warm: []quality.Checkpoint{five}, images: []string{"good1"},
			ask: []quality.Checkpoint{a, four}, cached: true,
			calls: []string{"head a +", "head four ++++"}, want: []string{"1049 1067.5"}},
		{name: "a panel is asked for the union", panel: []quality.Checkpoint{five, a, two}, images: []string{"good1"},
			ask: []quality.Checkpoint{a, two}, decoded: 1,
			calls: []string{"encoder+++", "panel fiveatwo +++"}, want: []string{"1049 4067.5"}},
		{name: "numbers for views that a checkpoint has not are nobody's", panel: []quality.Checkpoint{a, two},
			images: []string{"good1"}, ask: []quality.Checkpoint{a, two}, decoded: 1,
			spoil: func(rows [][]quality.HeadScore) { rows[0][1].Score, rows[1][0].Score = nan, nan },
			calls: []string{"encoder+++", "panel atwo +++"}, want: []string{"1049 4067.5"}},
		{name: "one view without a number: no score", panel: []quality.Checkpoint{a, two},
			images: []string{"good1"}, ask: []quality.Checkpoint{a, two}, decoded: 1,
			spoil: func(rows [][]quality.HeadScore) { rows[2][1].Score = nan },
			calls: []string{"encoder+++", "panel atwo +++"}, want: []string{"1049 model_bad_output"}},
		{name: "no number for its own views from any checkpoint: the panel is not believed",
			panel: []quality.Checkpoint{a, two}, images: []string{"good1"}, ask: []quality.Checkpoint{a, two}, decoded: 1,
			spoil: func(rows [][]quality.HeadScore) {
				rows[0][0].Score, rows[1][1].Score, rows[2][1].Score = nan, nan, nan
			},
			calls: []string{"encoder+++", "head a +", "head two ++", "panel atwo +++"}, want: []string{"1049 4067.5"}},
		{name: "an image at fault costs the others nothing", images: []string{"bad", "good1"},
			ask: []quality.Checkpoint{two}, decoded: 1, calls: []string{"ensemble two ++"},
			want: []string{"image: unsupported_image_format", "4067.5"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bench := newBench(t, scoring.DefaultConfig())
			for _, c := range tc.warm {
				if _, err := bench.service.Score(t.Context(),
					scoring.Request{Items: items(tc.images...), Checkpoints: []quality.Checkpoint{c}}); err != nil {
					t.Fatal(err)
				}
			}
			bench.triton.calls, bench.triton.spoil, bench.preparer.decoded = nil, tc.spoil, 0
			if tc.panel != nil {
				bench.usePanel(t, tc.panel...)
			}
			got, err := bench.service.Score(t.Context(), scoring.Request{Items: items(tc.images...), Checkpoints: tc.ask})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(bench.triton.calls)
			if diff := cmp.Diff(tc.calls, bench.triton.calls); diff != "" {
				t.Errorf("calls to Triton (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, scoresOf(got)); diff != "" {
				t.Errorf("scores (-want +got):\n%s", diff)
			}
			if bench.preparer.decoded != tc.decoded {
				t.Errorf("decoded %d times, want %d", bench.preparer.decoded, tc.decoded)
			}
			if last := got.Results[len(got.Results)-1]; last.EmbeddingCached != tc.cached {
				t.Errorf("cached %t, want %t", last.EmbeddingCached, tc.cached)
			}
		})
	}
}

// A result has the views of each checkpoint, in its order, with their boxes,
// and the embeddings of all.
func TestResultsHaveViews(t *testing.T) {
	b, reader := measured(t, scoring.DefaultConfig())
	b.preparer.width, b.preparer.height = 1000, 600
	a := checkpointOf("a", 1)
	two := withViews(t, checkpointOf("two", 2), "448/r1c1", "448/r0c0")
	got, err := b.service.Score(t.Context(), scoring.Request{Items: items("good1"), Checkpoints: []quality.Checkpoint{a, two}})
	if err != nil {
		t.Fatal(err)
	}
	r := got.Results[0]
	views := two.Views.List()
	want := [][]scoring.ViewScore{
		{{Box: imageprep.BoxOf(1000, 600, quality.View{}), Score: 1049}},
		{{View: views[0], Box: imageprep.BoxOf(1000, 600, views[0]), Score: 2076},
			{View: views[1], Box: imageprep.BoxOf(1000, 600, views[1]), Score: 2059}},
	}
	if diff := cmp.Diff(want, [][]scoring.ViewScore{r.Scores[0].Views, r.Scores[1].Views},
		cmp.Comparer(func(a, b quality.View) bool { return a == b })); diff != "" {
		t.Errorf("views (-want +got):\n%s", diff)
	}
	if len(r.Embeddings) != 3 || r.Embeddings[views[0]][0] != 76 || r.Embeddings[quality.View{}][0] != 49 {
		t.Errorf("embeddings %v", r.Embeddings)
	}
	if got.Preprocess != "test/1" {
		t.Errorf("preprocess %s", got.Preprocess)
	}
	var keys []string
	for k := range b.cache.m {
		keys = append(keys, string(k.Preprocess))
	}
	slices.Sort(keys)
	if diff := cmp.Diff([]string{"test/1", "test/1@448/r0c0", "test/1@448/r1c1"}, keys); diff != "" {
		t.Errorf("cached under (-want +got):\n%s", diff)
	}
	rows := map[string]int64{"size=224": 1, "size=448": 2}
	if diff := cmp.Diff(rows, metricstest.Values(t, reader, "agiqa.rows.encoded")); diff != "" {
		t.Errorf("agiqa.rows.encoded (-want +got):\n%s", diff)
	}
}

// Checkpoints of two recipes share one decode and nothing else: each has rows,
// embeddings and cache keys of its own, and says how its pixels were made.
func TestRecipesNeverMix(t *testing.T) {
	b := newBench(t, scoring.DefaultConfig())
	of12 := withViews(t, checkpointOf("of12", 1), "224", "448/r0c0")
	of13 := withViews(t, checkpointOf("of13", 2), "224:pillow13-bicubic-224", "448/r0c0:pillow13-bicubic-224")
	score := func(checkpoints ...quality.Checkpoint) scoring.Response {
		t.Helper()
		got, err := b.service.Score(t.Context(), scoring.Request{Items: items("good1"), Checkpoints: checkpoints})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := score(of13, of12)
	if b.preparer.decoded != 1 {
		t.Errorf("decoded %d times, want once", b.preparer.decoded)
	}
	r := got.Results[0]
	if got.Preprocess != "test/1+13" || r.Scores[0].Preprocess != "test/1+13" || r.Scores[1].Preprocess != "test/1" {
		t.Errorf("preprocess %s; of the scores %s and %s", got.Preprocess, r.Scores[0].Preprocess, r.Scores[1].Preprocess)
	}
	if len(r.Embeddings) != 4 {
		t.Errorf("embeddings %v, want 4", r.Embeddings)
	}
	var keys []string
	for k := range b.cache.m {
		keys = append(keys, string(k.Preprocess))
	}
	slices.Sort(keys)
	want := []string{"test/1", "test/1+13", "test/1+13@448/r0c0", "test/1@448/r0c0"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("cached under (-want +got):\n%s", diff)
	}
	b.triton.calls = nil
	bare := withViews(t, checkpointOf("bare", 3), "224:pillow13-bicubic-224")
	if again := score(bare); !again.Results[0].EmbeddingCached || b.preparer.decoded != 1 {
		t.Errorf("another checkpoint of the recipe: cached %t, decoded %d times", again.Results[0].EmbeddingCached,
			b.preparer.decoded)
	}
}

func TestRowsOfARequestAreBounded(t *testing.T) {
	cfg := scoring.DefaultConfig()
	cfg.MaxRows = 8
	b := newBench(t, cfg)
	four := withViews(t, checkpointOf("four", 1), cells448...)
	score := func(n int, checkpoints ...quality.Checkpoint) error {
		_, err := b.service.Score(t.Context(),
			scoring.Request{Items: items(slices.Repeat([]string{"good1"}, n)...), Checkpoints: checkpoints})
		return err
	}
	for _, tc := range []struct {
		images      int
		checkpoints []quality.Checkpoint
		refused     bool
	}{
		{8, []quality.Checkpoint{checkpointOf("a", 2)}, false},
		{9, []quality.Checkpoint{checkpointOf("a", 2)}, true},
		{2, []quality.Checkpoint{four}, false},
		{3, []quality.Checkpoint{four}, true},
		{2, []quality.Checkpoint{four, checkpointOf("a", 2)}, true}, // five views together
		{2, []quality.Checkpoint{four, withViews(t, checkpointOf("b", 3), cells448[:2]...)}, false},
	} {
		err := score(tc.images, tc.checkpoints...)
		if tc.refused != (quality.KindOf(err) == quality.KindPayloadTooLarge) || !tc.refused && err != nil {
			t.Errorf("%d images by %d checkpoints: error %v, want it refused: %t", tc.images, len(tc.checkpoints), err, tc.refused)
		}
		if tc.refused && !strings.Contains(err.Error(), "max-rows") {
			t.Errorf("error %q does not name the setting", err)
		}
	}
}

// Requests for different views of one image at the same time encode each view
// once.
func TestEqualViewsUnderWayAreEncodedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, scoring.Config{Concurrency: 10, Queue: 100, RetryAfter: time.Second})
		b.slow(100 * time.Millisecond)
		asked := []quality.Checkpoint{
			withViews(t, checkpointOf("left", 1), "448/r0c0", "448/r1c0"),
			withViews(t, checkpointOf("upper", 2), "448/r0c0", "448/r0c1"),
			withViews(t, checkpointOf("all", 3), cells448...),
		}
		responses, errs := coalesced(t, b, len(asked), func(i int) (scoring.Response, error) {
			return b.service.Score(t.Context(),
				scoring.Request{Items: items("good1"), Checkpoints: []quality.Checkpoint{asked[i]}})
		})
		want := []string{"1067", "2059.5", "3067.5"}
		for i, r := range responses {
			if errs[i] != nil {
				t.Fatal(errs[i])
			}
			if got := scoresOf(r)[0]; got != want[i] {
				t.Errorf("%s: score %s, want %s", asked[i].Name, got, want[i])
			}
		}
		rows := 0
		for _, call := range b.triton.calls {
			if strings.HasPrefix(call, "ensemble") || strings.HasPrefix(call, "encoder") {
				rows += strings.Count(call, "+")
			}
		}
		if rows != 4 {
			t.Errorf("%d rows were encoded, want the 4 different ones: %v", rows, b.triton.calls)
		}
	})
}

// What a request costs grows by rows: a decode counts once, however many views
// there are.
func TestCostOfViews(t *testing.T) {
	a, four := checkpointOf("a", 1), withViews(t, checkpointOf("four", 1), cells448...)
	b := newBench(t, scoring.DefaultConfig())
	b.preparer.width, b.preparer.height = 2000, 1000
	for _, tc := range []struct {
		images []string
		ask    quality.Checkpoint
		want   float64
	}{
		{[]string{"good1"}, a, 2 + 0.3},
		{[]string{"good2"}, four, 2 + 4*0.3},
		{[]string{"good3", "good4"}, four, 2*2 + 8*0.3},
	} {
		got, err := b.service.CostOf(t.Context(), scoring.Request{Items: items(tc.images...), Checkpoints: []quality.Checkpoint{tc.ask}})
		if err != nil || got < tc.want-1e-9 || got > tc.want+1e-9 {
			t.Errorf("%v by %s: cost %g, %v; want %g", tc.images, tc.ask.Name, got, err, tc.want)
		}
	}
	req := scoring.Request{Items: items("good1"), Checkpoints: []quality.Checkpoint{four}}
	if _, err := b.service.Score(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	req.Checkpoints = []quality.Checkpoint{withViews(t, checkpointOf("five", 2), append([]string{"224"}, cells448...)...)}
	if got, err := b.service.CostOf(t.Context(), req); err != nil || got < 2.3-1e-9 || got > 2.3+1e-9 {
		t.Errorf("one view of five unknown: cost %g, %v; want 2.3", got, err)
	}
}
