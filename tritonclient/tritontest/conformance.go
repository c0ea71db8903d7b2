package tritontest

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
)

// Tolerances of the suite. A batched run of an ONNX model and a single one
// differ in the order of additions; fp16 on a GPU differs more.
const (
	embeddingTolerance  = 2e-3 // per number of a unit vector
	similarityTolerance = 5e-3
	scoreTolerance      = 5e-3 // of the width of the checkpoint's range
	panelTolerance      = 1e-5 // between a panel and the heads, both in float32 at least
)

// Conformance is what a client sees of a server that serves this project's
// models, whether in-process or real: the same suite holds for both, so that
// tests against the fake are worth something. The server must have loaded
// enc's two encoders and c's head and ensemble.
func Conformance(t *testing.T, client *tritonclient.Client, enc quality.Encoder, c quality.Checkpoint) {
	s := suite{client: client, enc: enc, checkpoint: c}
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"describes itself", s.describes},
		{"names itself", s.server},
		{"health", s.health},
		{"unknown model", s.unknownModel},
		{"images in batches are images alone", s.imagesInBatches},
		{"prompts in batches are prompts alone", s.promptsInBatches},
		{"context counts where the mask says so", s.contextMask},
		{"ensemble is encoder and head", s.ensemble},
		{"heads in batches are heads alone", s.headsInBatches},
		{"answers belong to their questions", s.concurrent},
		{"no time left", s.noTime},
		{"caller gone", s.callerGone},
		{"statistics count", s.statistics},
		{"index lists what is loaded", s.index},
	} {
		t.Run(test.name, test.run)
	}
}

// PanelConformance is [Conformance] for a panel that the server has loaded,
// with the heads of its checkpoints. texts are those that it was made with.
func PanelConformance(t *testing.T, client *tritonclient.Client, enc quality.Encoder, panel quality.Panel,
	texts []quality.TextEmbeddings) {
	s := suite{client: client, enc: enc, checkpoint: panel.Checkpoints[0], panel: panel, panelTexts: texts}
	t.Run("a panel describes itself", s.panelDescribes)
	t.Run("a panel is its heads", s.panelIsItsHeads)
}

type suite struct {
	client     *tritonclient.Client
	enc        quality.Encoder
	checkpoint quality.Checkpoint
	panel      quality.Panel
	panelTexts []quality.TextEmbeddings
}

func (s suite) describes(t *testing.T) {
	got, err := s.client.Describe(t.Context())
	if err != nil {
		t.Fatalf("Describe: %v", err)
	}
	if got != s.enc {
		t.Errorf("Describe = %+v, want %+v", got, s.enc)
	}
	if err := s.client.CheckCheckpoint(t.Context(), s.enc, s.checkpoint); err != nil {
		t.Errorf("CheckCheckpoint: %v", err)
	}
	other := s.enc
	other.Digest = quality.DigestOf([]byte("another encoder"))
	wantKind(t, s.client.CheckCheckpoint(t.Context(), other, s.checkpoint), quality.KindEncoderMismatch)
	gone := s.checkpoint
	gone.Digest = quality.DigestOf([]byte("a checkpoint that nobody loaded"))
	wantKind(t, s.client.CheckCheckpoint(t.Context(), s.enc, gone), quality.KindModelUnavailable)
}

func (s suite) server(t *testing.T) {
	info, err := s.client.Server(t.Context())
	if err != nil {
		t.Fatalf("Server: %v", err)
	}
	if info.Name != "triton" || info.Version == "" {
		t.Errorf("Server = %+v, want name triton and a version", info)
	}
	if !slices.Contains(info.Extensions, "model_repository") {
		t.Errorf("extensions %q lack model_repository", info.Extensions)
	}
}

func (s suite) health(t *testing.T) {
	if err := s.client.Live(t.Context()); err != nil {
		t.Errorf("Live: %v", err)
	}
	if err := s.client.Probe(t.Context(), s.enc); err != nil {
		t.Errorf("Probe: %v", err)
	}
	if err := s.client.Check(t.Context(), s.enc, s.checkpoint.HeadModel(), s.checkpoint.EnsembleModel()); err != nil {
		t.Errorf("Check: %v", err)
	}
}

