package gateway_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// qualified gives checkpoints a scale that their scores may leave, intervals
// and a reference.
func qualified(t *testing.T, clamp bool, scale [2]float64, halfWidth, threshold float64) func(*plan) {
	calibration, err := quality.NewCalibration(0.9, nil, []float64{halfWidth})
	must(t, err)
	row := make([]float32, tritontest.Encoder().Dim)
	row[0] = 1
	reference, err := quality.NewReference(threshold, len(row), row)
	must(t, err)
	return func(p *plan) {
		p.meaning = func(e *lifecycle.Entry) {
			c := &e.Checkpoint
			c.Task, c.Calibration, c.Reference = quality.TaskAuthenticity, calibration, reference
			c.Score = quality.ScoreRange{Min: scale[0], Max: scale[1], Unit: "MOS", Clamp: clamp}
			e.Manifest.Evaluation = []checkpoint.Evaluation{
				{Dataset: "pictures", Task: quality.TaskQuality, Images: 134, SRCC: 0.6, Low: 0.5, High: 0.7},
			}
		}
	}
}

func TestWhatAScoreMeans(t *testing.T) {
	file := testimages.PNG(320, 240)
	judged, embedding := wantScore(t, file, first)
	raw := judged.Score
	distance := 1 - float64(embedding[0])
	low, high := float64(raw)-1, float64(raw)+1
	for _, test := range []struct {
		name             string
		clamp            bool
		scale            [2]float64
		threshold        float64
		score            float32
		cut              bool // raw_score is there
		intervalLow      float64
		intervalHigh     float64
		wantOutside      bool
		omit             string
		hasInt, hasDist  bool
		wantScaleClamped bool
	}{
		{name: "inside the scale", clamp: true, scale: [2]float64{low, high}, threshold: 2, score: raw,
			intervalLow: float64(raw) - 0.25, intervalHigh: float64(raw) + 0.25, hasInt: true, hasDist: true},
		{name: "above the scale, clamped", clamp: true, scale: [2]float64{low - 1, low}, threshold: 2, score: float32(low),
			cut: true, intervalLow: low - 0.25, intervalHigh: low, hasInt: true, hasDist: true},
		{name: "below the scale, clamped", clamp: true, scale: [2]float64{high, high + 1}, threshold: 2,
			score: float32(high), cut: true, intervalLow: high, intervalHigh: high + 0.25, hasInt: true, hasDist: true},
		{name: "above the scale, not clamped", scale: [2]float64{low - 1, low}, threshold: 2, score: raw,
			intervalLow: low - 0.25, intervalHigh: low, hasInt: true, hasDist: true},
		{name: "unlike the training data", clamp: true, scale: [2]float64{low, high}, threshold: distance / 2, score: raw,
			intervalLow: float64(raw) - 0.25, intervalHigh: float64(raw) + 0.25, wantOutside: true, hasInt: true,
			hasDist: true},
		{name: "without interval", clamp: true, scale: [2]float64{low, high}, threshold: 2, score: raw, omit: "interval",
			hasDist: true},
		{name: "without both", clamp: true, scale: [2]float64{low, high}, threshold: 2, score: raw,
			omit: "interval,distribution"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, qualified(t, test.clamp, test.scale, 0.25, test.threshold))
			target := "/v1/score"
			if test.omit != "" {
				target += "?omit=" + test.omit
			}
			got := r.post(target, file, "image/png").scores(t).Results[0]
			if *got.Score != test.score {
				t.Errorf("score %v, want %v", *got.Score, test.score)
			}
			if test.cut != (got.RawScore != nil) || test.cut && *got.RawScore != raw {
				t.Errorf("raw score %v, want one: %t", got.RawScore, test.cut)
			}
			wantScale := gateway.ScoreScale{Min: test.scale[0], Max: test.scale[1], Unit: "MOS", Clamp: test.clamp}
			if got.Checkpoint.Task != quality.TaskAuthenticity || got.Checkpoint.Scale != wantScale {
				t.Errorf("checkpoint %+v, want task authenticity and scale %+v", got.Checkpoint, wantScale)
			}
			if (got.Interval != nil) != test.hasInt || (got.Distribution != nil) != test.hasDist {
				t.Fatalf("interval %v, distribution %v", got.Interval, got.Distribution)
			}
			if i := got.Interval; i != nil {
				want := gateway.ScoreInterval{
					Low: float32(test.intervalLow), High: float32(test.intervalHigh), Coverage: 0.9,
				}
				if *i != want {
					t.Errorf("interval %+v, want %+v", *i, want)
				}
			}
			if d := got.Distribution; d != nil {
				if math.Abs(float64(d.Distance)-distance) > 1e-6 || d.Threshold != test.threshold ||
					d.Outside != test.wantOutside {
					t.Errorf("distribution %+v, want distance %g, outside %t", *d, distance, test.wantOutside)
				}
			}
		})
	}
}

