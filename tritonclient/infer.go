package tritonclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// infer sends one request, to r or, if r is nil, to whichever replica is
// next, and returns the checked outputs in the order of want.
//
// The budget is what ctx has left, or RequestTimeout. Triton gets Margin less
// of it as its queue timeout, so that Triton gives up first. When ctx is
// cancelled, infer returns at once and the call runs on to its own end:
// cancelling a call under way can crash servers before 24.12, and would not
// stop a model that has begun to compute.
func (c *Client) infer(ctx context.Context, r *replica, model string, in []input, want []output) ([][]float32, error) {
	if ctx.Err() != nil {
		return nil, ended(ctx, model)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(c.cfg.RequestTimeout)
	}
	queue := time.Until(deadline) - c.cfg.Margin
	if queue < c.cfg.MinBudget {
		return nil, quality.Errorf(quality.KindDeadlineExceeded, "too little time is left to ask model %s", model)
	}
	call, err := c.flights.take()
	if err != nil {
		return nil, err
	}
	req := newRequest(model, queue, in, want)

	type answer struct {
		resp *pb.ModelInferResponse
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		detached, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
		resp, err := c.send(detached, r, req)
		cancel()
		call.land() // first: whoever gets the answer may take the place at once
		done <- answer{resp, err}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			return nil, a.err
		}
		return readReply(a.resp, model, want)
	case <-ctx.Done():
		call.abandon()
		return nil, ended(ctx, model)
	}
}

// send makes the call, and makes it once more on another replica if it is
// certain that the first did no work on it.
func (c *Client) send(ctx context.Context, r *replica, req *pb.ModelInferRequest) (*pb.ModelInferResponse, error) {
	fixed := r != nil
	if !fixed {
		r = c.pick(nil)
	}
	resp, again, err := c.attempt(ctx, r, req)
	if err == nil || !again || fixed {
		return resp, r.failure(ctx, req.ModelName, err)
	}
	other := c.pick(r)
	if other == nil {
		return nil, r.failure(ctx, req.ModelName, err)
	}
	resp, _, err = c.attempt(ctx, other, req)
	return resp, other.failure(ctx, req.ModelName, err)
}

// attempt sends req to r. again says that another replica may be asked.
func (c *Client) attempt(ctx context.Context, r *replica, req *pb.ModelInferRequest) (_ *pb.ModelInferResponse, again bool, err error) {
	if err := c.checkReplica(ctx, r); err != nil {
		return nil, true, err
	}
	var to peer.Peer // set once a connection was found for the call
	resp, err := r.rpc.ModelInfer(ctx, req, grpc.Peer(&to))
	return resp, err != nil && meaningOf(err).again(to.Addr != nil), err
}

// ended says why a caller gets no answer: it went away or ran out of time.
func ended(ctx context.Context, model string) error {
	kind, detail := quality.KindClientClosedRequest, "the caller of %s went away"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind, detail = quality.KindDeadlineExceeded, "%s did not answer in time"
	}
	return quality.Errorf(kind, "%s", fmt.Sprintf(detail, subject(model))).Because(context.Cause(ctx))
}

func newRequest(model string, queue time.Duration, in []input, want []output) *pb.ModelInferRequest {
	req := &pb.ModelInferRequest{
		ModelName: model,
		Parameters: map[string]*pb.InferParameter{
			"timeout": {ParameterChoice: &pb.InferParameter_Int64Param{Int64Param: queue.Microseconds()}},
		},
	}
	for _, t := range in {
		req.Inputs = append(req.Inputs, &pb.ModelInferRequest_InferInputTensor{
			Name: t.name, Datatype: t.datatype, Shape: t.shape,
		})
		req.RawInputContents = append(req.RawInputContents, t.raw)
	}
	for _, t := range want {
		req.Outputs = append(req.Outputs, &pb.ModelInferRequest_InferRequestedOutputTensor{Name: t.name})
	}
	return req
}
