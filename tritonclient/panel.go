package tritonclient

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// ScorePanel implements [quality.PanelScorer]. A panel of another encoder is an
// encoder_mismatch, one that Triton does not hold a model_unavailable.
func (c *Client) ScorePanel(
	ctx context.Context, enc quality.Encoder, p quality.Panel, images []quality.Embedding,
) ([][]quality.HeadScore, error) {
	if len(images) == 0 {
		return nil, nil
	}
	return c.scorePanelOn(ctx, c.pool, enc, p, images)
}

// scorePanelOn is ScorePanel on one replica or on whichever is next.
func (c *Client) scorePanelOn(
	ctx context.Context, on target, enc quality.Encoder, p quality.Panel, images []quality.Embedding,
) ([][]quality.HeadScore, error) {
	if p.Encoder != enc.Digest {
		return nil, quality.Errorf(quality.KindEncoderMismatch,
			"panel %s is of encoder %s, the server has %s", p.ID.Short(), p.Encoder.Short(), enc.Digest.Short())
	}
	for i, e := range images {
		if err := e.CheckUnit(enc.Dim); err != nil {
			return nil, fmt.Errorf("image embedding %d: %w", i, err)
		}
	}
	rows := make([][]quality.HeadScore, 0, len(images))
	k := len(p.Checkpoints)
	itemBytes := 4 * max(enc.Dim, k*(1+quality.CategoryCount)) // the larger of both ways
	ask := replicas.Ask{Model: p.Model(), Holds: c.imageHolding(enc)}
	err := c.inBatches(ctx, ask, len(images), itemBytes, func(from, to int) error {
		n := int64(to - from)
		in := []input{embeddingsInput(tensorImageEmbedding, images[from:to], enc.Dim)}
		got, err := c.infer(ctx, on, ask, in, []output{
			{name: tensorScore, shape: []int64{n, int64(k)}, loose: true},
			{name: tensorSimilarity, shape: []int64{n, int64(k), quality.CategoryCount}, loose: true},
		})
		if err != nil {
			return err
		}
		rows = slices.AppendSeq(rows, slices.Chunk(readScores(got[0], got[1]), k))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// ScorePanelEverywhere is [Client.ScorePanel] on every replica: one answer for
// each, by its address. The error names each replica that failed.
func (c *Client) ScorePanelEverywhere(
	ctx context.Context, enc quality.Encoder, p quality.Panel, images []quality.Embedding,
) (map[string][][]quality.HeadScore, error) {
	var mu sync.Mutex
	answers := map[string][][]quality.HeadScore{}
	err := c.pool.Each(ctx, func(ctx context.Context, r *replicas.Replica) error {
		scored, err := c.scorePanelOn(ctx, r, enc, p, images)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		answers[r.Addr()] = scored
		return nil
	})
	return answers, err
}

// CheckPanelEverywhere reports whether every replica holds the panel and says
// of it what enc and p say: same tensors, same contents, same encoder. Errors
// are those of [Client.CheckCheckpoint]; each replica that failed is named.
func (c *Client) CheckPanelEverywhere(ctx context.Context, enc quality.Encoder, p quality.Panel) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	d, k := int64(enc.Dim), int64(len(p.Checkpoints))
	return c.pool.Each(ctx, func(ctx context.Context, r *replicas.Replica) error {
		if err := c.checkDigests(ctx, r, p.Model(), enc, paramPanelDigest, p.ID); err != nil {
			return err
		}
		return c.checkTensors(ctx, r, p.Model(),
			[]tensor{{tensorImageEmbedding, typeFP32, []int64{-1, d}}},
			[]tensor{
				{tensorScore, typeFP32, []int64{-1, k}},
				{tensorSimilarity, typeFP32, []int64{-1, k, quality.CategoryCount}},
			})
	})
}