// TestDistanceIsTheMeanOverViews holds the distance of a checkpoint of several
// views against the embeddings that the answer shows.
func TestDistanceIsTheMeanOverViews(t *testing.T) {
	views, err := quality.ParseViews([]string{"448/r0c1", "224"})
	must(t, err)
	r := newRig(t, qualified(t, true, [2]float64{0, 5}, 0.25, 1), func(p *plan) {
		meaning := p.meaning
		p.meaning = func(e *lifecycle.Entry) {
			meaning(e)
			if e.Checkpoint.Name == first {
				e.Checkpoint.Views = views
			}
		}
	})
	got := r.post("/v1/compare?include=embedding", testimages.PNG(640, 480), "image/png").scores(t).Results[0]
	of := func(view string) float64 { return 1 - float64(got.Embeddings[view][0]) } // the reference is a unit vector
	if of("448/r0c1") == of("224") {
		t.Fatal("both views are as far from the reference")
	}
	for i, want := range []float64{(of("448/r0c1") + of("224")) / 2, of("224")} {
		if d := got.Scores[i].Distribution; math.Abs(float64(d.Distance)-want) > 1e-6 || d.Outside != (want > 1) {
			t.Errorf("checkpoint %d: %+v, want distance %g", i, *d, want)
		}
	}
}

// TestPartsAreOmittedInEveryForm wants omit to mean the same in a query, JSON
// and multipart, and to apply to every checkpoint of an answer.
func TestPartsAreOmittedInEveryForm(t *testing.T) {
	file := testimages.PNG(64, 64)
	document := jsonOf(map[string]string{"data": base64Of(file)})
	document["omit"] = []string{"interval", "distribution"}
	body, err := json.Marshal(document)
	must(t, err)
	multi, multiType := form(t, "omit", "interval, distribution", "image", string(file))
	r := newRig(t, qualified(t, true, [2]float64{0, 5}, 0.25, 2))
	for name, answer := range map[string]reply{
		"query":     r.post("/v1/compare?omit=interval&omit=distribution", file, "image/png"),
		"json":      r.post("/v1/compare", body, "application/json"),
		"multipart": r.post("/v1/compare", multi, multiType),
	} {
		got := answer.scores(t).Results[0]
		if got.Interval != nil || got.Distribution != nil || len(got.Scores) != 2 {
			t.Errorf("%s: interval %v, distribution %v, %d scores", name, got.Interval, got.Distribution, len(got.Scores))
		}
		for _, s := range got.Scores {
			if s.Interval != nil || s.Distribution != nil || s.Score == nil {
				t.Errorf("%s: checkpoint %s has interval %v, distribution %v", name, s.Checkpoint.Name, s.Interval,
					s.Distribution)
			}
		}
	}
	whole := r.post("/v1/compare", file, "image/png").scores(t).Results[0]
	for _, s := range whole.Scores {
		if s.Interval == nil || s.Distribution == nil {
			t.Errorf("checkpoint %s has interval %v, distribution %v", s.Checkpoint.Name, s.Interval, s.Distribution)
		}
	}
	bad, badType := form(t, "omit", "score", "image", string(file))
	p := r.post("/v1/score", bad, badType).wantProblem(t, quality.KindBadRequest)
	if want := "omit must be one of interval, distribution"; p.Detail != want {
		t.Errorf("detail %q, want %q", p.Detail, want)
	}
	r.post("/v1/score?omit=score", file, "image/png").wantProblem(t, quality.KindBadRequest)
}

