package lifecycle

import (
	"context"
	"errors"
	"sync"

	"github.com/agiqa/agiqa/quality"
)

// AnyServer is the inference servers as a request sees them: whichever answers.
type AnyServer interface {
	ModelReady(ctx context.Context, model string) error
	// CheckCheckpoint compares the models that are served with the checkpoint.
	CheckCheckpoint(ctx context.Context, encoder quality.Encoder, c quality.Checkpoint) error
}

// Readiness says whether a checkpoint can score. It's safe for concurrent use.
type Readiness struct {
	servers AnyServer
	texts   Texts

	mu      sync.Mutex
	encoder quality.Encoder         // that checked is about
	checked map[quality.Digest]bool // checkpoints that passed the whole check
}

// NewReadiness returns a Readiness that has checked nothing.
func NewReadiness(servers AnyServer, texts Texts) *Readiness {
	return &Readiness{servers: servers, texts: texts}
}

// Check returns nil where the checkpoint scores with the encoder in use. The
// first time it compares the models' digests and tensors and fetches the text
// embeddings, so that no request waits for the text encoder. Models never
// change under their name, so after that it only asks whether they are there.
// Errors: encoder_mismatch, and those of the servers.
func (r *Readiness) Check(ctx context.Context, encoder quality.Encoder, c quality.Checkpoint) error {
	if c.Encoder != encoder.Digest {
		return quality.Errorf(quality.KindEncoderMismatch,
			"it was trained on another encoder than the one in use (%s); import and activate one that was trained on that",
			encoder.Name)
	}
	if r.passed(encoder, c) {
		err := r.servers.ModelReady(ctx, c.HeadModel())
		if c.HasEnsemble() {
			err = errors.Join(r.servers.ModelReady(ctx, c.EnsembleModel()), err)
		}
		return err
	}
	if err := r.servers.CheckCheckpoint(ctx, encoder, c); err != nil {
		return err
	}
	if _, _, err := r.texts.TextEmbeddings(ctx, c); err != nil {
		return err
	}
	r.pass(encoder, c)
	return nil
}

func (r *Readiness) passed(encoder quality.Encoder, c quality.Checkpoint) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return encoder == r.encoder && r.checked[c.Digest]
}

func (r *Readiness) pass(encoder quality.Encoder, c quality.Checkpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if encoder != r.encoder {
		r.encoder, r.checked = encoder, map[quality.Digest]bool{}
	}
	r.checked[c.Digest] = true
}
