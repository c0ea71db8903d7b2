package checkpoint_test

import (
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/quality"
)

// promptedDir holds the head of a prompt-aware checkpoint as this package writes
// it, with the scores of its reference: training/tests_triton serves it by NumPy
// and by onnxruntime. -update writes it anew.
const promptedDir = "testdata/prompted"

// newPromptedDraft returns a sound draft of a prompt-aware checkpoint.
func newPromptedDraft(name string, seed uint64) *draft {
	d := newMeaningfulDraft(name, seed)
	random := rand.New(rand.NewPCG(seed, 2))
	d.manifest["task"], d.manifest["prompt"] = "alignment", true
	d.manifest["golden"] = []any{
		map[string]any{"image_embedding": unit(random), "prompt_embedding": unit(random), "score": 3.25},
	}
	w0 := safetensors.Tensor{Name: "head.0.weight", Shape: []int{hidden, 9 * dim}, Data: make([]float32, hidden*9*dim)}
	for i := range w0.Data {
		w0.Data[i] = float32(random.NormFloat64())
	}
	d.tensors[w0.Name] = w0
	return d
}

// promptedCases is what a served head must answer.
type promptedCases struct {
	Images       []quality.Embedding `json:"image_embedding"`
	Prompts      []quality.Embedding `json:"prompt_embedding"`
	Texts        []quality.Embedding `json:"text_embeddings"` // [6,D]
	Scores       []float64           `json:"score"`
	Similarities [][]float32         `json:"category_similarity"`
}

func TestPromptedHeadFiles(t *testing.T) {
	b := newPromptedDraft("aware", 5).bundle(t)
	c := b.Checkpoint()
	if !c.Prompt || c.HasEnsemble() || c.Task != quality.TaskAlignment {
		t.Errorf("checkpoint %+v", c)
	}
	dir := t.TempDir()
	if err := checkpoint.Materialize(b, dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != c.HeadModel() {
		t.Errorf("models %v %v, want the head alone", entries, err)
	}
	random := rand.New(rand.NewPCG(19, 0))
	var text quality.TextEmbeddings
	for i := range text {
		text[i] = unit(random)
	}
	want := promptedCases{Texts: text[:]}
	for range 5 {
		image, prompt := unit(random), unit(random)
		scored, err := b.Head().ScoreWithPrompt(image, text, prompt)
		if err != nil {
			t.Fatal(err)
		}
		want.Images, want.Prompts = append(want.Images, image), append(want.Prompts, prompt)
		want.Scores = append(want.Scores, float64(scored.Score))
		want.Similarities = append(want.Similarities, scored.Similarity[:])
	}
	checkModelFiles(t, dir, promptedDir, want)
	if err := checkpoint.Remove(dir, c.Digest); err != nil {
		t.Fatal(err)
	}
	if left := slices.Collect(maps.Keys(tree(t, dir))); len(left) != 1 {
		t.Errorf("after its removal there is %v", left)
	}
}

// TestScoreWithPrompt compares the reference with its definition, written out.
func TestScoreWithPrompt(t *testing.T) {
	b := newPromptedDraft("aware", 6).bundle(t)
	h, random := b.Head(), rand.New(rand.NewPCG(20, 0))
	image, prompt := unit(random), unit(random)
	var text quality.TextEmbeddings
	var features []float64
	add := func(e quality.Embedding) {
		for _, v := range e {
			features = append(features, float64(v))
		}
	}
	add(image)
	for i := range text {
		text[i] = unit(random)
		add(text[i])
	}
	add(prompt)
	for i := range image {
		features = append(features, float64(image[i]*prompt[i]))
	}
	want := float64(h.B1[0])
	for j := range h.Hidden {
		sum := float64(h.B0[j])
		for i, f := range features {
			sum += float64(h.W0[j*len(features)+i]) * f
		}
		want += float64(h.W1[j]) * max(sum, 0)
	}
	got, err := h.ScoreWithPrompt(image, text, prompt)
	if err != nil || math.Abs(float64(got.Score)-want) > 1e-5 {
		t.Errorf("score %g, %v; want %g", got.Score, err, want)
	}
	if other, err := h.ScoreWithPrompt(image, text, image); err != nil || other.Score == got.Score {
		t.Errorf("another prompt scores %g, %v, as the first one does", other.Score, err)
	}
	if _, err := h.Score(image, text); err == nil {
		t.Error("a score without a prompt")
	}
	if _, err := h.ScoreWithPrompt(image, text, prompt[1:]); err == nil {
		t.Error("a score with a prompt of another length")
	}
	if _, err := newDraft("plain", 1).bundle(t).Head().ScoreWithPrompt(image, text, prompt); err == nil {
		t.Error("a head without prompts scores one")
	}
}

func TestPromptedBundleIsChecked(t *testing.T) {
	t.Parallel()
	first := func(d *draft) map[string]any { return d.manifest["golden"].([]any)[0].(map[string]any) }
	for _, tt := range []struct {
		name   string
		spoil  func(d *draft)
		detail string
	}{
		{"head of seven parts", func(d *draft) { d.tensors["head.0.weight"] = newDraft("a", 1).tensors["head.0.weight"] },
			"want [H 9*D]"},
		{"golden case without a prompt", func(d *draft) { delete(first(d), "prompt_embedding") },
			"golden[0]: prompt_embedding is missing"},
		{"golden prompt that is no unit vector", func(d *draft) {
			first(d)["prompt_embedding"] = make(quality.Embedding, dim)
		}, "golden[0]: prompt_embedding: embedding has norm 0"},
		{"golden prompt where none is read", func(d *draft) {
			*d = *newMeaningfulDraft("a", 1)
			first(d)["prompt_embedding"] = make(quality.Embedding, dim)
		}, `unknown key "prompt_embedding"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newPromptedDraft("aware", 7)
			tt.spoil(d)
			_, err := checkpoint.Read(d.files(t), checkpoint.DefaultLimits())
			if quality.KindOf(err) != quality.KindCheckpointInvalid || !strings.Contains(err.Error(), tt.detail) {
				t.Errorf("error %v, want checkpoint_invalid with %q", err, tt.detail)
			}
		})
	}
}

// TestPromptsNeedLanguage: a text tower that knows quality words only embeds no
// prompts of pictures.
func TestPromptsNeedLanguage(t *testing.T) {
	t.Parallel()
	b := newPromptedDraft("aware", 9).bundle(t)
	e := quality.Encoder{
		Name: "tiny", Digest: encoderDigest, Dim: dim, TextWidth: width, ContextLength: 77,
		TextCapability: quality.TextGeneral,
	}
	if err := b.CheckEncoder(e); err != nil {
		t.Errorf("a text tower that knows language: %v", err)
	}
	e.TextCapability = "quality-words"
	err := b.CheckEncoder(e)
	if quality.KindOf(err) != quality.KindEncoderMismatch || !strings.Contains(err.Error(), "quality words only") {
		t.Errorf("error %v, want encoder_mismatch that says why", err)
	}
}

// TestPromptedBundleIsWrittenBack: the bundle's files give the same bundle.
func TestPromptedBundleIsWrittenBack(t *testing.T) {
	t.Parallel()
	b := newPromptedDraft("aware", 8).bundle(t)
	manifest, weights, err := checkpoint.Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := checkpoint.Decode(manifest, weights, checkpoint.DefaultLimits())
	if err != nil || again.Checkpoint().Digest != b.Checkpoint().Digest {
		t.Errorf("read back: %v", err)
	}
}
