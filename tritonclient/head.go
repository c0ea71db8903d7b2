package tritonclient

import (
	"context"
	"fmt"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// Score implements [quality.HeadScorer] with the checkpoint's head. A checkpoint of
// another encoder is an encoder_mismatch. One that reads prompts is for
// [Client.ScoreWithPrompts].
func (c *Client) Score(
	ctx context.Context, enc quality.Encoder, cp quality.Checkpoint, text quality.TextEmbeddings,
	images []quality.Embedding,
) ([]quality.HeadScore, error) {
	if len(images) == 0 {
		return nil, nil
	}
	return c.scoreOn(ctx, c.pool, enc, cp, text, images, nil)
}

// ScoreWithPrompts implements [quality.PromptHeadScorer] with the checkpoint's
// head, with the errors of [Client.Score].
func (c *Client) ScoreWithPrompts(
	ctx context.Context, enc quality.Encoder, cp quality.Checkpoint, text quality.TextEmbeddings,
	images, prompts []quality.Embedding,
) ([]quality.HeadScore, error) {
	if len(images) == 0 {
		return nil, nil
	}
	return c.scoreOn(ctx, c.pool, enc, cp, text, images, prompts)
}

// scoreOn scores on one replica or on whichever is next. prompts are those of
// the images where the checkpoint reads prompts, else nil.
func (c *Client) scoreOn(
	ctx context.Context, on target, enc quality.Encoder, cp quality.Checkpoint, text quality.TextEmbeddings,
	images, prompts []quality.Embedding,
) ([]quality.HeadScore, error) {
	wanted := 0
	if cp.Prompt {
		wanted = len(images)
	}
	if len(prompts) != wanted {
		return nil, fmt.Errorf("checkpoint %s: %d embeddings of prompts for %d images, want %d",
			cp.Name, len(prompts), len(images), wanted)
	}
	if err := checkCheckpointOf(enc, cp, text); err != nil {
		return nil, err
	}
	for i, e := range images {
		if err := e.CheckUnit(enc.Dim); err != nil {
			return nil, fmt.Errorf("image embedding %d: %w", i, err)
		}
	}
	for i, e := range prompts {
		if err := e.CheckUnit(enc.Dim); err != nil {
			return nil, fmt.Errorf("prompt embedding %d: %w", i, err)
		}
	}
	scores := make([]quality.HeadScore, 0, len(images))
	itemBytes := 4 * enc.Dim * (2 + quality.CategoryCount)
	// What a head computes depends on its input alone, which is of enc.
	ask := replicas.Ask{Model: cp.HeadModel(), Holds: c.imageHolding(enc)}
	err := c.inBatches(ctx, ask, len(images), itemBytes, func(from, to int) error {
		n := to - from
		in := []input{embeddingsInput(tensorImageEmbedding, images[from:to], enc.Dim), textInput(text, n, enc.Dim)}
		if cp.Prompt {
			in = append(in, embeddingsInput(tensorPromptEmbedding, prompts[from:to], enc.Dim))
		}
		got, err := c.infer(ctx, on, ask, in, scoreOutputs(n))
		if err != nil {
			return err
		}
		scores = append(scores, readScores(got[0], got[1])...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return scores, nil
}

// EmbedAndScore implements [quality.Ensemble] with the checkpoint's ensemble.
func (c *Client) EmbedAndScore(
	ctx context.Context, enc quality.Encoder, cp quality.Checkpoint, text quality.TextEmbeddings,
	images []quality.Pixels,
) ([]quality.HeadScore, []quality.Embedding, error) {
	if err := checkImages(images); err != nil || len(images) == 0 {
		return nil, nil, err
	}
	if err := checkCheckpointOf(enc, cp, text); err != nil {
		return nil, nil, err
	}
	scores := make([]quality.HeadScore, 0, len(images))
	embeddings := make([]quality.Embedding, 0, len(images))
	itemBytes := quality.PixelsLen + 4*enc.Dim*quality.CategoryCount
	model := cp.EnsembleModel()
	ask := replicas.Ask{Model: model, Holds: c.imageHolding(enc), Proven: true}
	err := c.inBatches(ctx, ask, len(images), itemBytes, func(from, to int) error {
		n := to - from
		in := []input{pixelsInput(images[from:to]), textInput(text, n, enc.Dim)}
		want := append(scoreOutputs(n), output{name: tensorImageEmbedding, shape: []int64{int64(n), int64(enc.Dim)}})
		ask.Rows = n
		got, err := c.infer(ctx, c.pool, ask, in, want)
		if err != nil {
			return err
		}
		rows, err := unitRows(model, tensorImageEmbedding, got[2], enc.Dim)
		scores = append(scores, readScores(got[0], got[1])...)
		embeddings = append(embeddings, rows...)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return scores, embeddings, nil
}

func scoreOutputs(n int) []output {
	return []output{
		{name: tensorScore, shape: []int64{int64(n), 1}},
		{name: tensorSimilarity, shape: []int64{int64(n), quality.CategoryCount}},
	}
}

// readScores joins scores [N,1] and similarities [N,6], both checked.
func readScores(scores, similarities []float32) []quality.HeadScore {
	js := make([]quality.HeadScore, len(scores))
	for i := range js {
		js[i].Score = scores[i]
		copy(js[i].Similarity[:], similarities[i*quality.CategoryCount:])
	}
	return js
}

// checkCheckpointOf reports a checkpoint that was trained on another encoder, and
// texts that cannot have come from enc.
func checkCheckpointOf(enc quality.Encoder, cp quality.Checkpoint, text quality.TextEmbeddings) error {
	if cp.Encoder != enc.Digest {
		return quality.Errorf(quality.KindEncoderMismatch,
			"checkpoint %s is of encoder %s, the server has %s", cp.Name, cp.Encoder.Short(), enc.Digest.Short())
	}
	for i, e := range text {
		if err := e.CheckUnit(enc.Dim); err != nil {
			return fmt.Errorf("text embedding %d of checkpoint %s: %w", i, cp.Name, err)
		}
	}
	return nil
}
