package replicas

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agiqa/agiqa/quality"
)

// RetryAfter is the advice to clients for whatever is over in moments or needs a restart.
const RetryAfter = time.Second

// meaning is what one kind of gRPC failure means to the domain.
type meaning struct {
	code     codes.Code
	contains string // in the message, lower case; "" is any message
	kind     quality.Kind
	detail   string        // with one %s, the subject; never Triton's own text, which may hold addresses
	after    time.Duration // advice to the client; 0: none
	resend   resend
	leaves   bool // the server is going away
}

// resend says when a request may go to another replica, once.
type resend int

const (
	never        resend = iota
	ifUnanswered        // if it found no connection, or its connection broke
	refused             // the server said that it did not begin
)

// again reports whether the request may be sent to another replica. answered
// says that the error is the server's own, and not that of a lost connection.
func (m meaning) again(answered bool) bool {
	return m.resend == refused || m.resend == ifUnanswered && !answered
}

// meanings is the only place where gRPC codes and Triton's messages become
// kinds. The first row that fits wins.
//
// UNAVAILABLE alone stands for at least six things in Triton, of which two
// are overload: trying these again would feed it.
var meanings = []meaning{
	{codes.Unavailable, "exceeds maximum queue size", quality.KindOverloaded,
		"the queue of %s is full", RetryAfter, never, false},
	{codes.Unavailable, "request timeout expired", quality.KindDeadlineExceeded,
		"the request waited too long in the queue of %s", 0, never, false},
	{codes.Unavailable, "exiting", quality.KindModelUnavailable, "%s is shutting down", RetryAfter, refused, true},
	{codes.Unavailable, "stopping", quality.KindModelUnavailable, "%s is shutting down", RetryAfter, refused, true},
	{codes.Unavailable, "not ready", quality.KindModelUnavailable, "%s is not ready", RetryAfter, refused, false},
	{codes.Unavailable, "protocol is restricted", quality.KindModelUnavailable,
		"Triton refuses this call for %s without its key; check the setting triton-control-key", 0, never, false},
	{codes.Unavailable, "", quality.KindModelUnavailable, "%s cannot be reached", RetryAfter, ifUnanswered, false},

	{codes.NotFound, "", quality.KindModelUnavailable, "%s is not loaded", RetryAfter, refused, false},
	{codes.InvalidArgument, "unknown model", quality.KindModelUnavailable,
		"%s is not loaded", RetryAfter, refused, false},
	{codes.InvalidArgument, "is not available", quality.KindModelUnavailable,
		"%s is not loaded", RetryAfter, refused, false},
	{codes.InvalidArgument, "load failed", quality.KindModelUnavailable, "%s could not be loaded", 0, never, false},
	{codes.InvalidArgument, "", quality.KindModelBadOutput, "%s refused the tensors it was sent", 0, never, false},

	{codes.DeadlineExceeded, "", quality.KindDeadlineExceeded, "%s did not answer in time", 0, never, false},
	{codes.Canceled, "", quality.KindModelUnavailable, "the call of %s was cut off", RetryAfter, never, false},

	{codes.ResourceExhausted, "larger than max", quality.KindModelBadOutput,
		"a message of %s is over the size limit", 0, never, false},
	{codes.ResourceExhausted, "", quality.KindOverloaded, "%s is out of resources", RetryAfter, never, false},
	{codes.DataLoss, "", quality.KindModelBadOutput, "the reply of %s is damaged", 0, never, false},

	{codes.Internal, "failed to load", quality.KindModelUnavailable, "%s could not be loaded", 0, never, false},
	// A Python model that raised, a dead stub process, an ONNX run that failed.
	{codes.Internal, "", quality.KindModelUnavailable, "%s failed", RetryAfter, never, false},
	{codes.Unimplemented, "", quality.KindModelUnavailable, "%s does not offer this call", 0, never, false},
}

// unknownMeaning is for codes without a row.
var unknownMeaning = meaning{kind: quality.KindModelUnavailable, detail: "%s failed", after: RetryAfter}

func meaningOf(err error) meaning {
	s := status.Convert(err)
	text := strings.ToLower(s.Message())
	for _, m := range meanings {
		if m.code == s.Code() && strings.Contains(text, m.contains) {
			return m
		}
	}
	return unknownMeaning
}

// Failure turns an error of a gRPC call to r into the domain's. Triton's own
// words and the address become the cause, for the logs. An error that is of
// the domain stays as it is, and if the caller went away that is the reason.
func (r *Replica) Failure(ctx context.Context, model string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*quality.Error](err); ok {
		return err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ended(ctx, model)
	}
	m := meaningOf(err)
	detail := fmt.Sprintf(m.detail, subject(model))
	if why := r.outage.why(); why != "" && m.resend == ifUnanswered {
		detail += ": " + why
	}
	return quality.Errorf(m.kind, "%s", detail).
		Because(&Error{Replica: r.addr, Err: err}).After(m.after)
}

// subject is what a detail speaks of: a model, or if there is no name the
// server.
func subject(model string) string {
	if model == "" {
		return "the inference server"
	}
	return "model " + model
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
	if errors.Is(err, errExchanged) {
		return exchanged
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
	case m.code == codes.Internal, m.code == codes.DataLoss,
		m.kind == quality.KindModelBadOutput && m.code != codes.InvalidArgument:
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
