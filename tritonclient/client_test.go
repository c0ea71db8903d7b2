package tritonclient_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// newClient returns a client of the servers that closes with the test.
func newClient(t *testing.T, edit func(*tritonclient.Config), servers ...*tritontest.Server) *tritonclient.Client {
	t.Helper()
	cfg := servers[0].Config()
	cfg.Addresses = nil
	for _, s := range servers {
		cfg.Addresses = append(cfg.Addresses, s.Addr())
	}
	if edit != nil {
		edit(&cfg)
	}
	c, err := tritonclient.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// wantError checks kind, and that the caller is told something, but no
// address and none of Triton's own words.
func wantError(t *testing.T, err error, kind quality.Kind, detail string) {
	t.Helper()
	e, ok := errors.AsType[*quality.Error](err)
	if !ok || e.Kind != kind {
		t.Fatalf("error %v, want kind %s", err, kind)
	}
	if !strings.Contains(e.Detail, detail) {
		t.Errorf("detail %q does not say %q", e.Detail, detail)
	}
	if strings.Contains(e.Detail, "127.0.0.") || strings.Contains(e.Detail, "rpc error") {
		t.Errorf("detail %q is not for strangers", e.Detail)
	}
}

func images(n int) []quality.Pixels {
	out := make([]quality.Pixels, n)
	for i := range out {
		out[i] = tritontest.Image(i)
	}
	return out
}

// wantConnected waits until the client has, or has lost, its connection to
// the i-th server.
func wantConnected(t *testing.T, c *tritonclient.Client, i int, want bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if !c.WaitConnected(ctx, i, want) {
		t.Fatalf("server %d: connected is not %v after a minute", i, want)
	}
}

func TestAnswersAreTheModels(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, nil, s)
	enc := tritontest.Encoder()

	prompts := tritontest.Prompts(enc)
	texts, err := c.EncodePrompts(t.Context(), tritontest.Encoder(), prompts)
	if err != nil {
		t.Fatalf("EncodePrompts: %v", err)
	}
	if diff := cmp.Diff(tritontest.TextEmbeddings(enc, prompts), texts); diff != "" {
		t.Errorf("EncodePrompts (-want +got):\n%s", diff)
	}
	text := quality.TextEmbeddings(texts)

	in := images(3)
	wantImages := make([]quality.Embedding, len(in))
	wantScores := make([]quality.HeadScore, len(in))
	for i, p := range in {
		wantImages[i] = tritontest.ImageEmbedding(enc, p)
		wantScores[i] = tritontest.HeadScore(cp, text, wantImages[i])
	}
	scores, embeddings, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp, text, in)
	if err != nil {
		t.Fatalf("EmbedAndScore: %v", err)
	}
	if diff := cmp.Diff(wantImages, embeddings); diff != "" {
		t.Errorf("EmbedAndScore, embeddings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantScores, scores); diff != "" {
		t.Errorf("EmbedAndScore, scores (-want +got):\n%s", diff)
	}
	alone, err := c.Score(t.Context(), tritontest.Encoder(), cp, text, wantImages)
	if err != nil {
		t.Fatalf("Score: %v", err)
	}
	if diff := cmp.Diff(wantScores, alone); diff != "" {
		t.Errorf("Score (-want +got):\n%s", diff)
	}
	if got := s.Calls(cp.EnsembleModel()); got != 1 {
		t.Errorf("%d calls of the ensemble, want 1", got)
	}
	if got := s.Calls(tritontest.ImageEncoder); got != 0 {
		t.Errorf("%d calls of the image encoder beside the ensemble, want 0", got)
	}
}

func TestNothingInNothingOut(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, nil, s)
	text := tritontest.Texts(tritontest.Encoder())
	if got, err := c.EncodeImages(t.Context(), tritontest.Encoder(), nil); len(got) != 0 || err != nil {
		t.Errorf("EncodeImages of none = %v, %v", got, err)
	}
	if got, err := c.Score(t.Context(), tritontest.Encoder(), cp, text, nil); len(got) != 0 || err != nil {
		t.Errorf("Score of none = %v, %v", got, err)
	}
	if js, es, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp, text, nil); len(js)+len(es) != 0 ||
		err != nil {
		t.Errorf("EmbedAndScore of none = %v, %v, %v", js, es, err)
	}
	if got := s.Calls(cp.EnsembleModel()) + s.Calls(cp.HeadModel()) + s.Calls(tritontest.ImageEncoder); got != 0 {
		t.Errorf("%d calls, want 0", got)
	}
}

