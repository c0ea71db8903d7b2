package gateway_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/png"
	"mime/multipart"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// form makes a multipart body from name, content pairs; parts named image get
// a file name.
func form(t *testing.T, parts ...string) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		name, content := parts[i], parts[i+1]
		if name == "image" {
			part, err := w.CreateFormFile(name, fmt.Sprintf("picture-%d.png", i/2))
			must(t, err)
			_, err = part.Write([]byte(content))
			must(t, err)
		} else {
			must(t, w.WriteField(name, content))
		}
	}
	must(t, w.Close())
	return b.Bytes(), w.FormDataContentType()
}

func base64Of(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

func jsonOf(images ...map[string]string) map[string]any { return map[string]any{"images": images} }

// wantScore is what the whole chain must give for an image.
func wantScore(t *testing.T, file []byte, name string) (quality.HeadScore, quality.Embedding) {
	t.Helper()
	preparer, err := imageprep.New(imageprep.DefaultConfig())
	must(t, err)
	img, err := preparer.Prepare(t.Context(), file)
	must(t, err)
	e := tritontest.ImageEmbedding(tritontest.Encoder(), img.Pixels)
	return tritontest.HeadScore(tritontest.Checkpoint(name), tritontest.Texts(tritontest.Encoder()), e), e
}

func TestEveryFormOfBodyGivesTheScore(t *testing.T) {
	file := testimages.PNG(320, 240)
	want, embedding := wantScore(t, file, first)
	multi, multiType := form(t, "image", string(file))
	many, err := json.Marshal(jsonOf(map[string]string{"id": "a", "data": base64Of(file)}))
	must(t, err)
	for _, test := range []struct {
		name, contentType string
		body              []byte
		id                string
	}{
		{"image", "image/png", file, "0"},
		{"image of another declared type", "image/jpeg", file, "0"},
		{"bytes", "application/octet-stream", file, "0"},
		{"no content type", "", file, "0"},
		{"multipart", multiType, multi, "picture-0.png"},
		{"json", "application/json", many, "a"},
		{"json with charset", "application/json; charset=utf-8", many, "a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			got := r.post("/v1/score?include=embedding", test.body, test.contentType).scores(t)
			if len(got.Results) != 1 {
				t.Fatalf("%d results, want 1", len(got.Results))
			}
			res := got.Results[0]
			if res.ID != test.id || res.Error != nil || *res.Score != want.Score {
				t.Errorf("id %q, error %v, score %v; want %q, none, %v", res.ID, res.Error, *res.Score, test.id, want.Score)
			}
			if diff := cmp.Diff([]float32(embedding), res.Embedding); diff != "" {
				t.Errorf("embedding (-want +got):\n%s", diff)
			}
			categories := [quality.CategoryCount]float32{res.Categories.Terrible, res.Categories.Bad, res.Categories.Poor,
				res.Categories.Average, res.Categories.Good, res.Categories.Perfect}
			if categories != want.Similarity {
				t.Errorf("categories %v, want %v", categories, want.Similarity)
			}
			c := tritontest.Checkpoint(first)
			if res.Checkpoint.Name != c.Name || res.Checkpoint.Digest != c.Digest || got.Encoder.Digest != c.Encoder {
				t.Errorf("checkpoint %+v of encoder %v, want %s %v of %v", res.Checkpoint, got.Encoder, c.Name, c.Digest, c.Encoder)
			}
			wantImage := gateway.ImageRef{SHA256: quality.DigestOf(file).Hex(), Format: "png",
				Width: 320, Height: 240, Decoder: "go"}
			if *res.Image != wantImage {
				t.Errorf("image %+v, want %+v", *res.Image, wantImage)
			}
			if got.RequestID == "" || len(got.TraceID) != 32 || got.Preprocess == "" || got.TimingMS["total"] <= 0 {
				t.Errorf("request %q, trace %q, preprocess %q, timing %v", got.RequestID, got.TraceID, got.Preprocess, got.TimingMS)
			}
		})
	}
}

