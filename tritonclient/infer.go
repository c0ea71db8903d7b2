package tritonclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

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
	call, err := c.inFlight.take()
	if err != nil {
		return nil, err
	}
	req := newRequest(model, queue, in, want)

	type answer struct {
		got [][]float32
		err error
	}
	done := make(chan answer, 1)
	go func() {
		detached, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
		got, err := c.send(detached, r, req, want)
		cancel()
		call.end() // first: whoever gets the answer may take the place at once
		done <- answer{got, err}
	}()
	select {
	case a := <-done:
		return a.got, a.err
	case <-ctx.Done():
		call.abandon()
		return nil, ended(ctx, model)
	}
}

// send makes the call, and makes it once more on another replica where the
// first refused it, was not reached or died with it: an inference changes
// nothing on a server. What an absent server left undone costs no living one
// anything; what a living one refused is sent again within the budget of second
// attempts only.
func (c *Client) send(ctx context.Context, r *replica, req *inferCall, want []output) ([][]float32, error) {
	model := req.head.ModelName
	fixed, probe := r != nil, false
	if !fixed {
		if r, probe = c.choose(model, nil, true); r == nil {
			return nil, c.noReplica()
		}
	}
	got, again, err := c.attempt(ctx, r, probe, req, want)
	if err == nil || again == stay || fixed {
		return got, r.failure(ctx, model, err)
	}
	other, probe := c.choose(model, r, true)
	if other == nil {
		return nil, r.failure(ctx, model, err)
	}
	if again == withinBudget && !c.budget.Failure() {
		c.metrics.retry(ctx, "no_budget")
		if probe {
			c.assessReplica(other, inconclusive, true)
		}
		return nil, r.failure(ctx, model, err)
	}
	c.metrics.retry(ctx, "sent")
	got, _, err = c.attempt(ctx, other, probe, req, want)
	return got, other.failure(ctx, model, err)
}

// elsewhere says on what terms another replica may be asked.
type elsewhere int

const (
	stay         elsewhere = iota
	withinBudget           // the server refused, and lives on
	free                   // the server is not there, is leaving, or died
)

// attempt sends req to r once, reads the reply, and lets what happened count
// for or against r.
func (c *Client) attempt(ctx context.Context, r *replica, probe bool, req *inferCall, want []output) ([][]float32, elsewhere, error) {
	r.outstanding.Add(1)
	defer r.outstanding.Add(-1)
	info := &rpcInfo{}
	start := time.Now()
	if err := c.checkReplica(ctx, r); err != nil {
		v := unreachable
		if ctx.Err() != nil {
			v = resultOf(ctx, err, time.Since(start), r.health.patience())
		}
		c.assessReplica(r, v, probe)
		return nil, free, err
	}
	resp := &pb.ModelInferResponse{}
	err := r.link().Invoke(ctx, pb.GRPCInferenceService_ModelInfer_FullMethodName, req, resp,
		grpc.Peer(&info.peer), grpc.Header(&info.header), grpc.Trailer(&info.trailer), grpc.ForceCodecV2(c.codec))
	var got [][]float32
	if err == nil {
		got, err = readReply(resp, req.head.ModelName, want)
	}
	took := time.Since(start)
	v := resultOf(ctx, err, took, r.health.patience())
	if err == nil {
		r.health.took(took)
	}
	c.assessReplica(r, v, probe)
	if info.sent() {
		c.metrics.attempt(ctx, req.head.ModelName, took, v, err)
	}
	if err == nil {
		c.budget.Success()
		return got, stay, nil
	}
	m := meaningOf(err)
	switch {
	case !m.again(info.answered()):
		return nil, stay, err
	case !info.sent() || v == unreachable:
		return nil, free, err
	}
	r.missing.note(req.head.ModelName)
	return nil, withinBudget, err
}

// ranOut reports that a call ended because its time was over.
func ranOut(ctx context.Context, err error) bool {
	return meaningOf(err).code == codes.DeadlineExceeded || ctx.Err() != nil
}

// resultOf says what the end of a call means for the server, which gets
// patience before a missing answer speaks against it.
func resultOf(ctx context.Context, err error, took, patience time.Duration) callResult {
	if err == nil {
		return wellServed
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return inconclusive
	}
	if quality.KindOf(err) == quality.KindModelBadOutput { // readReply's
		return modelFailed
	}
	m := meaningOf(err)
	switch {
	case ranOut(ctx, err):
		if took < patience {
			return inconclusive
		}
		return late
	case m.leaves || m.code == codes.Unavailable && m.contains == "":
		return unreachable
	case m.code == codes.Internal, m.code == codes.DataLoss, m.kind == quality.KindModelBadOutput && m.code != codes.InvalidArgument:
		return modelFailed
	}
	return wellServed
}

// ended says why a caller gets no answer: it went away or ran out of time.
func ended(ctx context.Context, model string) error {
	kind, detail := quality.KindClientClosedRequest, "the caller of %s went away"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind, detail = quality.KindDeadlineExceeded, "%s did not answer in time"
	}
	return quality.Errorf(kind, "%s", fmt.Sprintf(detail, subject(model))).Because(context.Cause(ctx))
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