func TestCheckpointsShowWhatTheyMean(t *testing.T) {
	r := newRig(t, qualified(t, true, [2]float64{0, 5}, 0.25, 0.5))
	answer := r.ask(http.MethodGet, "/v1/checkpoints/"+first, nil)
	var got gateway.CheckpointView
	must(t, json.Unmarshal(answer.body, &got))
	scale := gateway.ScoreScale{Min: 0, Max: 5, Unit: "MOS", Clamp: true}
	if got.Task != quality.TaskAuthenticity || got.Scale != scale || got.Score != scale ||
		!slices.Equal(got.Views, []string{"224"}) || got.Coverage == nil || *got.Coverage != 0.9 {
		t.Errorf("view %+v", got)
	}
	if want := (&gateway.CheckpointReference{Rows: 1, Threshold: 0.5}); cmp.Diff(want, got.Reference) != "" {
		t.Errorf("reference %+v, want %+v", got.Reference, want)
	}
	want := []gateway.CheckpointEvaluation{
		{Dataset: "pictures", Task: quality.TaskQuality, Images: 134, SRCC: 0.6, Low: 0.5, High: 0.7},
	}
	if diff := cmp.Diff(want, got.Evaluation); diff != "" {
		t.Errorf("evaluation (-want +got):\n%s", diff)
	}
	plain := newRig(t).ask(http.MethodGet, "/v1/checkpoints", nil)
	if !strings.Contains(string(plain.body), `"evaluation":[]`) {
		t.Errorf("a checkpoint without evaluations: %s", plain.body)
	}
}

// tasks gives checkpoints, by name, a task.
func tasks(byName map[string]quality.Task) func(*plan) {
	return func(p *plan) {
		p.meaning = func(e *lifecycle.Entry) { e.Checkpoint.Task = byName[e.Checkpoint.Name] }
	}
}

func TestTasksAreNotCompared(t *testing.T) {
	file := testimages.PNG(64, 64)
	r := newRig(t, func(p *plan) { p.checkpoints = []string{first, second, "third"} },
		tasks(map[string]quality.Task{first: "quality", second: "authenticity", "third": "quality"}))
	want := `checkpoint demo scores quality and other scores authenticity: scores of different tasks can't be compared; ` +
		`ask for them with aspects=quality,authenticity`
	for _, target := range []string{"/v1/compare?checkpoint=demo,other", "/v1/score?checkpoint=demo&checkpoints=other"} {
		p := r.post(target, file, "image/png").wantProblem(t, quality.KindConflict)
		if p.Detail != want || p.Status != http.StatusConflict {
			t.Errorf("%s: %d %q, want %q", target, p.Status, p.Detail, want)
		}
	}
	if n := r.triton.Calls(tritontest.ImageEncoder); n != 0 {
		t.Errorf("%d calls of the encoder for refused requests", n)
	}
	var names []string
	for _, s := range r.post("/v1/compare", file, "image/png").scores(t).Results[0].Scores {
		names = append(names, s.Checkpoint.Name)
	}
	if !slices.Equal(names, []string{first, "third"}) {
		t.Errorf("a comparison without names is of %v, want those of the default's task", names)
	}
}

func TestAspects(t *testing.T) {
	file := testimages.PNG(64, 64)
	document := jsonOf(map[string]string{"data": base64Of(file)})
	document["aspects"] = []string{"quality", "authenticity"}
	listed, err := json.Marshal(document)
	must(t, err)
	multi, multiType := form(t, "aspects", "quality,authenticity", "image", string(file))
	byName := map[string]quality.Task{first: "quality", second: "authenticity", "third": "quality"}
	for name, send := range map[string]func(*rig) reply{
		"query":     func(r *rig) reply { return r.post("/v1/score?aspects=quality,authenticity", file, "image/png") },
		"two":       func(r *rig) reply { return r.post("/v1/score?aspects=quality&aspects=authenticity", file, "image/png") },
		"json":      func(r *rig) reply { return r.post("/v1/score", listed, "application/json") },
		"multipart": func(r *rig) reply { return r.post("/v1/score", multi, multiType) },
		"named": func(r *rig) reply {
			return r.post("/v1/score?aspects=quality%3Ddemo,authenticity%3Dother", file, "image/png")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(p *plan) { p.checkpoints = []string{first, second, "third"} }, tasks(byName))
			got := send(r).scores(t).Results[0]
			if len(got.Aspects) != 2 || len(got.Scores) != 0 || got.Experiment != nil {
				t.Fatalf("%d aspects, %d scores, experiment %v", len(got.Aspects), len(got.Scores), got.Experiment)
			}
			for task, name := range map[string]string{"quality": first, "authenticity": second} {
				want, _ := wantScore(t, file, name)
				a := got.Aspects[task]
				if a.Checkpoint.Name != name || string(a.Checkpoint.Task) != task || a.Score == nil || *a.Score != want.Score {
					t.Errorf("%s: %+v, want %v by %s", task, a, want.Score, name)
				}
			}
			if *got.Score != *got.Aspects["quality"].Score || got.Checkpoint.Name != first {
				t.Errorf("score %v by %s, want that of the first aspect", *got.Score, got.Checkpoint.Name)
			}
			if n := r.triton.Calls(tritontest.ImageEncoder); n != 1 {
				t.Errorf("%d calls of the image encoder, want 1", n)
			}
		})
	}
}