// TestCategoriesFollowTheirOrder: wire.go copies by position.
func TestCategoriesFollowTheirOrder(t *testing.T) {
	data, err := json.Marshal(gateway.Categories{Terrible: 0, Bad: 1, Poor: 2, Average: 3, Good: 4, Perfect: 5})
	must(t, err)
	var got map[string]int
	must(t, json.Unmarshal(data, &got))
	for i, name := range quality.Categories() {
		if v, ok := got[name]; !ok || v != i {
			t.Errorf("category %s is at %d (there: %v), want %d", name, v, ok, i)
		}
	}
}

func TestOneFaultAmongSeveral(t *testing.T) {
	good, bad := testimages.PNG(64, 64), []byte("no image")
	multi, multiType := form(t, "image", string(good), "image", string(bad), "image", string(good))
	many, err := json.Marshal(jsonOf(
		map[string]string{"data": base64Of(good)}, map[string]string{"id": "second", "data": "!"},
		map[string]string{"data": base64Of(good)}))
	must(t, err)
	for _, test := range []struct {
		name, contentType string
		body              []byte
		ids               []string
		kind              quality.Kind
	}{
		{"multipart", multiType, multi, []string{"picture-0.png", "picture-1.png", "picture-2.png"},
			quality.KindUnsupportedImageFormat},
		{"json", "application/json", many, []string{"0", "second", "2"}, quality.KindBadBase64},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			answer := r.post("/v1/score", test.body, test.contentType)
			got := answer.scores(t)
			var ids []string
			for i, res := range got.Results {
				ids = append(ids, res.ID)
				if i == 1 {
					if res.Error == nil || res.Error.Code != test.kind || res.Score != nil || res.Image != nil {
						t.Errorf("result 1: %+v, want an error %s and nothing else", res, test.kind)
					} else if res.Error.RequestID != got.RequestID || res.Error.TraceID != got.TraceID {
						t.Errorf("ids of the error are %s, %s", res.Error.RequestID, res.Error.TraceID)
					}
				} else if res.Error != nil || res.Score == nil {
					t.Errorf("result %d: error %v", i, res.Error)
				}
			}
			if !slices.Equal(ids, test.ids) {
				t.Errorf("ids %q, want %q", ids, test.ids)
			}
			if n := len(r.values("agiqa.problems")); n != 0 {
				t.Errorf("agiqa.problems counts %d, want none: the request was answered", n)
			}
			images := r.values("agiqa.images")
			if images["format=png,outcome=ok"] != 2 || images["format=unknown,outcome="+string(test.kind)] != 1 {
				t.Errorf("agiqa.images is %v", images)
			}
		})
	}
}

func TestSingleFaultIsTheResponse(t *testing.T) {
	r := newRig(t)
	r.post("/v1/score", []byte("no image"), "image/png").wantProblem(t, quality.KindUnsupportedImageFormat)
	r.postJSON("/v1/score", jsonOf(map[string]string{"data": "!"})).wantProblem(t, quality.KindBadBase64)
	body, contentType := form(t, "image", "no image")
	r.post("/v1/score", body, contentType).wantProblem(t, quality.KindUnsupportedImageFormat)
}

// calls are the inferences that Triton saw.
func (r *rig) calls() map[string]int {
	out := map[string]int{}
	for _, name := range []string{first, second} {
		c := tritontest.Checkpoint(name)
		out["head "+name], out["ensemble "+name] = r.triton.Calls(c.HeadModel()), r.triton.Calls(c.EnsembleModel())
	}
	out["encoder"], out["text"] = r.triton.Calls(tritontest.ImageEncoder), r.triton.Calls(tritontest.TextEncoder)
	for k, v := range out {
		if v == 0 {
			delete(out, k)
		}
	}
	return out
}

