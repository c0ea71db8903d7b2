package gateway_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

const (
	exactID = "pillow12-bicubic-224/go-2"
	fastID  = "fast-bicubic-224/go-2"
)

// TestModeIsChosenByRequest: by query, JSON member or multipart field; the
// answer names what was done, and says what is wrong with a wish.
func TestModeIsChosenByRequest(t *testing.T) {
	file := testimages.JPEG(1024, 1024)
	r := newRig(t)
	send := func(target string, body any) reply {
		if raw, ok := body.([]byte); ok {
			return r.post(target, raw, "image/jpeg")
		}
		return r.postJSON(target, body)
	}
	withMode := func(mode string) map[string]any {
		return map[string]any{"images": []map[string]string{{"data": base64Of(file)}}, "preprocess": mode}
	}
	for _, test := range []struct {
		name, target string
		body         any
		wantID       string
		wantKind     quality.Kind
	}{
		{"nothing asked", "/v1/score", file, exactID, ""},
		{"query exact", "/v1/score?preprocess=exact", file, exactID, ""},
		{"query fast", "/v1/score?preprocess=fast", file, fastID, ""},
		{"json fast", "/v1/score", withMode("fast"), fastID, ""},
		{"json and query agree", "/v1/score?preprocess=fast", withMode("fast"), fastID, ""},
		{"json and query differ", "/v1/score?preprocess=exact", withMode("fast"), "", quality.KindBadRequest},
		{"json unknown", "/v1/score", withMode("turbo"), "", quality.KindBadRequest},
		{"query unknown", "/v1/score?preprocess=turbo", file, "", quality.KindBadRequest},
		{"compare fast", "/v1/compare?preprocess=fast", file, fastID, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantMode(t, send(test.target, test.body), test.wantID, test.wantKind)
		})
	}
	t.Run("multipart fast", func(t *testing.T) {
		body, contentType := form(t, "image", string(file), "preprocess", "fast")
		wantMode(t, r.post("/v1/score", body, contentType), fastID, "")
	})
	t.Run("multipart unknown", func(t *testing.T) {
		body, contentType := form(t, "image", string(file), "preprocess", "turbo")
		wantMode(t, r.post("/v1/score", body, contentType), "", quality.KindBadRequest)
	})
	t.Run("multipart says both", func(t *testing.T) {
		body, contentType := form(t, "image", string(file), "preprocess", "fast", "preprocess", "exact")
		wantMode(t, r.post("/v1/score", body, contentType), "", quality.KindBadRequest)
	})
}

func wantMode(t *testing.T, got reply, id string, kind quality.Kind) {
	t.Helper()
	if kind != "" {
		got.wantProblem(t, kind)
		return
	}
	if s := got.scores(t); s.Preprocess != id {
		t.Errorf("preprocess %q, want %q", s.Preprocess, id)
	}
}

// TestModesShareNoCache: the embedding of one mode is not the other's, and an
// image that did not have to be decoded names no decoder.
func TestModesShareNoCache(t *testing.T) {
	r := newRig(t)
	file := testimages.JPEG(1024, 1024)
	scores := map[string]float32{}
	for _, step := range []struct{ mode, cache, decoder string }{
		{"exact", "miss", "go"}, {"fast", "miss", "go"}, {"exact", "hit", ""}, {"fast", "hit", ""},
	} {
		res := r.post("/v1/score?preprocess="+step.mode, file, "image/jpeg").scores(t).Results[0]
		if res.Cache.ImageEmbedding != step.cache || res.Image.Decoder != step.decoder {
			t.Errorf("%s: embedding %s, decoder %q; want %s, %q", step.mode, res.Cache.ImageEmbedding,
				res.Image.Decoder, step.cache, step.decoder)
		}
		if before, ok := scores[step.mode]; ok && before != *res.Score {
			t.Errorf("%s: score %v, then %v", step.mode, before, *res.Score)
		}
		scores[step.mode] = *res.Score
	}
	if scores["exact"] == scores["fast"] {
		t.Errorf("both modes score %v: they saw the same pixels", scores["exact"])
	}
}

// TestPreprocessRouteTakesTheMode: the pixels, their id and their decoder.
func TestPreprocessRouteTakesTheMode(t *testing.T) {
	r := newRig(t)
	file := testimages.JPEG(1024, 1024)
	preparer, err := imageprep.New(imageprep.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	in, err := preparer.Inspect(file)
	if err != nil {
		t.Fatal(err)
	}
	for mode, id := range map[string]string{"": exactID, "exact": exactID, "fast": fastID} {
		want, err := preparer.PrepareViews(t.Context(), in, quality.PreprocessMode(mode), []quality.View{{}})
		if err != nil {
			t.Fatal(err)
		}
		target := "/v1/preprocess?format=raw"
		if mode != "" {
			target += "&preprocess=" + mode
		}
		got := r.post(target, file, "image/jpeg")
		if got.status != http.StatusOK || !bytes.Equal(got.body, want.Views[0].Bytes()) {
			t.Fatalf("%q: status %d, or other pixels", mode, got.status)
		}
		if name, decoder := got.header.Get("X-Preprocess"), got.header.Get("X-Decoder"); name != id || decoder != "go" {
			t.Errorf("%q: id %q, decoder %q; want %q, go", mode, name, decoder, id)
		}
	}
}

// TestDecodesAreCounted by format and decoder, and an image from the cache is
// not one.
func TestDecodesAreCounted(t *testing.T) {
	r := newRig(t)
	for range 2 {
		r.post("/v1/score", testimages.PNG(8, 8), "image/png").scores(t)
		r.post("/v1/score", testimages.WebP(), "image/webp").scores(t)
	}
	want := map[string]int64{"decoder=go,format=png": 1, "decoder=go,format=webp": 1}
	if diff := cmp.Diff(want, r.values("agiqa.images.decoded")); diff != "" {
		t.Errorf("agiqa.images.decoded (-want +got):\n%s", diff)
	}
}