func TestAspectsAreRefused(t *testing.T) {
	file := testimages.PNG(64, 64)
	r := newRig(t, func(p *plan) { p.checkpoints = []string{first, second, "third", "foreign"} },
		tasks(map[string]quality.Task{first: "quality", second: "authenticity", "third": "authenticity"}),
		func(p *plan) {
			task := p.meaning
			p.meaning = func(e *lifecycle.Entry) {
				task(e)
				if e.Checkpoint.Name == "foreign" { // nobody can score by it
					e.Checkpoint.Task, e.Checkpoint.Encoder = "alignment", quality.DigestOf([]byte("another encoder"))
				}
			}
		})
	for _, test := range []struct {
		target string
		kind   quality.Kind
		detail string
	}{
		{"/v1/score?aspects=quality,authenticity", quality.KindBadRequest,
			"2 checkpoints score authenticity and none of them is the default: name one of other, third, as in " +
				"authenticity=other"},
		{"/v1/score?aspects=alignment", quality.KindCheckpointNotFound,
			"no checkpoint scores alignment; tasks of the checkpoints here: authenticity, quality"},
		{"/v1/score?aspects=quality%3Dother", quality.KindConflict, "checkpoint other scores authenticity, not quality"},
		{"/v1/score?aspects=quality%3Dnobody", quality.KindCheckpointNotFound,
			`checkpoint "nobody" not found; available: demo, other, third, foreign`},
		{"/v1/score?aspects=quality,quality%3Ddemo", quality.KindBadRequest, "aspect quality is asked for twice"},
		{"/v1/score?aspects=Quality", quality.KindBadRequest,
			`aspect "Quality" is neither TASK nor TASK=CHECKPOINT, such as quality`},
		{"/v1/score?aspects=quality&checkpoint=demo", quality.KindBadRequest,
			"checkpoint and aspects exclude each other; name a checkpoint as TASK=CHECKPOINT in aspects"},
		{"/v1/compare?aspects=quality", quality.KindBadRequest,
			"aspects are for /v1/score: scores of different tasks can't be compared"},
	} {
		if p := r.post(test.target, file, "image/png").wantProblem(t, test.kind); p.Detail != test.detail {
			t.Errorf("%s: %q, want %q", test.target, p.Detail, test.detail)
		}
	}
	empty, emptyType := form(t, "aspects", " , ", "image", string(file))
	p := r.post("/v1/score", empty, emptyType).wantProblem(t, quality.KindBadRequest)
	if want := "aspects is empty; name a task or leave it out"; p.Detail != want {
		t.Errorf("detail %q, want %q", p.Detail, want)
	}
}

// TestPageSaysWhatAScoreMeans runs the page's script in Node.js on real answers.
func TestPageSaysWhatAScoreMeans(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Node.js; not run with -short")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatal("node is not on PATH: install Node.js (make deps), or run the tests with -short to leave this out")
	}
	file := testimages.PNG(64, 64)
	text := func(r *rig, query string) string {
		t.Helper()
		answer := r.post("/v1/score?include=views"+query, file, "image/png")
		out, err := exec.CommandContext(t.Context(), "node", "testdata/page.mjs", "page.html", string(answer.body)).Output()
		must(t, err)
		var drawn struct{ Text string }
		must(t, json.Unmarshal(out, &drawn))
		return drawn.Text
	}
	judged, _ := wantScore(t, file, first)
	low := math.Floor(float64(judged.Score)) - 2
	cut := newRig(t, qualified(t, true, [2]float64{low, low + 1}, 0.25, 0))
	const unlike = "This picture is unlike the training data"
	for _, want := range []string{
		fmt.Sprintf("authenticity, %g to %g MOS", low, low+1),
		fmt.Sprintf("%.2f to %.2f with 90 %% coverage", low+0.75, low+1),
		fmt.Sprintf("cut to the scale from %.3f", judged.Score), unlike,
	} {
		if got := text(cut, ""); !strings.Contains(got, want) {
			t.Errorf("the page says %q, want %q in it", got, want)
		}
	}
	for _, absent := range []string{"coverage", "cut to the scale", unlike} {
		if got := text(newRig(t), ""); strings.Contains(got, absent) {
			t.Errorf("the page says %q, want no %q", got, absent)
		}
	}
}