func (s suite) unknownModel(t *testing.T) {
	wantKind(t, s.client.ModelReady(t.Context(), "nobody_loaded_this"), quality.KindModelUnavailable)
	wantKind(t, s.client.Check(t.Context(), s.enc, "nobody_loaded_this"), quality.KindModelUnavailable)
	gone := s.checkpoint
	gone.Digest = quality.DigestOf([]byte("a checkpoint that nobody loaded"))
	_, _, err := s.client.EmbedAndScore(t.Context(), s.enc, gone, s.texts(t), testImages(1))
	wantKind(t, err, quality.KindModelUnavailable)
}

// imagesInBatches sends more images than a model takes at once.
func (s suite) imagesInBatches(t *testing.T) {
	images := testImages(9)
	together, err := s.client.EncodeImages(t.Context(), s.enc, images)
	if err != nil {
		t.Fatalf("EncodeImages of %d: %v", len(images), err)
	}
	if len(together) != len(images) {
		t.Fatalf("%d embeddings, want %d", len(together), len(images))
	}
	for i := range images {
		alone := s.embed(t, images[i])
		wantEmbedding(t, together[i], alone, embeddingTolerance)
	}
	if distance(together[0], together[1]) == 0 {
		t.Error("two different images have the same embedding")
	}
}

func (s suite) promptsInBatches(t *testing.T) {
	prompts := testPrompts(s.enc, 9)
	together, err := s.client.EncodePrompts(t.Context(), s.enc, prompts)
	if err != nil {
		t.Fatalf("EncodePrompts: %v", err)
	}
	if len(together) != prompts.N {
		t.Fatalf("%d embeddings, want %d", len(together), prompts.N)
	}
	for i := range prompts.N {
		alone, err := s.client.EncodePrompts(t.Context(), s.enc, onePrompt(prompts, i))
		if err != nil {
			t.Fatalf("EncodePrompts of prompt %d: %v", i, err)
		}
		wantEmbedding(t, together[i], alone[0], embeddingTolerance)
	}
	if distance(together[0], together[1]) == 0 {
		t.Error("two different prompts have the same embedding")
	}
}

// contextMask changes a context vector that is used, which must show, and one
// that is not, which must not.
func (s suite) contextMask(t *testing.T) {
	p := testPrompts(s.enc, 1)
	encode := func() quality.Embedding {
		t.Helper()
		e, err := s.client.EncodePrompts(t.Context(), s.enc, p)
		if err != nil {
			t.Fatalf("EncodePrompts: %v", err)
		}
		return e[0]
	}
	before := encode()
	p.Context[3*p.W] += 3 // position 3 is the class name's
	if got := distance(encode(), before); got > embeddingTolerance {
		t.Errorf("context at an unmasked position moved the embedding by %g", got)
	}
	p.Context[1*p.W] += 3 // position 1 takes its context
	if got := distance(encode(), before); got == 0 {
		t.Error("context at a masked position changed nothing")
	}
}

func (s suite) ensemble(t *testing.T) {
	images, text := testImages(9), s.texts(t)
	scores, embeddings, err := s.client.EmbedAndScore(t.Context(), s.enc, s.checkpoint, text, images)
	if err != nil {
		t.Fatalf("EmbedAndScore: %v", err)
	}
	if len(scores) != len(images) || len(embeddings) != len(images) {
		t.Fatalf("%d scores and %d embeddings, want %d of each", len(scores), len(embeddings), len(images))
	}
	for i := range images {
		e := s.embed(t, images[i])
		wantEmbedding(t, embeddings[i], e, embeddingTolerance)
		alone, err := s.client.Score(t.Context(), s.enc, s.checkpoint, text, []quality.Embedding{e})
		if err != nil {
			t.Fatalf("Score: %v", err)
		}
		s.wantScore(t, scores[i], alone[0])
		for k := range text {
			want := dot(text[k], embeddings[i])
			if got := float64(scores[i].Similarity[k]); math.Abs(got-want) > similarityTolerance {
				t.Errorf("image %d: similarity[%d] = %g, want the cosine %g", i, k, got, want)
			}
		}
	}
}

