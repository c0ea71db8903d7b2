package tritonclient

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// target is where an inference goes: a [replicas.Pool], which chooses a
// replica, or one [replicas.Replica].
type target interface {
	Do(ctx context.Context, deadline time.Time, ask replicas.Ask, call replicas.Call) error
}

// infer sends one request and returns the checked outputs in the order of want.
//
// The budget is what ctx has left, or RequestTimeout. Triton gets Margin less
// of it as its queue timeout, so that Triton gives up first.
func (c *Client) infer(
	ctx context.Context, on target, ask replicas.Ask, in []input, want []output,
) ([][]float32, error) {
	model := ask.Model
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(c.cfg.RequestTimeout)
	}
	queue := time.Until(deadline) - c.cfg.Margin
	if queue < c.cfg.MinBudget && ctx.Err() == nil { // Do says why a context has ended
		return nil, quality.Errorf(quality.KindDeadlineExceeded, "too little time is left to ask model %s", model)
	}
	req := newRequest(model, queue, in, want)
	var got [][]float32
	err := on.Do(ctx, deadline, ask, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		resp := &pb.ModelInferResponse{}
		err := conn.Invoke(ctx, pb.GRPCInferenceService_ModelInfer_FullMethodName, req, resp, grpc.ForceCodecV2(c.codec))
		if err == nil {
			got, err = readReply(resp, model, want)
		}
		return err
	})
	if err != nil {
		return nil, err // and not got, which the call may still be writing
	}
	return got, nil
}

func newRequest(model string, queue time.Duration, in []input, want []output) *inferCall {
	req := &pb.ModelInferRequest{
		ModelName: model,
		Parameters: map[string]*pb.InferParameter{
			"timeout": {ParameterChoice: &pb.InferParameter_Int64Param{Int64Param: queue.Microseconds()}},
		},
	}
	raw := make([][][]byte, 0, len(in))
	for _, t := range in {
		req.Inputs = append(req.Inputs, &pb.ModelInferRequest_InferInputTensor{
			Name: t.name, Datatype: t.datatype, Shape: t.shape,
		})
		raw = append(raw, t.raw)
	}
	for _, t := range want {
		req.Outputs = append(req.Outputs, &pb.ModelInferRequest_InferRequestedOutputTensor{Name: t.name})
	}
	return &inferCall{head: req, raw: raw}
}
