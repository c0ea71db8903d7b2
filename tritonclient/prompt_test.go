package tritonclient_test

import (
	"testing"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// TestScoreWithPrompts scores more rows than the head takes at once: each with
// its own prompt.
func TestScoreWithPrompts(t *testing.T) {
	cp, enc := tritontest.Checkpoint("aware"), tritontest.Encoder()
	cp.Prompt = true
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, nil, s)
	if err := c.CheckCheckpoint(t.Context(), enc, cp); err != nil {
		t.Errorf("check: %v", err)
	}
	text := tritontest.Texts(enc)
	var images, prompts []quality.Embedding
	for i := range 11 {
		images = append(images, tritontest.ImageEmbedding(enc, tritontest.Image(i)))
		prompts = append(prompts, text[i%len(text)])
	}
	got, err := c.ScoreWithPrompts(t.Context(), tritontest.Encoder(), cp, text, images, prompts)
	if err != nil || len(got) != len(images) {
		t.Fatalf("%d scores, %v", len(got), err)
	}
	for i := range got {
		if want := tritontest.PromptHeadScore(cp, text, images[i], prompts[i]); got[i] != want {
			t.Errorf("row %d: %+v, want %+v", i, got[i], want)
		}
	}
	if n := s.Calls(cp.HeadModel()); n != 2 {
		t.Errorf("%d calls for 11 rows of a head that takes 8, want 2", n)
	}
	everywhere, err := c.ScoreEverywhere(t.Context(), tritontest.Encoder(), cp, text, images[:1], prompts[:1])
	if err != nil || everywhere[s.Addr()][0] != got[0] {
		t.Errorf("everywhere: %v, %v", everywhere, err)
	}
}

// TestPromptsMustFit: nothing is sent where prompts and images disagree.
func TestPromptsMustFit(t *testing.T) {
	aware, plain := tritontest.Checkpoint("aware"), tritontest.Checkpoint("plain")
	aware.Prompt = true
	s := tritontest.New(t, tritontest.WithCheckpoints(aware, plain))
	c := newClient(t, nil, s)
	enc := tritontest.Encoder()
	text := tritontest.Texts(enc)
	image := []quality.Embedding{tritontest.ImageEmbedding(enc, tritontest.Image(0))}
	for name, call := range map[string]func() ([]quality.HeadScore, error){
		"no prompt": func() ([]quality.HeadScore, error) {
			return c.Score(t.Context(), tritontest.Encoder(), aware, text, image)
		},
		"a prompt that is unused": func() ([]quality.HeadScore, error) {
			return c.ScoreWithPrompts(t.Context(), tritontest.Encoder(), plain, text, image, image)
		},
		"two prompts for one image": func() ([]quality.HeadScore, error) {
			return c.ScoreWithPrompts(t.Context(), tritontest.Encoder(), aware, text, image, text[:2])
		},
		"a prompt that is no unit vector": func() ([]quality.HeadScore, error) {
			return c.ScoreWithPrompts(t.Context(), tritontest.Encoder(), aware, text, image,
				[]quality.Embedding{make(quality.Embedding, enc.Dim)})
		},
	} {
		if got, err := call(); err == nil {
			t.Errorf("%s: %v, want an error", name, got)
		}
	}
	if n := s.Calls(aware.HeadModel()) + s.Calls(plain.HeadModel()); n != 0 {
		t.Errorf("%d calls, want none", n)
	}
}

// TestCheckPromptInput: a head without the input is not the checkpoint's.
func TestCheckPromptInput(t *testing.T) {
	cp := tritontest.Checkpoint("aware")
	cp.Prompt = true
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	s.EditConfig(cp.HeadModel(), func(c *pb.ModelConfig) { c.Input = c.Input[:2] })
	err := newClient(t, nil, s).CheckCheckpoint(t.Context(), tritontest.Encoder(), cp)
	wantError(t, err, quality.KindModelBadOutput, cp.HeadModel())
}