func (s suite) headsInBatches(t *testing.T) {
	text := s.texts(t)
	embeddings, err := s.client.EncodeImages(t.Context(), s.enc, testImages(9))
	if err != nil {
		t.Fatalf("EncodeImages: %v", err)
	}
	together, err := s.client.Score(t.Context(), s.enc, s.checkpoint, text, embeddings)
	if err != nil {
		t.Fatalf("Score: %v", err)
	}
	for i, e := range embeddings {
		alone, err := s.client.Score(t.Context(), s.enc, s.checkpoint, text, []quality.Embedding{e})
		if err != nil {
			t.Fatalf("Score of embedding %d: %v", i, err)
		}
		s.wantScore(t, together[i], alone[0])
	}
}

func (s suite) panelDescribes(t *testing.T) {
	if err := s.client.CheckPanelEverywhere(t.Context(), s.enc, s.panel); err != nil {
		t.Errorf("CheckPanelEverywhere: %v", err)
	}
	other := s.enc
	other.Digest = quality.DigestOf([]byte("another encoder"))
	wantKind(t, s.client.CheckPanelEverywhere(t.Context(), other, s.panel), quality.KindEncoderMismatch)
	gone := s.panel
	gone.ID = quality.DigestOf([]byte("a panel that nobody loaded"))
	wantKind(t, s.client.CheckPanelEverywhere(t.Context(), s.enc, gone), quality.KindModelUnavailable)
	_, err := s.client.ScorePanel(t.Context(), s.enc, gone, []quality.Embedding{s.embed(t, testImages(1)[0])})
	wantKind(t, err, quality.KindModelUnavailable)
	wider := s.panel
	wider.Checkpoints = append(slices.Clone(wider.Checkpoints), s.checkpoint)
	wantKind(t, s.client.CheckPanelEverywhere(t.Context(), s.enc, wider), quality.KindModelBadOutput)
}

// panelIsItsHeads scores more images than the model takes at once, and each
// alone, and by every head.
func (s suite) panelIsItsHeads(t *testing.T) {
	embeddings, err := s.client.EncodeImages(t.Context(), s.enc, testImages(9))
	if err != nil {
		t.Fatalf("EncodeImages: %v", err)
	}
	together, err := s.client.ScorePanel(t.Context(), s.enc, s.panel, embeddings)
	if err != nil || len(together) != len(embeddings) {
		t.Fatalf("ScorePanel: %d rows (%v), want %d", len(together), err, len(embeddings))
	}
	for i, e := range embeddings {
		alone, err := s.client.ScorePanel(t.Context(), s.enc, s.panel, []quality.Embedding{e})
		if err != nil {
			t.Fatalf("ScorePanel of embedding %d: %v", i, err)
		}
		for k := range s.panel.Checkpoints {
			s.wantScore(t, together[i][k], alone[0][k])
		}
	}
	for k, c := range s.panel.Checkpoints {
		byHead, err := s.client.Score(t.Context(), s.enc, c, s.panelTexts[k], embeddings)
		if err != nil {
			t.Fatalf("Score by %s: %v", c.Name, err)
		}
		for i := range byHead {
			if d := math.Abs(float64(together[i][k].Score) - float64(byHead[i].Score)); d > panelTolerance {
				t.Errorf("image %d: %s scores %g in the panel, %g by its head", i, c.Name, together[i][k].Score, byHead[i].Score)
			}
			for j := range byHead[i].Similarity {
				if d := math.Abs(float64(together[i][k].Similarity[j]) - float64(byHead[i].Similarity[j])); d > panelTolerance {
					t.Errorf("image %d: similarity[%d] to %s is %g in the panel, %g by its head", i, j, c.Name,
						together[i][k].Similarity[j], byHead[i].Similarity[j])
				}
			}
		}
	}
}

// concurrent asks for different images at once, which a server may batch
// together, and checks that nobody gets another's answer.
func (s suite) concurrent(t *testing.T) {
	const callers, rounds = 8, 3
	images := testImages(callers)
	want := make([]quality.Embedding, callers)
	for i := range images {
		want[i] = s.embed(t, images[i])
	}
	var wg sync.WaitGroup
	for i := range images {
		wg.Go(func() {
			for range rounds {
				got, err := s.client.EncodeImages(t.Context(), s.enc, images[i:i+1])
				if err != nil {
					t.Errorf("caller %d: %v", i, err)
					return
				}
				wantEmbedding(t, got[0], want[i], embeddingTolerance)
			}
		})
	}
	wg.Wait()
}

func (s suite) noTime(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := s.client.EncodeImages(ctx, s.enc, testImages(1))
	wantKind(t, err, quality.KindDeadlineExceeded)
}

