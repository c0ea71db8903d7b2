package tritonclient

import (
	"context"
	"sync"
	"time"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// ModelStatistics are the totals of one model version on one replica since it was
// loaded.
type ModelStatistics struct {
	Replica        string // its address; for operators
	Model, Version string
	Items          uint64 // batch elements: images, say
	Executions     uint64 // batches; Items / Executions is the mean batch
	Requests       uint64 // that succeeded
	Failures       uint64
	Queue, Compute time.Duration // of the requests that succeeded, summed
	// What Compute consists of: inputs to the model, the model, outputs from it.
	Input, Infer, Output time.Duration
}

// Statistics returns the statistics of a model, or of every model if the
// name is "". Triton answers from one thread: ask seldom, and prefer its
// Prometheus metrics for monitoring.
func (c *Client) Statistics(ctx context.Context, model string) ([]ModelStatistics, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	var mu sync.Mutex
	var all []ModelStatistics
	err := c.pool.Each(ctx, func(ctx context.Context, r *replicas.Replica) error {
		resp, err := rpc(r).ModelStatistics(ctx, &pb.ModelStatisticsRequest{Name: model})
		if err != nil {
			return r.Failure(ctx, model, err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, s := range resp.GetModelStats() {
			all = append(all, readStatistics(r.Addr(), s))
		}
		return nil
	})
	return all, err
}

func readStatistics(replica string, s *pb.ModelStatistics) ModelStatistics {
	i := s.GetInferenceStats()
	input, infer, output := i.GetComputeInput().GetNs(), i.GetComputeInfer().GetNs(), i.GetComputeOutput().GetNs()
	return ModelStatistics{
		Replica: replica, Model: s.GetName(), Version: s.GetVersion(),
		Items: s.GetInferenceCount(), Executions: s.GetExecutionCount(),
		Requests: i.GetSuccess().GetCount(), Failures: i.GetFail().GetCount(),
		Queue: time.Duration(i.GetQueue().GetNs()), Compute: time.Duration(input + infer + output),
		Input: time.Duration(input), Infer: time.Duration(infer), Output: time.Duration(output),
	}
}
