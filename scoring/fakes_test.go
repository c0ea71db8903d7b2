package scoring_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// fakePreparer takes "good..." for an image, "good large..." for one of 25
// megapixels, and everything else for a fault.
type fakePreparer struct {
	prepare func(ctx context.Context, data []byte) error
	width   int // of every image; 0: 3
	height  int // likewise; 0: 2
	mu      sync.Mutex
	decoded int
}

func (p *fakePreparer) ID(mode quality.PreprocessMode, recipe quality.Recipe) quality.PreprocessID {
	id := quality.PreprocessID("test/1")
	if mode == quality.Fast {
		id = "test-fast/1"
	}
	if recipe == quality.Pillow13 {
		id += "+13"
	}
	return id
}

func (p *fakePreparer) Inspect(data []byte) (imageprep.Inspected, error) {
	if !strings.HasPrefix(string(data), "good") {
		return imageprep.Inspected{}, quality.Errorf(quality.KindUnsupportedImageFormat, "not an image")
	}
	w, h := 3, 2
	switch {
	case strings.HasPrefix(string(data), "good large"):
		w, h = 5000, 5000
	case p.width > 0:
		w, h = p.width, p.height
	}
	return imageprep.Inspected{Data: data,
		Info: quality.ImageInfo{Digest: quality.DigestOf(data), Format: "png", Width: w, Height: h}}, nil
}

func (p *fakePreparer) DecodeMemory(in imageprep.Inspected) int64 {
	return 3 * int64(in.Info.Width) * int64(in.Info.Height)
}

func (p *fakePreparer) DecodeBudget() int64 { return 1 << 30 }

// PrepareViews gives each view its image's last byte as the first pixel, with
// the view's size in units of 224 and its cell in the next two.
func (p *fakePreparer) PrepareViews(ctx context.Context, in imageprep.Inspected, _ quality.PreprocessMode,
	views []quality.View) (imageprep.Prepared, error) {
	data := in.Data
	p.mu.Lock()
	p.decoded++
	p.mu.Unlock()
	if p.prepare != nil {
		if err := p.prepare(ctx, data); err != nil {
			return imageprep.Prepared{}, err
		}
	}
	out := imageprep.Prepared{Decoder: "fake 1.0"}
	for _, v := range views {
		pixels := make([]byte, quality.PixelsLen)
		row, column := v.Cell()
		pixels[0], pixels[1], pixels[2] = data[len(data)-1], byte(v.Size()/quality.ImageSize), byte(16*row+column)
		px, err := quality.NewPixels(pixels)
		if err != nil {
			return imageprep.Prepared{}, err
		}
		out.Views = append(out.Views, px)
	}
	return out, nil
}

// fakeTriton gives a row the embedding (first pixel + what viewValue says of the
// view, 0), and the score is its first number + 1000 times that of the
// checkpoint's digest.
type fakeTriton struct {
	fail   func(model string) error
	spoil  func(rows [][]quality.HeadScore)              // of a panel
	gone   error                                         // what Available says
	late   error                                         // after that time
	takes  time.Duration                                 // every ensemble call
	poison byte                                          // first pixel of the image that breaks the ensemble; 0: none
	meet   func(context.Context, []quality.Pixels) error // what images do to the server
	mu     sync.Mutex
	calls  []string
}

func (f *fakeTriton) Available() error { return f.gone }

func (f *fakeTriton) call(model string, n int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, model+strings.Repeat("+", n))
	if f.fail != nil {
		return f.fail(model)
	}
	return nil
}

// of refuses calls for another encoder than the service was told to use.
func (f *fakeTriton) of(e quality.Encoder) error {
	if e != encoder {
		return fmt.Errorf("a call for encoder %+v, want %+v", e, encoder)
	}
	return nil
}

func (f *fakeTriton) EncodeImages(
	ctx context.Context, e quality.Encoder, images []quality.Pixels,
) ([]quality.Embedding, error) {
	if err := f.of(e); err != nil {
		return nil, err
	}
	if err := f.call("encoder", len(images)); err != nil {
		return nil, err
	}
	if f.meet != nil {
		if err := f.meet(ctx, images); err != nil {
			return nil, err
		}
	}
	return embed(images), nil
}

func embed(images []quality.Pixels) []quality.Embedding {
	out := make([]quality.Embedding, len(images))
	for i, p := range images {
		b := p.Bytes()
		out[i] = quality.Embedding{float32(b[0]) + 10*(float32(b[1])-1) + float32(b[2]), 0}
	}
	return out
}

func scoreAll(c quality.Checkpoint, embeddings []quality.Embedding) []quality.HeadScore {
	out := make([]quality.HeadScore, len(embeddings))
	for i, e := range embeddings {
		out[i].Score = e[0] + 1000*float32(c.Digest[0])
	}
	return out
}

func (f *fakeTriton) Score(_ context.Context, e quality.Encoder, c quality.Checkpoint, _ quality.TextEmbeddings,
	images []quality.Embedding) ([]quality.HeadScore, error) {
	if err := f.of(e); err != nil {
		return nil, err
	}
	if err := f.call("head "+c.Name+" ", len(images)); err != nil {
		return nil, err
	}
	return scoreAll(c, images), nil
}

