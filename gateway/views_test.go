package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// manyViews gives the second checkpoint the view 224 and four at 448.
func manyViews(t *testing.T) func(*plan) {
	views, err := quality.ParseViews([]string{"448/r0c0", "448/r0c1", "224", "448/r1c0", "448/r1c1"})
	must(t, err)
	return func(p *plan) {
		p.meaning = func(e *lifecycle.Entry) {
			if e.Checkpoint.Name == second {
				e.Checkpoint.Views = views
			}
		}
	}
}

// TestCompareSharesViews: two checkpoints, of which one has the other's view
// among five: one decode, one call of the encoder with the five rows, and the
// mean of what the head says of each view. The boxes are of the original.
func TestCompareSharesViews(t *testing.T) {
	r := newRig(t, manyViews(t))
	file := testimages.PNG(640, 480)
	got := r.post("/v1/compare?checkpoint=demo,other&include=views,embedding", file, "image/png").scores(t)
	if n, rows := r.triton.Calls(tritontest.ImageEncoder), r.triton.Rows(tritontest.ImageEncoder); n != 1 || rows != 5 {
		t.Errorf("%d calls of the encoder with %d rows, want 1 with 5", n, rows)
	}
	decodes := 0
	for _, s := range r.spans.Ended() {
		if s.Name() == "decode" {
			decodes++
		}
	}
	if decodes != 1 {
		t.Errorf("decoded %d times, want once", decodes)
	}
	preparer, err := imageprep.New(imageprep.DefaultConfig())
	must(t, err)
	in, err := preparer.Inspect(file)
	must(t, err)
	res := got.Results[0]
	if len(res.Scores) != 2 || res.Embedding != nil || len(res.Embeddings) != 5 {
		t.Fatalf("%d scores, embedding %v, %d embeddings; want 2, none, 5", len(res.Scores), res.Embedding, len(res.Embeddings))
	}
	boxes := map[string]gateway.Box{
		"224": {X: 79, Width: 482, Height: 480}, "448/r0c0": {X: 79, Width: 241, Height: 240},
		"448/r0c1": {X: 319, Width: 241, Height: 240}, "448/r1c0": {X: 79, Y: 240, Width: 241, Height: 240},
		"448/r1c1": {X: 319, Y: 240, Width: 241, Height: 240},
	}
	for k, texts := range [][]string{{"224"}, {"448/r0c0", "448/r0c1", "224", "448/r1c0", "448/r1c1"}} {
		views, err := quality.ParseViews(texts)
		must(t, err)
		prepared, err := preparer.PrepareViews(t.Context(), in, "", views.List())
		must(t, err)
		var want []gateway.ViewScore
		sum := 0.0
		for i, text := range texts {
			e := tritontest.ImageEmbedding(tritontest.Encoder(), prepared.Views[i])
			checkpoint := tritontest.Checkpoint([]string{first, second}[k])
			s := tritontest.HeadScore(checkpoint, tritontest.Texts(tritontest.Encoder()), e).Score
			want = append(want, gateway.ViewScore{View: text, Box: boxes[text], Score: s})
			sum += float64(s)
			if diff := cmp.Diff([]float32(e), res.Embeddings[text]); diff != "" {
				t.Errorf("embedding of %s (-want +got):\n%s", text, diff)
			}
		}
		if diff := cmp.Diff(want, res.Scores[k].Views); diff != "" {
			t.Errorf("views of checkpoint %d (-want +got):\n%s", k, diff)
		}
		if mean := float32(sum / float64(len(texts))); *res.Scores[k].Score != mean {
			t.Errorf("score %v, want the mean %v", *res.Scores[k].Score, mean)
		}
	}
	if diff := cmp.Diff(res.Scores[0].Views, res.Views); diff != "" {
		t.Errorf("views of the result are not the first checkpoint's (-want +got):\n%s", diff)
	}

	// What is known now costs heads alone, and a score hides its views.
	again := r.post("/v1/score?checkpoint=other", file, "image/png").scores(t).Results[0]
	if n := r.triton.Rows(tritontest.ImageEncoder); n != 5 || again.Cache.ImageEmbedding != "hit" || again.Views != nil ||
		*again.Score != *res.Scores[1].Score {
		t.Errorf("%d rows for the encoder, cache %s, views %v, score %v; want 5, a hit, none and %v", n,
			again.Cache.ImageEmbedding, again.Views, *again.Score, *res.Scores[1].Score)
	}
}

