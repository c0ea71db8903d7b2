package scoring_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// usePrompts makes the embedding of a prompt hold its length, and counts calls.
// Prompts with "long" are too long, those with "down" find no text encoder.
func (b *bench) usePrompts() *atomic.Int32 {
	calls := &atomic.Int32{}
	with := b.models
	with.Prompts = promptsFunc(func(_ context.Context, prompt string) (quality.Embedding, bool, error) {
		calls.Add(1)
		switch {
		case strings.Contains(prompt, "long"):
			return nil, false, quality.Errorf(quality.KindPromptTooLong, "the text has 90 tokens")
		case strings.Contains(prompt, "down"):
			return nil, false, quality.Errorf(quality.KindModelUnavailable, "no text encoder")
		}
		return quality.Embedding{float32(len(prompt)) / 100, 0}, true, nil
	})
	b.models = with
	b.service.Use(&with)
	return calls
}

// prompted are pairs of an image and its prompt.
func prompted(pairs ...string) []scoring.Item {
	var out []scoring.Item
	for pair := range slices.Chunk(pairs, 2) {
		out = append(out, scoring.Item{ID: pair[0], Data: []byte(pair[0]), Prompt: pair[1]})
	}
	return out
}

func awareOf(name string, n byte) quality.Checkpoint {
	c := checkpointOf(name, n)
	c.Prompt = true
	return c
}

func TestPromptsOfPictures(t *testing.T) {
	aware, plain := awareOf("aware", 1), checkpointOf("plain", 2)
	for _, tc := range []struct {
		name        string
		items       []scoring.Item
		checkpoints []quality.Checkpoint
		calls       []string // in order of text
		asked       int32    // prompts
		scores      [][]float32
		kinds       []quality.Kind // of the first score of each item; nil: none fails
	}{
		{"each row has its picture's prompt", prompted("good1", "four", "good2", "sixsix"), []quality.Checkpoint{aware},
			[]string{"encoder++", "prompted aware ++"}, 2, [][]float32{{'1' + 1000.04}, {'2' + 1000.06}}, nil},
		{"one file, two prompts: encoded once", prompted("good1", "four", "good1", "sixsix"), []quality.Checkpoint{aware},
			[]string{"encoder+", "prompted aware ++"}, 2, [][]float32{{'1' + 1000.04}, {'1' + 1000.06}}, nil},
		{"one file, one prompt twice: scored once", prompted("good1", "four", "good1", "four"), []quality.Checkpoint{aware},
			[]string{"encoder+", "prompted aware +"}, 1, [][]float32{{'1' + 1000.04}, {'1' + 1000.04}}, nil},
		{"two files, one prompt: asked for once", prompted("good1", "four", "good2", "four"), []quality.Checkpoint{aware},
			[]string{"encoder++", "prompted aware ++"}, 1, [][]float32{{'1' + 1000.04}, {'2' + 1000.04}}, nil},
		{"beside a checkpoint that reads none", prompted("good1", "four"), []quality.Checkpoint{plain, aware},
			[]string{"encoder+", "head plain +", "prompted aware +"}, 1, [][]float32{{'1' + 2000, '1' + 1000.04}}, nil},
		{"a prompt that is too long is its image's fault", prompted("good1", "long", "good2", "four"),
			[]quality.Checkpoint{aware}, []string{"encoder++", "prompted aware +"}, 2,
			[][]float32{nil, {'2' + 1000.04}}, []quality.Kind{quality.KindPromptTooLong, ""}},
		{"an image at fault needs no prompt", append(prompted("good1", "four"), items("bad")...),
			[]quality.Checkpoint{aware}, nil, 0, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bench := newBench(t, scoring.DefaultConfig())
			asked := bench.usePrompts()
			if tc.scores == nil { // the item has its error before
				tc.items[1].Err = quality.Errorf(quality.KindBadRequest, "no data")
				tc.calls, tc.asked = []string{"encoder+", "prompted aware +"}, 1
				tc.scores, tc.kinds = [][]float32{{'1' + 1000.04}, nil}, []quality.Kind{"", quality.KindBadRequest}
			}
			got, err := bench.service.Score(t.Context(), scoring.Request{Items: tc.items, Checkpoints: tc.checkpoints})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(bench.triton.calls)
			if !slices.Equal(bench.triton.calls, tc.calls) || asked.Load() != tc.asked {
				t.Errorf("calls %v and %d prompts, want %v and %d", bench.triton.calls, asked.Load(), tc.calls, tc.asked)
			}
			for i, r := range got.Results {
				if tc.kinds != nil && tc.kinds[i] != "" {
					if quality.KindOf(r.Err) != tc.kinds[i] {
						t.Errorf("item %d: error %v, want %s", i, r.Err, tc.kinds[i])
					}
					continue
				}
				var scores []float32
				for _, s := range r.Scores {
					scores = append(scores, s.Score)
				}
				if r.Err != nil || !slices.Equal(scores, tc.scores[i]) {
					t.Errorf("item %d: scores %v (%v), want %v", i, scores, r.Err, tc.scores[i])
				}
			}
		})
	}
}