// ScoreWithPrompts adds the first number of the prompt's embedding to the score
// of Score.
func (f *fakeTriton) ScoreWithPrompts(_ context.Context, e quality.Encoder, c quality.Checkpoint,
	_ quality.TextEmbeddings, images, prompts []quality.Embedding) ([]quality.HeadScore, error) {
	if err := f.of(e); err != nil {
		return nil, err
	}
	if err := f.call("prompted "+c.Name+" ", len(images)); err != nil {
		return nil, err
	}
	out := scoreAll(c, images)
	for i := range out {
		out[i].Score += prompts[i][0]
	}
	return out, nil
}

func (f *fakeTriton) ScorePanel(_ context.Context, e quality.Encoder, p quality.Panel,
	images []quality.Embedding) ([][]quality.HeadScore, error) {
	if err := f.of(e); err != nil {
		return nil, err
	}
	name := "panel "
	for _, c := range p.Checkpoints {
		name += c.Name
	}
	if err := f.call(name+" ", len(images)); err != nil {
		return nil, err
	}
	rows := make([][]quality.HeadScore, len(images))
	for _, c := range p.Checkpoints {
		for i, j := range scoreAll(c, images) {
			rows[i] = append(rows[i], j)
		}
	}
	if f.spoil != nil {
		f.spoil(rows)
	}
	return rows, nil
}

func (f *fakeTriton) EmbedAndScore(ctx context.Context, e quality.Encoder,
	c quality.Checkpoint, _ quality.TextEmbeddings,
	images []quality.Pixels) ([]quality.HeadScore, []quality.Embedding, error) {
	if err := f.of(e); err != nil {
		return nil, nil, err
	}
	if err := f.call("ensemble "+c.Name+" ", len(images)); err != nil {
		return nil, nil, err
	}
	if f.takes > 0 {
		select {
		case <-time.After(f.takes):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	if f.late != nil {
		return nil, nil, f.late
	}
	if f.meet != nil {
		if err := f.meet(ctx, images); err != nil {
			return nil, nil, err
		}
	}
	for _, p := range images {
		if f.poison != 0 && p.Bytes()[0] == f.poison {
			return nil, nil, quality.Errorf(quality.KindModelUnavailable, "failed").Because(modelBroke{})
		}
	}
	embeddings := embed(images)
	return scoreAll(c, embeddings), embeddings, nil
}

// fakePanels has one panel, which covers its subsets.
type fakePanels struct {
	panel  quality.Panel
	mu     sync.Mutex
	failed []error
}

func (p *fakePanels) Cover(cs []quality.Checkpoint) (quality.Panel, bool) {
	for _, c := range cs {
		if _, ok := p.panel.Column(c.Digest); !ok {
			return quality.Panel{}, false
		}
	}
	return p.panel, true
}

func (p *fakePanels) Failed(_ quality.Panel, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = append(p.failed, err)
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

// promptsFunc gives the embedding of a prompt.
type promptsFunc func(ctx context.Context, prompt string) (quality.Embedding, bool, error)

func (f promptsFunc) PromptEmbedding(ctx context.Context, prompt string) (quality.Embedding, bool, error) {
	return f(ctx, prompt)
}

var encoder = quality.Encoder{Name: "enc", Digest: quality.DigestOf([]byte("enc")), Dim: 2,
	TextWidth: 4, ContextLength: 77, TextCapability: quality.TextGeneral}

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
	models   scoring.Models
}

// usePanel makes requests find the panel of checkpoints ready.
func (b *bench) usePanel(t *testing.T, checkpoints ...quality.Checkpoint) *fakePanels {
	t.Helper()
	p, err := quality.NewPanel("test/1", checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	panels := &fakePanels{panel: p}
	with := b.models
	with.Panels = panels
	b.service.Use(&with)
	return panels
}

func newBench(t *testing.T, cfg scoring.Config) *bench {
	t.Helper()
	return newBenchWith(t, cfg, metricnoop.NewMeterProvider())
}

func newBenchWith(t *testing.T, cfg scoring.Config, meter metric.MeterProvider) *bench {
	t.Helper()
	return newBenchTraced(t, cfg, meter, tracenoop.NewTracerProvider())
}

func newBenchTraced(t *testing.T, cfg scoring.Config, meter metric.MeterProvider, tracer trace.TracerProvider) *bench {
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
		Tracer: tracer, Meter: meter,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.service = service
	b.models = scoring.Models{Encoder: encoder, Embeddings: b.cache, Texts: textsFunc(
		func(ctx context.Context, c quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
			return b.texts(ctx, c)
		})}
	service.Use(&b.models)
	return b
}

func items(data ...string) []scoring.Item {
	var out []scoring.Item
	for _, d := range data {
		out = append(out, scoring.Item{ID: d, Data: []byte(d)})
	}
	return out
}
