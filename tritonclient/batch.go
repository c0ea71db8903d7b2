package tritonclient

import (
	"context"
	"sync"
)

// batchLimits remembers how many items each model takes in one request.
// Models come and go with checkpoints: Unload forgets them.
type batchLimits struct {
	mu sync.RWMutex
	of map[string]int
}

func newBatchLimits() *batchLimits { return &batchLimits{of: map[string]int{}} }

func (b *batchLimits) get(model string) (int, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	n, ok := b.of[model]
	return n, ok
}

func (b *batchLimits) set(model string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of[model] = n
}

func (b *batchLimits) forget(model string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, model)
}

// inBatches calls f for [0,n) in pieces that the model, MaxBatch and
// MaxMessageBytes allow, one after another, so that one caller has one
// request in flight. It stops at the first error.
func (c *Client) inBatches(ctx context.Context, model string, n, itemBytes int, f func(from, to int) error) error {
	size, err := c.batchSize(ctx, model, n)
	if err != nil {
		return err
	}
	size = max(1, min(size, c.cfg.MaxBatch, (c.cfg.MaxMessageBytes-messageOverhead)/itemBytes))
	for from := 0; from < n; from += size {
		if err := f(from, min(from+size, n)); err != nil {
			return err
		}
	}
	return nil
}

// batchSize asks Triton for the limit of a model that was not met before. A
// single item needs no limit, hence no question.
func (c *Client) batchSize(ctx context.Context, model string, n int) (int, error) {
	if n == 1 {
		return 1, nil
	}
	if size, ok := c.batch.get(model); ok {
		return size, nil
	}
	cfg, err := c.modelConfig(ctx, c.pool.Pick(ctx), model)
	if err != nil {
		return 0, err
	}
	return int(cfg.GetMaxBatchSize()), nil
}
