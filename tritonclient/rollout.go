package tritonclient

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// NewUpload returns a model that travels with the load call: config is its
// config.pbtxt, files are by path in the model's folder.
func NewUpload(config []byte, files map[string][]byte) (*ModelUpload, error) {
	parsed, err := ParseModelConfig(config)
	if err != nil {
		return nil, err
	}
	document, err := protojson.Marshal(parsed)
	if err != nil {
		return nil, fmt.Errorf("config.pbtxt as JSON: %w", err)
	}
	return &ModelUpload{Config: document, Files: files}, nil
}

// ReadyEverywhere reports whether every replica has the model loaded. The
// error names each that has not.
func (c *Client) ReadyEverywhere(ctx context.Context, model string) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	return c.pool.Each(ctx, func(ctx context.Context, r *replicas.Replica) error { return modelReady(ctx, r, model) })
}

// CheckCheckpointEverywhere is [Client.CheckCheckpoint] on every replica. The
// error names each that failed.
func (c *Client) CheckCheckpointEverywhere(ctx context.Context, enc quality.Encoder, cp quality.Checkpoint) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	return c.pool.Each(ctx, func(ctx context.Context, r *replicas.Replica) error {
		return c.checkCheckpoint(ctx, r, enc, cp)
	})
}

// ScoreEverywhere is [Client.Score], or for a checkpoint that reads prompts
// [Client.ScoreWithPrompts], on every replica: one answer for each, by its
// address. prompts is nil in the first case. The error names each replica that failed.
func (c *Client) ScoreEverywhere(
	ctx context.Context, enc quality.Encoder, cp quality.Checkpoint, text quality.TextEmbeddings,
	images, prompts []quality.Embedding,
) (map[string][]quality.HeadScore, error) {
	var mu sync.Mutex
	answers := map[string][]quality.HeadScore{}
	err := c.pool.Each(ctx, func(ctx context.Context, r *replicas.Replica) error {
		scored, err := c.scoreOn(ctx, r, enc, cp, text, images, prompts)
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

// Runtime is how a server runs its models.
type Runtime struct {
	Backend string // such as "python" or "onnxruntime"
	GPU     bool
}

// Runtime tells from the image encoder's configuration how the servers run
// their models, so that whatever is uploaded can be made alike.
func (c *Client) Runtime(ctx context.Context) (Runtime, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	cfg, err := c.modelConfig(ctx, c.pool.Pick(ctx), c.cfg.Models.ImageEncoder)
	if err != nil {
		return Runtime{}, err
	}
	runtime := Runtime{Backend: cfg.GetBackend()}
	for _, group := range cfg.GetInstanceGroup() {
		if group.GetKind() == pb.ModelInstanceGroup_KIND_GPU {
			runtime.GPU = true
		}
	}
	return runtime, nil
}
