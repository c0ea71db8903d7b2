package tritonclient

import (
	"context"
	"sync"

	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// batchLimits remembers how many items each model takes in one request.
// Models come and go with checkpoints: Unload forgets them.
type batchLimits struct {
	mu sync.RWMutex
	of map[replicas.Holding]int // Identity is that of an encoder, "" for other models
}

func newBatchLimits() *batchLimits { return &batchLimits{of: map[replicas.Holding]int{}} }

func (b *batchLimits) get(h replicas.Holding) (int, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	n, ok := b.of[h]
	return n, ok
}

func (b *batchLimits) set(h replicas.Holding, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of[h] = n
}

func (b *batchLimits) forget(model string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, replicas.Holding{Model: model})
}

// inBatches calls f for [0,n) in pieces that the model, MaxBatch and
// MaxMessageBytes allow, one after another, so that one caller has one
// request in flight. It stops at the first error.
func (c *Client) inBatches(ctx context.Context, ask replicas.Ask, n, itemBytes int,
	f func(from, to int) error) error {
	size, err := c.batchSize(ctx, ask, n)
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

// batchSize asks the servers for the limit of a model that was not met before. Some
// may lack it, or hold another encoder by its name. A single item needs no limit,
// hence no question.
func (c *Client) batchSize(ctx context.Context, ask replicas.Ask, n int) (int, error) {
	if n == 1 {
		return 1, nil
	}
	of := replicas.Holding{Model: ask.Model}
	if ask.Holds.Model == ask.Model {
		of = ask.Holds
	}
	if size, ok := c.batch.get(of); ok {
		return size, nil
	}
	err := c.any(ctx, func(ctx context.Context, r *replicas.Replica) error {
		if _, err := c.modelConfig(ctx, r, ask.Model); err != nil {
			return err
		}
		if _, ok := c.batch.get(of); !ok {
			return r.Exchanged(ask)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	size, ok := c.batch.get(of)
	if !ok {
		size = 1 // it was unloaded this moment
	}
	return size, nil
}