func (s suite) callerGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.client.EncodeImages(ctx, s.enc, testImages(1))
	wantKind(t, err, quality.KindClientClosedRequest)
	if _, err := s.client.EncodeImages(t.Context(), s.enc, testImages(1)); err != nil {
		t.Errorf("the next caller: %v", err)
	}
}

func (s suite) statistics(t *testing.T) {
	before := s.items(t)
	if _, err := s.client.Score(t.Context(), s.enc, s.checkpoint, s.texts(t),
		[]quality.Embedding{s.embed(t, testImages(1)[0])}); err != nil {
		t.Fatalf("Score: %v", err)
	}
	// Triton counts a request after it has sent the answer.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for s.items(t) <= before {
		if ctx.Err() != nil {
			t.Fatalf("items scored: still %d, want more", before)
		}
	}
}

func (s suite) items(t *testing.T) uint64 {
	t.Helper()
	all, err := s.client.Statistics(t.Context(), s.checkpoint.HeadModel())
	if err != nil {
		t.Fatalf("Statistics: %v", err)
	}
	var n uint64
	for _, m := range all {
		if m.Model != s.checkpoint.HeadModel() {
			t.Errorf("statistics of model %s, want %s only", m.Model, s.checkpoint.HeadModel())
		}
		n += m.Items
	}
	return n
}

func (s suite) index(t *testing.T) {
	models, err := s.client.Index(t.Context())
	if err != nil {
		t.Fatalf("Index: %v", err)
	}
	for _, want := range []string{s.checkpoint.HeadModel(), s.checkpoint.EnsembleModel()} {
		if !slices.ContainsFunc(models, func(m tritonclient.ModelState) bool { return m.Name == want && m.Ready() }) {
			t.Errorf("index %v has no ready %s", models, want)
		}
	}
}

// texts encodes six prompts: any will do, as long as they came from the
// encoder.
func (s suite) texts(t *testing.T) quality.TextEmbeddings {
	t.Helper()
	es, err := s.client.EncodePrompts(t.Context(), s.enc, testPrompts(s.enc, quality.CategoryCount))
	if err != nil {
		t.Fatalf("EncodePrompts: %v", err)
	}
	return quality.TextEmbeddings(es)
}

func (s suite) embed(t *testing.T, image quality.Pixels) quality.Embedding {
	t.Helper()
	es, err := s.client.EncodeImages(t.Context(), s.enc, []quality.Pixels{image})
	if err != nil {
		t.Fatalf("EncodeImages: %v", err)
	}
	return es[0]
}

func (s suite) wantScore(t *testing.T, got, want quality.HeadScore) {
	t.Helper()
	width := s.checkpoint.Score.Max - s.checkpoint.Score.Min
	if d := math.Abs(float64(got.Score) - float64(want.Score)); d > scoreTolerance*width {
		t.Errorf("score %g, want %g within %g", got.Score, want.Score, scoreTolerance*width)
	}
	for k := range want.Similarity {
		if d := math.Abs(float64(got.Similarity[k]) - float64(want.Similarity[k])); d > similarityTolerance {
			t.Errorf("similarity[%d] = %g, want %g", k, got.Similarity[k], want.Similarity[k])
		}
	}
}

func wantKind(t *testing.T, err error, want quality.Kind) {
	t.Helper()
	if err == nil || quality.KindOf(err) != want {
		t.Errorf("error %v, want kind %s", err, want)
	}
	if e, ok := errors.AsType[*quality.Error](err); ok && e.Detail == "" {
		t.Errorf("error %v has nothing to say to the caller", err)
	}
}

func wantEmbedding(t *testing.T, got, want quality.Embedding, tolerance float64) {
	t.Helper()
	if err := got.CheckUnit(len(want)); err != nil {
		t.Error(err)
		return
	}
	if d := distance(got, want); d > tolerance {
		t.Errorf("embeddings differ by up to %g, want at most %g", d, tolerance)
	}
}

// distance is the largest difference between two numbers.
func distance(a, b quality.Embedding) float64 {
	var most float64
	for i := range a {
		most = max(most, math.Abs(float64(a[i])-float64(b[i])))
	}
	return most
}

func dot(a, b quality.Embedding) float64 {
	var sum float64
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}
