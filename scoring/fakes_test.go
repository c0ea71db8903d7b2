package scoring_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// fakePreparer takes "good..." for an image and everything else for a fault.
type fakePreparer struct {
	prepare func(ctx context.Context, data []byte) error
	mu      sync.Mutex
	decoded int
}

func (p *fakePreparer) ID(mode quality.PreprocessMode) quality.PreprocessID {
	if mode == quality.Fast {
		return "test-fast/1"
	}
	return "test/1"
}

func (p *fakePreparer) Inspect(data []byte) (imageprep.Inspected, error) {
	if !strings.HasPrefix(string(data), "good") {
		return imageprep.Inspected{}, quality.Errorf(quality.KindUnsupportedImageFormat, "not an image")
	}
	return imageprep.Inspected{Data: data, Info: quality.ImageInfo{Digest: quality.DigestOf(data), Format: "png", Width: 3, Height: 2}}, nil
}

func (p *fakePreparer) PrepareInspected(ctx context.Context, in imageprep.Inspected, _ quality.PreprocessMode) (quality.Image, error) {
	data := in.Data
	p.mu.Lock()
	p.decoded++
	p.mu.Unlock()
	if p.prepare != nil {
		if err := p.prepare(ctx, data); err != nil {
			return quality.Image{}, err
		}
	}
	pixels := make([]byte, quality.PixelsLen)
	pixels[0] = data[len(data)-1]
	px, err := quality.NewPixels(pixels)
	return quality.Image{Info: in.Info, Pixels: px, Decoder: "fake 1.0"}, err
}

// fakeTriton gives an image the embedding (first pixel, 0) and the score
// first pixel + number of the checkpoint's digest.
type fakeTriton struct {
	fail  func(model string) error
	mu    sync.Mutex
	calls []string
}

func (f *fakeTriton) call(model string, n int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, model+strings.Repeat("+", n))
	if f.fail != nil {
		return f.fail(model)
	}
	return nil
}

func (f *fakeTriton) EncodeImages(_ context.Context, images []quality.Pixels) ([]quality.Embedding, error) {
	if err := f.call("encoder", len(images)); err != nil {
		return nil, err
	}
	return embed(images), nil
}

func embed(images []quality.Pixels) []quality.Embedding {
	out := make([]quality.Embedding, len(images))
	for i, p := range images {
		out[i] = quality.Embedding{float32(p.Bytes()[0]), 0}
	}
	return out
}

func judgeAll(c quality.Checkpoint, embeddings []quality.Embedding) []quality.Judgement {
	out := make([]quality.Judgement, len(embeddings))
	for i, e := range embeddings {
		out[i].Score = e[0] + 1000*float32(c.Digest[0])
	}
	return out
}

func (f *fakeTriton) Judge(_ context.Context, c quality.Checkpoint, _ quality.TextEmbeddings, images []quality.Embedding) ([]quality.Judgement, error) {
	if err := f.call("head "+c.Name+" ", len(images)); err != nil {
		return nil, err
	}
	return judgeAll(c, images), nil
}

func (f *fakeTriton) EmbedAndJudge(_ context.Context, c quality.Checkpoint, _ quality.TextEmbeddings, images []quality.Pixels) ([]quality.Judgement, []quality.Embedding, error) {
	if err := f.call("ensemble "+c.Name+" ", len(images)); err != nil {
		return nil, nil, err
	}
	embeddings := embed(images)
	return judgeAll(c, embeddings), embeddings, nil
}

type fakeCache struct {
	mu sync.Mutex
	m  map[quality.EmbeddingKey]quality.Embedding
}

func (c *fakeCache) Lookup(_ context.Context, k quality.EmbeddingKey) (quality.Embedding, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.m[k]
	return e, ok
}

func (c *fakeCache) Store(_ context.Context, k quality.EmbeddingKey, e quality.Embedding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m[k] = e
}

type textsFunc func(ctx context.Context, c quality.Checkpoint) (quality.TextEmbeddings, bool, error)

func (f textsFunc) TextEmbeddings(ctx context.Context, c quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
	return f(ctx, c)
}

var encoder = quality.Encoder{Name: "enc", Digest: quality.DigestOf([]byte("enc")), Dim: 2, TextWidth: 4, ContextLength: 77}

func checkpointOf(name string, n byte) quality.Checkpoint {
	return quality.Checkpoint{Name: name, Digest: quality.Digest{n}, Encoder: encoder.Digest}
}

// bench is a service with everything faked.
type bench struct {
	service  *scoring.Service
	preparer *fakePreparer
	triton   *fakeTriton
	cache    *fakeCache
	texts    textsFunc
}

func newBench(t *testing.T, cfg scoring.Config) *bench {
	t.Helper()
	b := &bench{
		preparer: &fakePreparer{}, triton: &fakeTriton{},
		cache: &fakeCache{m: map[quality.EmbeddingKey]quality.Embedding{}},
		texts: func(context.Context, quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
			return quality.TextEmbeddings{}, true, nil
		},
	}
	service, err := scoring.New(cfg, scoring.Deps{
		Preparer: b.preparer, Triton: b.triton,
		Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.service = service
	service.Use(&scoring.Models{Encoder: encoder, Embeddings: b.cache, Texts: textsFunc(
		func(ctx context.Context, c quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
			return b.texts(ctx, c)
		})})
	return b
}

func items(data ...string) []scoring.Item {
	var out []scoring.Item
	for _, d := range data {
		out = append(out, scoring.Item{ID: d, Data: []byte(d)})
	}
	return out
}