func TestEmbedOnceScoreMany(t *testing.T) {
	file := testimages.PNG(100, 80)
	ensemble, both := "ensemble "+first, map[string]int{"encoder": 1, "text": 2, "head " + first: 1, "head " + second: 1}
	for _, test := range []struct {
		name, target string
		times        int
		want         map[string]int
		image, text  string // cache of the last answer
	}{
		{"one checkpoint, first time", "/v1/score", 1, map[string]int{ensemble: 1, "text": 1}, "miss", "miss"},
		{"one checkpoint, second time", "/v1/score", 2, map[string]int{ensemble: 1, "text": 1, "head " + first: 1}, "hit",
			"hit"},
		{"two checkpoints, first time", "/v1/compare?checkpoint=demo,other", 1, both, "miss", "miss"},
		{"a parameter for each", "/v1/compare?checkpoint=demo&checkpoint=&checkpoint=other", 1, both, "miss", "miss"},
		{"compare takes all", "/v1/compare", 1, both, "miss", "miss"},
		{"score with two checkpoints", "/v1/score?checkpoint=demo,other", 1, both, "miss", "miss"},
		{"two checkpoints, second time", "/v1/compare", 2,
			map[string]int{"encoder": 1, "text": 2, "head " + first: 2, "head " + second: 2}, "hit", "hit"},
		{"a checkpoint named twice", "/v1/compare?checkpoint=demo,demo", 1,
			map[string]int{ensemble: 1, "text": 1}, "miss", "miss"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			var got gateway.ScoreResponse
			for range test.times {
				got = r.post(test.target, file, "image/png").scores(t)
			}
			if diff := cmp.Diff(test.want, r.calls()); diff != "" {
				t.Errorf("calls of Triton (-want +got):\n%s", diff)
			}
			if c := got.Results[0].Cache; c.ImageEmbedding != test.image || c.TextEmbeddings != test.text {
				t.Errorf("cache %+v, want image %s, text %s", *c, test.image, test.text)
			}
			want, _ := wantScore(t, file, first)
			if *got.Results[0].Score != want.Score {
				t.Errorf("score %v, want %v", *got.Results[0].Score, want.Score)
			}
		})
	}
}

func TestCompareShowsEveryCheckpoint(t *testing.T) {
	r := newRig(t)
	files := [][]byte{testimages.PNG(90, 70), testimages.JPEG(70, 90)}
	body, contentType := form(t, "image", string(files[0]), "image", string(files[1]), "checkpoints", "other, demo")
	got := r.post("/v1/compare", body, contentType).scores(t)
	if n := r.triton.Calls(tritontest.ImageEncoder); n != 1 {
		t.Errorf("%d calls of the encoder for two images and two checkpoints, want 1", n)
	}
	for i, res := range got.Results {
		if len(res.Scores) != 2 {
			t.Fatalf("image %d has %d scores, want 2", i, len(res.Scores))
		}
		for k, name := range []string{second, first} {
			want, _ := wantScore(t, files[i], name)
			if v := res.Scores[k]; v.Checkpoint.Name != name || v.Error != nil || *v.Score != want.Score {
				t.Errorf("image %d, score %d: %s %v, want %s %v", i, k, v.Checkpoint.Name, *v.Score, name, want.Score)
			}
		}
		if res.Checkpoint.Name != second || res.Embedding != nil {
			t.Errorf("image %d: checkpoint %s, embedding %v; want the first named and none", i,
				res.Checkpoint.Name, res.Embedding)
		}
	}
}

// TestOneOfSeveralCheckpointsFails: its problem stands where its score would,
// and where it is the first one named the result says so too.
func TestOneOfSeveralCheckpointsFails(t *testing.T) {
	r := newRig(t, func(p *plan) { p.mayBreak = true })
	r.triton.Lie(tritontest.Checkpoint(second).HeadModel(),
		func(resp *pb.ModelInferResponse) { resp.Outputs[0].Shape = nil })
	file := string(testimages.PNG(90, 70))
	want, _ := wantScore(t, []byte(file), first)
	for _, names := range []string{first + "," + second, second + "," + first} {
		body, contentType := form(t, "image", file, "checkpoints", names)
		got := r.post("/v1/compare", body, contentType).scores(t).Results[0]
		for _, v := range got.Scores {
			if bad := v.Checkpoint.Name == second; bad != (v.Error != nil) || bad != (v.Score == nil) ||
				bad != (v.Categories == nil) {
				t.Errorf("%s: score %+v", names, v)
			} else if bad && v.Error.Code != quality.KindModelBadOutput {
				t.Errorf("%s: code %s, want model_bad_output", names, v.Error.Code)
			} else if !bad && *v.Score != want.Score {
				t.Errorf("%s: score %v, want %v", names, *v.Score, want.Score)
			}
		}
		if failed := names[:len(second)] == second; failed != (got.Error != nil) ||
			failed != (got.Score == nil) || len(got.Scores) != 2 {
			t.Errorf("%s: %+v", names, got)
		}
	}
}