// Wrong arguments must not reach Triton.
func TestRefusesWrongArguments(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, nil, s)
	enc := tritontest.Encoder()
	text := tritontest.Texts(enc)
	embedding := tritontest.ImageEmbedding(enc, tritontest.Image(0))
	foreign := cp
	foreign.Encoder = quality.DigestOf([]byte("another"))
	shortText := text
	shortText[3] = text[3][:4]
	wide := tritontest.Prompts(quality.Encoder{Dim: 8, TextWidth: 5, ContextLength: 77})

	for _, test := range []struct {
		name string
		call func() error
		want string
	}{
		{"pixels never set", func() error {
			_, err := c.EncodeImages(t.Context(), tritontest.Encoder(), []quality.Pixels{tritontest.Image(0), {}})
			return err
		}, "image 1 has 0 bytes"},
		{"checkpoint of another encoder", func() error {
			_, err := c.Score(t.Context(), tritontest.Encoder(), foreign, text, []quality.Embedding{embedding})
			return err
		}, "encoder_mismatch"},
		{"ensemble of another encoder", func() error {
			_, _, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), foreign, text, images(1))
			return err
		}, "encoder_mismatch"},
		{"text of another dimension", func() error {
			_, err := c.Score(t.Context(), tritontest.Encoder(), cp, shortText, []quality.Embedding{embedding})
			return err
		}, "text embedding 3"},
		{"image of another dimension", func() error {
			_, err := c.Score(t.Context(), tritontest.Encoder(), cp, text, []quality.Embedding{embedding, embedding[:7]})
			return err
		}, "image embedding 1"},
		{"prompts of another width", func() error {
			_, err := c.EncodePrompts(t.Context(), tritontest.Encoder(), wide)
			return err
		}, "encoder_mismatch"},
		{"prompts that do not add up", func() error {
			_, err := c.EncodePrompts(t.Context(), tritontest.Encoder(), quality.Prompts{N: 6, L: 77, W: 4})
			return err
		}, "token ids"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.call(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
		})
	}
	for _, m := range []string{cp.EnsembleModel(), cp.HeadModel(), tritontest.ImageEncoder, tritontest.TextEncoder} {
		if got := s.Calls(m); got != 0 {
			t.Errorf("%d calls of %s, want 0", got, m)
		}
	}
}

func TestSplitsIntoBatches(t *testing.T) {
	for _, test := range []struct {
		name     string
		model    int // max_batch_size
		edit     func(*tritonclient.Config)
		images   int
		requests int
	}{
		{"one fits", 4, nil, 1, 1},
		{"all fit", 4, nil, 4, 1},
		{"one over", 4, nil, 5, 2},
		{"three times", 3, nil, 9, 3},
		{"configured below the model's", 8, func(c *tritonclient.Config) { c.MaxBatch = 2 }, 5, 3},
		{"bounded by the message", 8, func(c *tritonclient.Config) { c.MaxMessageBytes = 500_000 }, 7, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := tritontest.New(t, tritontest.WithMaxBatch(test.model))
			c := newClient(t, test.edit, s)
			in := images(test.images)
			got, err := c.EncodeImages(t.Context(), tritontest.Encoder(), in)
			if err != nil {
				t.Fatalf("EncodeImages: %v", err)
			}
			var want []quality.Embedding
			for _, p := range in {
				want = append(want, tritontest.ImageEmbedding(tritontest.Encoder(), p))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("embeddings (-want +got):\n%s", diff)
			}
			if got := s.Calls(tritontest.ImageEncoder); got != test.requests {
				t.Errorf("%d requests, want %d", got, test.requests)
			}
		})
	}
}

// A model that nobody described is asked for its limit before the first batch,
// and not again.
func TestLearnsTheLimitOfAHead(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp), tritontest.WithMaxBatch(2))
	questions := 0
	c := newClient(t, func(cfg *tritonclient.Config) {
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithUnaryInterceptor(
			func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker,
				opts ...grpc.CallOption) error {
				if r, ok := req.(*pb.ModelConfigRequest); ok && r.GetName() == cp.HeadModel() {
					questions++
				}
				return call(ctx, method, req, reply, cc, opts...)
			}))
	}, s)
	enc := tritontest.Encoder()
	embeddings := make([]quality.Embedding, 5)
	for i := range embeddings {
		embeddings[i] = tritontest.ImageEmbedding(enc, tritontest.Image(i))
	}
	for range 2 {
		if _, err := c.Score(t.Context(), tritontest.Encoder(), cp, tritontest.Texts(enc), embeddings); err != nil {
			t.Fatalf("Score: %v", err)
		}
	}
	if got := s.Calls(cp.HeadModel()); got != 6 {
		t.Errorf("%d requests for twice 5 embeddings, 2 at a time, want 6", got)
	}
	if questions != 1 {
		t.Errorf("asked %d times for the limit, want once", questions)
	}
}

func TestCloseIsRepeatableAndFinal(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, nil, s)
	if _, err := c.Describe(t.Context()); err != nil {
		t.Fatalf("Describe: %v", err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	_, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1))
	wantError(t, err, quality.KindDraining, "shutting down")
}

// Close answers whoever waits: those whose server replies in time get the
// reply.
func TestCloseWaitsForInFlight(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, nil, s)
	release := s.Hold(tritontest.ImageEncoder)
	defer release()
	answer := make(chan error, 1)
	go func() {
		_, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1))
		answer <- err
	}()
	s.WaitCalls(tritontest.ImageEncoder, 1)
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	release()
	if err := <-answer; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
}

// A server that never answers cannot keep Close longer than RequestTimeout.
func TestCloseCutsOffWhatHangs(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, func(cfg *tritonclient.Config) { cfg.RequestTimeout = time.Second }, s)
	defer s.Hold(tritontest.ImageEncoder)()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	answer := make(chan error, 1)
	go func() {
		_, err := c.EncodeImages(ctx, tritontest.Encoder(), images(1))
		answer <- err
	}()
	s.WaitCalls(tritontest.ImageEncoder, 1)
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wantError(t, <-answer, quality.KindModelUnavailable, tritontest.ImageEncoder)
	if running, _ := c.InFlight(); running != 0 {
		t.Errorf("%d in flight after Close", running)
	}
}