// TestRowsBeyondABatch: more rows than a model takes at once go in several
// calls, which may divide the views of an image, and each image has the score
// that it has alone.
func TestRowsBeyondABatch(t *testing.T) {
	files := [][]byte{testimages.PNG(90, 70), testimages.JPEG(70, 90), testimages.PNG(300, 200)}
	r := newRig(t, manyViews(t))
	body, contentType := form(t, "image", string(files[0]), "image", string(files[1]), "image", string(files[2]))
	got := r.post("/v1/score?checkpoint=other", body, contentType).scores(t)
	model := tritontest.Checkpoint(second).EnsembleModel()
	if calls, rows := r.triton.Calls(model), r.triton.Rows(model); calls != 2 || rows != 15 {
		t.Errorf("%d calls with %d rows, want 2 with 15: the fake takes 8 at once", calls, rows)
	}
	alone := newRig(t, manyViews(t))
	for i, file := range files {
		want := alone.post("/v1/score?checkpoint=other", file, "").scores(t).Results[0]
		if *got.Results[i].Score != *want.Score {
			t.Errorf("image %d: score %v, alone %v", i, *got.Results[i].Score, *want.Score)
		}
	}
}

// TestViewsInEveryForm: include=views may come in the query, JSON and a form.
func TestViewsInEveryForm(t *testing.T) {
	r := newRig(t, manyViews(t))
	file := testimages.PNG(90, 70)
	body := jsonOf(map[string]string{"data": base64Of(file)})
	body["include"] = []string{"views"}
	asJSON, err := json.Marshal(body)
	must(t, err)
	asForm, formType := form(t, "image", string(file), "include", "views")
	for name, got := range map[string]gateway.ScoreResponse{
		"query": r.post("/v1/score?include=views", file, "image/png").scores(t),
		"json":  r.post("/v1/score", asJSON, "application/json").scores(t),
		"form":  r.post("/v1/score", asForm, formType).scores(t),
	} {
		want := []gateway.ViewScore{{View: "224", Box: gateway.Box{X: 10, Width: 70, Height: 70}, Score: *got.Results[0].Score}}
		if diff := cmp.Diff(want, got.Results[0].Views); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestTooManyRows: the limit is on images times views.
func TestTooManyRows(t *testing.T) {
	r := newRig(t, manyViews(t), func(p *plan) { p.scoring.MaxRows = 7 })
	file := string(testimages.PNG(90, 70))
	two, contentType := form(t, "image", file, "image", file)
	if got := r.post("/v1/score", two, contentType); got.status != http.StatusOK {
		t.Errorf("two rows: status %d", got.status)
	}
	p := r.post("/v1/score?checkpoint=other", two, contentType).wantProblem(t, quality.KindPayloadTooLarge)
	if !regexp.MustCompile(`2 images in 5 views .* 10 rows .* 7 \(max-rows\)`).MatchString(p.Detail) {
		t.Errorf("detail %q", p.Detail)
	}
}

// TestPageDrawsViews runs the page's script in Node.js on a real answer: the
// cells of the finest size are drawn over the picture, each with its number,
// and a table has every view. One view makes no map.
func TestPageDrawsViews(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Node.js; not run with -short")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatal("node is not on PATH: install Node.js (make deps), or run the tests with -short to leave this out")
	}
	r := newRig(t, manyViews(t))
	file := testimages.PNG(640, 480)
	type drawing struct {
		Asked   string
		Boxes   []map[string]string
		Numbers []string
		ViewBox []string
		Rows    [][]string
	}
	draw := func(query string) (d drawing, answer gateway.ScoreResponse) {
		t.Helper()
		got := r.post("/v1/score"+query, file, "image/png")
		out, err := exec.CommandContext(t.Context(), "node", "testdata/page.mjs", "page.html", string(got.body)).Output()
		must(t, err)
		must(t, json.Unmarshal(out, &d))
		return d, got.scores(t)
	}
	d, answer := draw("?checkpoint=other&include=views")
	if d.Asked != "v1/score?include=views" {
		t.Errorf("the page asks %q", d.Asked)
	}
	if diff := cmp.Diff([]string{"0 0 640 480"}, d.ViewBox); diff != "" {
		t.Errorf("viewBox (-want +got):\n%s", diff)
	}
	var boxes, numbers []string
	for _, v := range answer.Results[0].Views {
		if v.View != "224" {
			boxes = append(boxes, fmt.Sprintf("%d %d %d %d", v.Box.X, v.Box.Y, v.Box.Width, v.Box.Height))
			numbers = append(numbers, fmt.Sprintf("%.2f", v.Score))
		}
	}
	var drawn []string
	for _, b := range d.Boxes {
		drawn = append(drawn, strings.Join([]string{b["x"], b["y"], b["width"], b["height"]}, " "))
	}
	if diff := cmp.Diff(boxes, drawn); diff != "" || len(boxes) != 4 {
		t.Errorf("squares (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(numbers, d.Numbers); diff != "" {
		t.Errorf("numbers (-want +got):\n%s", diff)
	}
	if len(d.Rows) != 5 || d.Rows[2][0] != "224" || d.Rows[2][1] != "482×480 at 79, 0" {
		t.Errorf("table %v, want a row for each view", d.Rows)
	}
	if one, _ := draw("?include=views"); len(one.Boxes) != 0 || len(one.Rows) != 0 {
		t.Errorf("a checkpoint of one view: %+v, want no map", one)
	}
}