func TestPreprocessShowsWhatTheModelSees(t *testing.T) {
	r := newRig(t)
	file := testimages.JPEG(300, 200)
	preparer, err := imageprep.New(imageprep.DefaultConfig())
	must(t, err)
	want, err := preparer.Prepare(t.Context(), file)
	must(t, err)

	raw := r.post("/v1/preprocess?format=raw", file, "image/jpeg")
	if raw.status != http.StatusOK || !bytes.Equal(raw.body, want.Pixels.Bytes()) {
		t.Errorf("raw: status %d, %d bytes, want the %d of the preparer", raw.status, len(raw.body), len(want.Pixels.Bytes()))
	}
	if got := raw.header.Get("X-Preprocess"); got != string(preparer.ID("", quality.Pillow12)) {
		t.Errorf("X-Preprocess %q, want %q", got, preparer.ID("", quality.Pillow12))
	}
	shown := r.post("/v1/preprocess", file, "image/jpeg")
	if got := shown.header.Get("Content-Type"); got != "image/png" {
		t.Errorf("Content-Type %q, want image/png", got)
	}
	img, err := png.Decode(bytes.NewReader(shown.body))
	must(t, err)
	for i := range quality.ImageSize * quality.ImageSize {
		cr, cg, cb, _ := img.At(i%quality.ImageSize, i/quality.ImageSize).RGBA()
		if got := [3]byte{byte(cr >> 8), byte(cg >> 8), byte(cb >> 8)}; got != [3]byte(want.Pixels.Bytes()[3*i:]) {
			t.Fatalf("pixel %d is %v, want %v", i, got, want.Pixels.Bytes()[3*i:3*i+3])
		}
	}
	view, err := quality.ParseView("448/r1c0")
	must(t, err)
	in, err := preparer.Inspect(file)
	must(t, err)
	cell, err := preparer.PrepareViews(t.Context(), in, "", []quality.View{view})
	must(t, err)
	raw = r.post("/v1/preprocess?format=raw&view=448/r1c0", file, "image/jpeg")
	if raw.status != http.StatusOK || !bytes.Equal(raw.body, cell.Views[0].Bytes()) {
		t.Errorf("a view: status %d, %d bytes, or other pixels than the preparer's", raw.status, len(raw.body))
	}
	if got, want := raw.header.Get("X-Preprocess"), string(preparer.ID("", quality.Pillow12))+"@448/r1c0"; got != want {
		t.Errorf("X-Preprocess %q, want %q", got, want)
	}
	r.post("/v1/preprocess?view=448", file, "image/jpeg").wantProblem(t, quality.KindBadRequest)
	r.post("/v1/preprocess?format=gif", file, "image/jpeg").wantProblem(t, quality.KindBadRequest)
	two, contentType := form(t, "image", string(file), "image", string(file))
	r.post("/v1/preprocess", two, contentType).wantProblem(t, quality.KindBadRequest)
	r.post("/v1/preprocess", []byte("text"), "image/jpeg").wantProblem(t, quality.KindUnsupportedImageFormat)
}

func TestCheckpointsAreShown(t *testing.T) {
	r := newRig(t)
	var list struct {
		Checkpoints []gateway.CheckpointView
		Default     string
	}
	must(t, json.Unmarshal(r.ask(http.MethodGet, "/v1/checkpoints", nil).body, &list))
	if len(list.Checkpoints) != 2 || list.Default != first || !list.Checkpoints[0].Usable ||
		list.Checkpoints[0].Training != nil {
		t.Errorf("list %+v", list)
	}
	var one gateway.CheckpointView
	must(t, json.Unmarshal(r.ask(http.MethodGet, "/v1/checkpoints/other", nil).body, &one))
	if one.Name != second || one.Default || one.Digest != tritontest.Checkpoint(second).Digest || one.Training == nil {
		t.Errorf("other is %+v", one)
	}
	r.service.Use(nil)
	must(t, json.Unmarshal(r.ask(http.MethodGet, "/v1/checkpoints/other", nil).body, &one))
	if one.Usable {
		t.Error("other is usable while no encoder is known")
	}
}
