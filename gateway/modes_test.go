package gateway_test

import (
	"net/http"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// widthDecoder draws the upper half of every JPEG in the level of its width in
// units of 16, so that exact and fast give other pixels.
type widthDecoder struct{}

func (widthDecoder) Format() imageprep.Format { return imageprep.JPEG }
func (widthDecoder) Name() string             { return "libwidth 1.0" }
func (widthDecoder) Tag() string              { return "width-1" }
func (widthDecoder) Decode(dst, _ []byte, width, height, samples int) error {
	n := width * height * samples
	for i := range n {
		if dst[i] = byte(width / 16); i > n/2 {
			dst[i] = 200
		}
	}
	return nil
}

func withWidthDecoder(p *plan) {
	p.natives = []imageprep.Native{widthDecoder{}}
}

const (
	exactID = "pillow-bicubic-224/go-1+width-1"
	fastID  = "fast-bicubic-224/go-1+width-1"
)

// TestModeIsChosenByRequest: by query, JSON member or multipart field; the
// answer names what was done, and says what is wrong with a wish.
func TestModeIsChosenByRequest(t *testing.T) {
	file := testimages.JPEG(1024, 1024)
	r := newRig(t, withWidthDecoder)
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
	r := newRig(t, withWidthDecoder)
	file := testimages.JPEG(1024, 1024)
	scores := map[string]float32{}
	for _, step := range []struct{ mode, cache, decoder string }{
		{"exact", "miss", "libwidth 1.0"}, {"fast", "miss", "libwidth 1.0"}, {"exact", "hit", ""}, {"fast", "hit", ""},
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
	r := newRig(t, withWidthDecoder)
	file := testimages.JPEG(1024, 1024)
	for mode, want := range map[string]struct {
		id    string
		level byte
	}{"": {exactID, 64}, "exact": {exactID, 64}, "fast": {fastID, 32}} {
		target := "/v1/preprocess?format=raw"
		if mode != "" {
			target += "&preprocess=" + mode
		}
		got := r.post(target, file, "image/jpeg")
		if got.status != http.StatusOK || got.body[0] != want.level {
			t.Fatalf("%q: status %d, first sample %d, want %d", mode, got.status, got.body[0], want.level)
		}
		if id, decoder := got.header.Get("X-Preprocess"), got.header.Get("X-Decoder"); id != want.id ||
			decoder != "libwidth 1.0" {
			t.Errorf("%q: id %q, decoder %q; want %q, libwidth 1.0", mode, id, decoder, want.id)
		}
	}
}