// TestPromptOfSeveralViews: every view of a picture has the picture's prompt.
func TestPromptOfSeveralViews(t *testing.T) {
	aware := awareOf("aware", 1)
	var err error
	if aware.Views, err = quality.ParseViews([]string{"224", "448/r0c1"}); err != nil {
		t.Fatal(err)
	}
	bench := newBench(t, scoring.DefaultConfig())
	asked := bench.usePrompts()
	got, err := bench.service.Score(t.Context(), scoring.Request{
		Items: prompted("good1", "four", "good2", "sixsix"), Checkpoints: []quality.Checkpoint{aware},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"encoder++++", "prompted aware ++++"}; !slices.Equal(bench.triton.calls, want) || asked.Load() != 2 {
		t.Errorf("calls %v and %d prompts, want %v and 2", bench.triton.calls, asked.Load(), want)
	}
	for i, want := range []float32{0.04, 0.06} {
		for _, v := range got.Results[i].Scores[0].Views {
			base := map[string]float32{"224": 0, "448/r0c1": 11}[v.View.String()] + 1000 + float32('1'+i)
			if v.Score != base+want {
				t.Errorf("image %d, view %s: %v, want %v", i, v.View, v.Score, base+want)
			}
		}
	}
}

func TestPromptsThatDoNotFit(t *testing.T) {
	aware, plain := awareOf("aware", 1), checkpointOf("plain", 2)
	words := encoder
	words.Name, words.TextCapability = "clip-vit-b-16", "quality-words"
	for _, tc := range []struct {
		name        string
		items       []scoring.Item
		checkpoints []quality.Checkpoint
		encoder     quality.Encoder
		kind        quality.Kind
		detail      string
	}{
		{"none where one is needed", items("good1"), []quality.Checkpoint{plain, aware}, encoder, quality.KindBadRequest,
			`checkpoint aware needs the prompt that each image was made from; without one: image "good1"`},
		{"none for one of two", append(prompted("good1", "four"), items("good2")...), []quality.Checkpoint{aware}, encoder,
			quality.KindBadRequest, `without one: image "good2"`},
		{"one that nobody reads", prompted("good1", "four"), []quality.Checkpoint{plain}, encoder, quality.KindBadRequest,
			"which checkpoint plain doesn't read: leave it out, or name a checkpoint of task alignment"},
		{"one that the encoder cannot read", prompted("good1", "four"), []quality.Checkpoint{plain}, words,
			quality.KindBadRequest, "the text tower of its encoder clip-vit-b-16 knows quality words only. Serve an encoder " +
				"with a general text tower, such as agiqa-train export-encoders --source hf:openai/clip-vit-base-patch16"},
		{"the text encoder is gone", prompted("good1", "down"), []quality.Checkpoint{aware}, encoder,
			quality.KindModelUnavailable, "no text encoder"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bench := newBench(t, scoring.DefaultConfig())
			bench.models.Encoder = tc.encoder
			bench.usePrompts()
			_, err := bench.service.Score(t.Context(), scoring.Request{Items: tc.items, Checkpoints: tc.checkpoints})
			if quality.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.detail) {
				t.Errorf("error %v, want %s with %q", err, tc.kind, tc.detail)
			}
			if tc.kind == quality.KindBadRequest && len(bench.triton.calls) > 0 {
				t.Errorf("Triton was asked: %v", bench.triton.calls)
			}
		})
	}
}

// awareArms is an experiment whose arms read prompts.
type awareArms struct{ exposed bool }

func (a *awareArms) Enrol(context.Context, experiment.Caller, []func() quality.Digest) scoring.Trial {
	return a
}

func (a *awareArms) Arms() ([]experiment.Arm, []quality.Checkpoint) {
	return []experiment.Arm{{ID: "a", Role: experiment.Control}, {ID: "b"}},
		[]quality.Checkpoint{awareOf("a", 1), awareOf("b", 2)}
}

func (a *awareArms) Expose(_ context.Context, s experiment.Scored) []*experiment.Shown {
	a.exposed = true
	return make([]*experiment.Shown, len(s.Outcomes))
}

// TestExperimentThatNeedsPrompts: a request without a prompt takes no part.
func TestExperimentThatNeedsPrompts(t *testing.T) {
	for _, tc := range []struct {
		items   []scoring.Item
		own     quality.Checkpoint
		exposed bool
	}{
		{items("good1"), checkpointOf("plain", 3), false},
		{prompted("good1", "four"), awareOf("aware", 3), true},
	} {
		bench, arms := newBench(t, scoring.DefaultConfig()), &awareArms{}
		bench.usePrompts()
		got, err := scoring.NewDirected(bench.service, arms).Score(t.Context(), scoring.Request{
			Items: tc.items, Checkpoints: []quality.Checkpoint{tc.own}, Caller: &experiment.Caller{},
		})
		if err != nil || got.Results[0].Err != nil || arms.exposed != tc.exposed {
			t.Errorf("by %s: exposed %t, %v, %+v", tc.own.Name, arms.exposed, err, got.Results)
		}
	}
}
