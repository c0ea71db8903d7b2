package quality

import (
	"context"
	"fmt"
)

// MaxPanel is the most checkpoints that a [Panel] may have.
const MaxPanel = 64

// Panel is a set of checkpoints that Triton holds as one model, which scores
// an image by all of them in one call. What the checkpoints' text embeddings
// add to their scores is part of the model. The same ID means the same set in
// the same order, and a Panel is never modified after construction, so whoever
// holds one knows which column of an answer is whose.
type Panel struct {
	ID          Digest
	Encoder     Digest
	Checkpoints []Checkpoint // one a column
}

// NewPanel returns the panel of checkpoints, in their order. recipe names the
// way from a checkpoint to its text embeddings. Checkpoints of two encoders,
// one that reads prompts of pictures, the same one twice, fewer than two and more than [MaxPanel] make no panel.
func NewPanel(recipe string, checkpoints []Checkpoint) (Panel, error) {
	if n := len(checkpoints); n < 2 || n > MaxPanel {
		return Panel{}, fmt.Errorf("panel: %d checkpoints, want 2 to %d", n, MaxPanel)
	}
	p := Panel{Encoder: checkpoints[0].Encoder, Checkpoints: append([]Checkpoint(nil), checkpoints...)}
	hash := NewFieldHash().String("agiqa-panel/1").String(recipe).Bytes(p.Encoder[:])
	seen := map[Digest]bool{}
	for _, c := range checkpoints {
		switch {
		case c.Prompt:
			return Panel{}, fmt.Errorf("panel: checkpoint %s reads the prompts of pictures", c.Name)
		case c.Encoder != p.Encoder:
			return Panel{}, fmt.Errorf("panel: checkpoint %s is of encoder %s, the first one of %s", c.Name,
				c.Encoder.Short(), p.Encoder.Short())
		case seen[c.Digest]:
			return Panel{}, fmt.Errorf("panel: checkpoint %s is in it twice", c.Name)
		}
		seen[c.Digest] = true
		hash.Bytes(c.Digest[:])
	}
	p.ID = hash.Sum()
	return p, nil
}

// Model returns the name of the panel on Triton.
func (p Panel) Model() string { return "prompt_panel_" + p.ID.Short() }

// Column returns where in an answer the checkpoint with that content is.
func (p Panel) Column(d Digest) (int, bool) {
	for i, c := range p.Checkpoints {
		if c.Digest == d {
			return i, true
		}
	}
	return 0, false
}

// PanelScorer lets all checkpoints of a panel score embeddings in one call: one
// row per image, in it one score per checkpoint of the panel, each in
// order. Errors concern the whole call and are those of [ImageEncoder].
//
// One checkpoint that computes nonsense leaves the others as they are: its
// score fails [HeadScore.Check], which is for the caller to ask.
type PanelScorer interface {
	ScorePanel(ctx context.Context, e Encoder, p Panel, images []Embedding) ([][]HeadScore, error)
}
