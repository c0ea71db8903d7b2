package gateway_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/pictures"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// id13 is the id of exact preprocessing as Pillow 13 resizes.
const id13 = "pillow13-bicubic-224/go-2"

// twoRecipes gives the second checkpoint Pillow 13's recipe.
func twoRecipes(p *plan) {
	p.meaning = func(e *lifecycle.Entry) {
		if e.Checkpoint.Name == second {
			e.Checkpoint.Views = e.Checkpoint.Views.By(quality.Pillow13)
		}
	}
}

// tall is a picture that the two recipes resize differently.
func tall(n int) []byte { return testimages.PNGOf(pictures.Gradient(240, 600, uint32(n))) }

// byRecipe is what a checkpoint scores a file by a recipe.
func byRecipe(t *testing.T, name string, file []byte, recipe quality.Recipe) float32 {
	t.Helper()
	preparer, err := imageprep.New(imageprep.DefaultConfig())
	must(t, err)
	in, err := preparer.Inspect(file)
	must(t, err)
	prepared, err := preparer.PrepareViews(t.Context(), in, "", []quality.View{quality.View{}.By(recipe)})
	must(t, err)
	e := tritontest.ImageEmbedding(tritontest.Encoder(), prepared.Views[0])
	return tritontest.HeadScore(tritontest.Checkpoint(name), tritontest.Texts(tritontest.Encoder()), e).Score
}

// TestCompareOfTwoRecipes: one decode, the pixels of each recipe for its
// checkpoint, and each score says how its pixels were made.
func TestCompareOfTwoRecipes(t *testing.T) {
	r := newRig(t, twoRecipes)
	file := tall(1)
	if byRecipe(t, second, file, quality.Pillow12) == byRecipe(t, second, file, quality.Pillow13) {
		t.Fatal("the recipes do not differ for the picture")
	}
	for range 2 { // the second time from the cache
		got := r.post("/v1/compare?checkpoint=demo,other&include=views,embedding", file, "image/png").scores(t)
		res := got.Results[0]
		if got.Preprocess != exactID || res.Preprocess != "" || res.Scores[0].Preprocess != "" ||
			res.Scores[1].Preprocess != id13 {
			t.Errorf("preprocess %s, result %q, scores %q and %q", got.Preprocess, res.Preprocess,
				res.Scores[0].Preprocess, res.Scores[1].Preprocess)
		}
		for k, want := range []float32{byRecipe(t, first, file, quality.Pillow12), byRecipe(t, second, file, quality.Pillow13)} {
			if *res.Scores[k].Score != want {
				t.Errorf("score of checkpoint %d: %v, want %v", k, *res.Scores[k].Score, want)
			}
		}
		if name := res.Scores[1].Views[0].View; name != "224:pillow13-bicubic-224" || len(res.Embeddings) != 2 ||
			res.Embeddings[name] == nil || cmp.Equal(res.Embeddings[name], res.Embeddings["224"]) {
			t.Errorf("view %s, embeddings %v", name, res.Embeddings)
		}
	}
	decodes := 0
	for _, s := range r.spans.Ended() {
		if s.Name() == "decode" {
			decodes++
		}
	}
	if n := r.triton.Rows(tritontest.ImageEncoder); decodes != 1 || n != 2 {
		t.Errorf("decoded %d times, %d rows for the encoder; want 1 and 2", decodes, n)
	}
	alone := r.post("/v1/score?checkpoint=other", file, "image/png").scores(t)
	if alone.Preprocess != id13 || alone.Results[0].Preprocess != "" {
		t.Errorf("alone: preprocess %s, result %q", alone.Preprocess, alone.Results[0].Preprocess)
	}
}

// TestCheckpointsSayTheirRecipe, and /v1/preprocess shows its pixels.
func TestCheckpointsSayTheirRecipe(t *testing.T) {
	r := newRig(t, twoRecipes)
	var list struct{ Checkpoints []gateway.CheckpointView }
	must(t, json.Unmarshal(r.ask(http.MethodGet, "/v1/checkpoints", nil).body, &list))
	got := map[string]string{}
	for _, c := range list.Checkpoints {
		got[c.Name] = c.Recipe.String() + " " + c.Views[0]
	}
	want := map[string]string{
		first: "pillow12-bicubic-224 224", second: "pillow13-bicubic-224 224:pillow13-bicubic-224",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recipes and views (-want +got):\n%s", diff)
	}
	shown := r.post("/v1/preprocess?format=raw&view=224:pillow13-bicubic-224", tall(1), "image/png")
	other := r.post("/v1/preprocess?format=raw", tall(1), "image/png")
	if shown.status != http.StatusOK || shown.header.Get("X-Preprocess") != id13 ||
		cmp.Equal(shown.body, other.body) {
		t.Errorf("status %d, X-Preprocess %s", shown.status, shown.header.Get("X-Preprocess"))
	}
	if bad := r.post("/v1/preprocess?view=224:pillow14", tall(1), "image/png"); bad.status != http.StatusBadRequest {
		t.Errorf("unknown recipe: status %d, %s", bad.status, bad.body)
	}
}

// TestExperimentOfTwoRecipes: each unit is answered by its arm's checkpoint and
// recipe, and all records are of one way, the control's, so that none is foreign.
func TestExperimentOfTwoRecipes(t *testing.T) {
	r := newTrialRig(t, twoRecipes)
	r.begin(experiment.Live)
	seen := map[string]int{}
	for n := range 24 {
		file := tall(n)
		got := r.post("/v1/score", file, "image/png", header("X-Agiqa-Unit", strconv.Itoa(n))).scores(t)
		res := got.Results[0]
		recipe, way := quality.Pillow12, ""
		if res.Checkpoint.Name == second {
			recipe, way = quality.Pillow13, id13
		}
		seen[res.Checkpoint.Name]++
		if want := byRecipe(t, res.Checkpoint.Name, file, recipe); *res.Score != want {
			t.Errorf("unit %d, checkpoint %s: score %v, want %v", n, res.Checkpoint.Name, *res.Score, want)
		}
		if got.Preprocess != exactID || res.Preprocess != way {
			t.Errorf("unit %d, checkpoint %s: preprocess %s and %q", n, res.Checkpoint.Name, got.Preprocess, res.Preprocess)
		}
	}
	if seen[first] == 0 || seen[second] == 0 {
		t.Errorf("answered %v, want both arms", seen)
	}
	x, err := r.store.Get(t.Context(), "x")
	must(t, err)
	records := 0
	for one, err := range r.store.Exposures(t.Context(), "x", 0) {
		must(t, err)
		records++
		if got := one.Record.Preprocess; got != x.Preprocess || x.Preprocess != exactID {
			t.Errorf("a record is of %s, the experiment of %s; want %s", got, x.Preprocess, exactID)
		}
	}
	if records != 24 {
		t.Errorf("%d records, want 24", records)
	}
}
