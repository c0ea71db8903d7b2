package gateway_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"mime/multipart"
	"net/url"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// newPromptRig has the checkpoint aware, which reads prompts, and plain, which
// doesn't.
func newPromptRig(t *testing.T) *rig {
	t.Helper()
	return newRig(t, func(p *plan) {
		p.checkpoints = []string{"plain", "aware"}
		p.meaning = func(e *lifecycle.Entry) {
			if e.Checkpoint.Name == "aware" {
				e.Checkpoint.Task, e.Checkpoint.Prompt = quality.TaskAlignment, true
			}
		}
	})
}

// wantAligned checks the score of a picture by aware, with a prompt.
func wantAligned(t *testing.T, file []byte, prompt string, got *float32) {
	t.Helper()
	preparer, err := imageprep.New(imageprep.DefaultConfig())
	must(t, err)
	image, err := preparer.Prepare(t.Context(), file)
	must(t, err)
	tokenizer, err := tokenizer()
	must(t, err)
	enc := tritontest.Encoder()
	text, err := clip.PicturePrompt(tokenizer, prompt, enc.TextWidth)
	must(t, err)
	want := tritontest.PromptHeadScore(tritontest.Checkpoint("aware"), tritontest.Texts(enc),
		tritontest.ImageEmbedding(enc, image.Pixels), tritontest.TextEmbeddings(enc, text)[0])
	if got == nil || *got != want.Score {
		t.Errorf("prompt %q: score %v, want %v", prompt, got, want.Score)
	}
}

// TestPromptInEveryForm scores two pictures with a prompt each in every form of
// body that takes two, and one picture in each.
func TestPromptInEveryForm(t *testing.T) {
	r := newPromptRig(t)
	files := [][]byte{testimages.PNG(16, 16), testimages.PNG(40, 24)}
	texts := []string{"a cat, sitting on a mat", "ein Hund & mehr, überall"}
	form := func(images int, prompts ...string) ([]byte, string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for _, p := range prompts[:len(prompts)/2] { // before and after the images
			must(t, w.WriteField("prompt", p))
		}
		for _, f := range files[:images] {
			part, err := w.CreateFormFile("image", "a.png")
			must(t, err)
			_, err = part.Write(f)
			must(t, err)
		}
		for _, p := range prompts[len(prompts)/2:] {
			must(t, w.WriteField("prompt", p))
		}
		must(t, w.Close())
		return b.Bytes(), w.FormDataContentType()
	}
	jsonBody := func(prompts ...string) ([]byte, string) {
		var images []gateway.ImageInput
		for i, p := range prompts {
			images = append(images, gateway.ImageInput{Data: base64.StdEncoding.EncodeToString(files[i]), Prompt: p})
		}
		b, err := json.Marshal(gateway.ScoreRequest{Images: images})
		must(t, err)
		return b, "application/json"
	}
	query := "/v1/score?checkpoint=aware"
	for _, tt := range []struct {
		name   string
		target string
		body   func() ([]byte, string)
		want   []string // prompts
	}{
		{"raw", query + "&prompt=" + url.QueryEscape(texts[1]),
			func() ([]byte, string) { return files[0], "image/png" }, texts[1:]},
		{"JSON", query, func() ([]byte, string) { return jsonBody(texts...) }, texts},
		{"JSON, one of them in the query", query + "&prompt=" + url.QueryEscape(texts[1]),
			func() ([]byte, string) { return jsonBody(texts[0], "") }, texts},
		{"multipart", query, func() ([]byte, string) { return form(2, texts...) }, texts},
		{"multipart, one for all", query, func() ([]byte, string) { return form(2, texts[0]) },
			[]string{texts[0], texts[0]}},
		{"multipart, in the query", query + "&prompt=" + url.QueryEscape(texts[0]),
			func() ([]byte, string) { return form(2) }, []string{texts[0], texts[0]}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body, contentType := tt.body()
			got := r.post(tt.target, body, contentType)
			answer := got.scores(t)
			if len(answer.Results) != len(tt.want) {
				t.Fatalf("%d results, want %d", len(answer.Results), len(tt.want))
			}
			for i, result := range answer.Results {
				wantAligned(t, files[i], tt.want[i], result.Score)
			}
		})
	}
}

// TestPromptProblems: what a client is told.
func TestPromptProblems(t *testing.T) {
	r := newPromptRig(t)
	file := testimages.PNG(16, 16)
	for _, tt := range []struct {
		name, query string
		status      int
		kind        quality.Kind
		detail      string
	}{
		{"missing", "checkpoint=aware", 400, quality.KindBadRequest,
			"checkpoint aware needs the prompt that each image was made from"},
		{"unread", "checkpoint=plain&prompt=cat", 400, quality.KindBadRequest, "checkpoint plain doesn't read"},
		{"empty", "checkpoint=aware&prompt=", 400, quality.KindBadRequest, "prompt is empty"},
		{"white space", "checkpoint=aware&prompt=%C2%A0.%20", 200, "", ""},
		{"too long", "checkpoint=aware&prompt=" + strings.Repeat("cat+", 76), 422, quality.KindPromptTooLong,
			"76 tokens, at most 75"},
		{"twice", "checkpoint=aware&prompt=cat&prompt=dog", 400, quality.KindBadRequest, "takes one value and was given 2"},
		{"read by one aspect of two", "aspects=quality%3Dplain,alignment&prompt=cat", 200, "", ""},
		{"beside an unknown task", "aspects=structure,alignment&prompt=cat", 404, quality.KindCheckpointNotFound,
			"no checkpoint scores structure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := r.post("/v1/score?"+tt.query, file, "image/png")
			if got.status != tt.status {
				t.Fatalf("status %d, want %d: %s", got.status, tt.status, got.body)
			}
			if tt.status != 200 {
				if p := got.wantProblem(t, tt.kind); !strings.Contains(p.Detail, tt.detail) {
					t.Errorf("detail %q lacks %q", p.Detail, tt.detail)
				}
			}
		})
	}
}

// TestPromptIsCached: the text encoder runs once for a prompt, whatever the
// picture.
func TestPromptIsCached(t *testing.T) {
	r := newPromptRig(t)
	ask := func(size int, prompt string) gateway.Result {
		target := "/v1/score?checkpoint=aware&prompt=" + prompt
		return r.post(target, testimages.PNG(size, size), "image/png").scores(t).Results[0]
	}
	ask(16, "cat")
	calls := r.triton.Calls(tritontest.TextEncoder)
	if got := ask(24, "cat"); got.Cache.TextEmbeddings != "hit" || r.triton.Calls(tritontest.TextEncoder) != calls {
		t.Errorf("the same prompt: %+v after %d calls of the text encoder, want %d", got.Cache,
			r.triton.Calls(tritontest.TextEncoder), calls)
	}
	if got := ask(24, "dog"); got.Cache.TextEmbeddings != "miss" || got.Cache.ImageEmbedding != "hit" {
		t.Errorf("another prompt for a known picture: %+v", got.Cache)
	}
}

// TestCheckpointsSayThatTheyReadPrompts shows it to whoever lists them.
func TestCheckpointsSayThatTheyReadPrompts(t *testing.T) {
	r := newPromptRig(t)
	var list struct {
		Checkpoints []gateway.CheckpointView `json:"checkpoints"`
	}
	must(t, json.Unmarshal(r.ask("GET", "/v1/checkpoints", nil).body, &list))
	for _, c := range list.Checkpoints {
		if c.Prompt != (c.Name == "aware") {
			t.Errorf("%s: prompt %t", c.Name, c.Prompt)
		}
	}
}
