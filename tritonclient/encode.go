package tritonclient

import (
	"context"
	"fmt"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

var (
	_ quality.ImageEncoder = (*Client)(nil)
	_ quality.TextEncoder  = (*Client)(nil)
	_ quality.HeadScorer   = (*Client)(nil)

	_ quality.PromptHeadScorer = (*Client)(nil)

	_ quality.Ensemble    = (*Client)(nil)
	_ quality.PanelScorer = (*Client)(nil)
)

// EncodeImages implements [quality.ImageEncoder]. More images than the model
// takes at once go in several requests, one after another.
func (c *Client) EncodeImages(
	ctx context.Context, enc quality.Encoder, images []quality.Pixels,
) ([]quality.Embedding, error) {
	if err := checkImages(images); err != nil || len(images) == 0 {
		return nil, err
	}
	embeddings := make([]quality.Embedding, 0, len(images))
	ask := replicas.Ask{Model: c.cfg.Models.ImageEncoder, Holds: c.imageHolding(enc)}
	err := c.inBatches(ctx, ask, len(images), quality.PixelsLen, func(from, to int) error {
		batch, err := c.encodeImages(ctx, c.pool, enc, images[from:to])
		embeddings = append(embeddings, batch...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return embeddings, nil
}

// encodeImages sends one request.
func (c *Client) encodeImages(
	ctx context.Context, on target, enc quality.Encoder, images []quality.Pixels,
) ([]quality.Embedding, error) {
	model := c.cfg.Models.ImageEncoder
	want := output{name: tensorImageEmbedding, shape: []int64{int64(len(images)), int64(enc.Dim)}}
	ask := replicas.Ask{Model: model, Rows: len(images), Holds: c.imageHolding(enc), Proven: true}
	got, err := c.infer(ctx, on, ask, []input{pixelsInput(images)}, []output{want})
	if err != nil {
		return nil, err
	}
	return unitRows(model, tensorImageEmbedding, got[0], enc.Dim)
}

// EncodePrompts implements [quality.TextEncoder]. Prompts of another length
// or width than the encoder's are an encoder_mismatch.
func (c *Client) EncodePrompts(
	ctx context.Context, enc quality.Encoder, prompts quality.Prompts,
) ([]quality.Embedding, error) {
	if err := prompts.Check(); err != nil {
		return nil, err
	}
	if prompts.L != enc.ContextLength || prompts.W != enc.TextWidth {
		return nil, quality.Errorf(quality.KindEncoderMismatch,
			"prompts have %d tokens of width %d, the text encoder takes %d of width %d",
			prompts.L, prompts.W, enc.ContextLength, enc.TextWidth)
	}
	embeddings := make([]quality.Embedding, 0, prompts.N)
	itemBytes := prompts.L * (4 + 4*prompts.W + 1)
	ask := replicas.Ask{Model: c.cfg.Models.TextEncoder, Holds: c.textHolding(enc)}
	err := c.inBatches(ctx, ask, prompts.N, itemBytes, func(from, to int) error {
		batch, err := c.encodePrompts(ctx, enc, prompts, from, to)
		embeddings = append(embeddings, batch...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return embeddings, nil
}

func (c *Client) encodePrompts(
	ctx context.Context, enc quality.Encoder, prompts quality.Prompts, from, to int,
) ([]quality.Embedding, error) {
	model := c.cfg.Models.TextEncoder
	want := output{name: tensorTextEmbedding, shape: []int64{int64(to - from), int64(enc.Dim)}}
	ask := replicas.Ask{Model: model, Rows: to - from, Holds: c.textHolding(enc), Proven: true}
	got, err := c.infer(ctx, c.pool, ask, promptInputs(prompts, from, to), []output{want})
	if err != nil {
		return nil, err
	}
	return unitRows(model, tensorTextEmbedding, got[0], enc.Dim)
}

// unitRows splits a tensor [N,dim] into N embeddings of norm 1. Each has its
// own memory, so that a cache that keeps one does not keep its batch.
func unitRows(model, tensor string, values []float32, dim int) ([]quality.Embedding, error) {
	rows := make([]quality.Embedding, 0, len(values)/dim)
	for i := 0; i < len(values); i += dim {
		e := append(make(quality.Embedding, 0, dim), values[i:i+dim]...)
		if err := e.CheckUnit(dim); err != nil {
			return nil, badOutput(model, "output %s, row %d: %v", tensor, i/dim, err)
		}
		rows = append(rows, e)
	}
	return rows, nil
}

// checkImages catches a zero quality.Pixels before it makes a tensor whose
// bytes and shape disagree.
func checkImages(images []quality.Pixels) error {
	for i, p := range images {
		if len(p.Bytes()) != quality.PixelsLen {
			return fmt.Errorf("image %d has %d bytes of pixels, want %d", i, len(p.Bytes()), quality.PixelsLen)
		}
	}
	return nil
}
