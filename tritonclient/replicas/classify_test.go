package replicas_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/replicas"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// When a request may go to another replica.
const (
	never        = "never"
	ifUnanswered = "if unanswered"
	refused      = "refused"
)

func TestClassify(t *testing.T) {
	for _, test := range []struct {
		name    string
		code    codes.Code
		message string
		kind    quality.Kind
		detail  string
		after   time.Duration
		again   string
	}{
		{"queue full", codes.Unavailable, tritontest.QueueFull, quality.KindOverloaded,
			"queue of model m is full", time.Second, never},
		{"queue timeout", codes.Unavailable, tritontest.QueueTimeout, quality.KindDeadlineExceeded,
			"too long in the queue of model m", 0, never},
		{"queue timeout in an ensemble", codes.Unavailable, "in ensemble 'e', Request timeout expired",
			quality.KindDeadlineExceeded, "model m", 0, never},
		{"exiting", codes.Unavailable, tritontest.Exiting, quality.KindModelUnavailable,
			"shutting down", time.Second, refused},
		{"stopping", codes.Unavailable,
			"Server is stopping, scheduler for model has stopped accepting new inference requests", quality.KindModelUnavailable,
			"shutting down", time.Second, refused},
		{"server not ready", codes.Unavailable, tritontest.NotReady, quality.KindModelUnavailable,
			"model m is not ready", time.Second, refused},
		{"connection refused", codes.Unavailable,
			`connection error: desc = "transport: Error while dialing: dial tcp 10.0.0.1:8001: connect: connection refused"`,
			quality.KindModelUnavailable, "model m cannot be reached", time.Second, ifUnanswered},
		{"connection reset", codes.Unavailable, "error reading from server: read tcp 10.0.0.1:8001: connection reset by peer",
			quality.KindModelUnavailable, "model m cannot be reached", time.Second, ifUnanswered},
		{"restricted protocol", codes.Unavailable, "This protocol is restricted, expecting header 'triton-grpc-protocol-x'",
			quality.KindModelUnavailable, "setting triton-control-key", 0, never},
		{"unknown model of 24.10", codes.NotFound, "Request for unknown model: 'm' is not found",
			quality.KindModelUnavailable, "model m is not loaded", time.Second, refused},
		{"unknown model", codes.InvalidArgument, "Request for unknown model: 'm' is not found", quality.KindModelUnavailable,
			"model m is not loaded", time.Second, refused},
		{"no version", codes.NotFound, "Request for unknown model: 'm' has no available versions",
			quality.KindModelUnavailable, "model m is not loaded", time.Second, refused},
		{"no statistics", codes.InvalidArgument, "requested model 'm' is not available", quality.KindModelUnavailable,
			"model m is not loaded", time.Second, refused},
		{"not in the repository", codes.Internal, "failed to load 'm', failed to poll from model repository",
			quality.KindModelUnavailable, "model m could not be loaded", 0, never},
		{"load failed", codes.InvalidArgument, "load failed for model 'm': version 1 is at UNAVAILABLE state",
			quality.KindModelUnavailable, "model m could not be loaded", 0, never},
		{"wrong tensor", codes.InvalidArgument, "unexpected shape for input 'pixels' for model 'm'",
			quality.KindModelBadOutput, "model m refused", 0, never},
		{"deadline", codes.DeadlineExceeded, "context deadline exceeded", quality.KindDeadlineExceeded,
			"model m did not answer in time", 0, never},
		{"cancelled", codes.Canceled, "the client connection is closing", quality.KindModelUnavailable,
			"model m was cut off", time.Second, never},
		{"reply too large", codes.ResourceExhausted, "grpc: received message larger than max (9 vs. 8)",
			quality.KindModelBadOutput, "size limit", 0, never},
		{"request too large", codes.ResourceExhausted, "trying to send message larger than max (9 vs. 8)",
			quality.KindModelBadOutput, "size limit", 0, never},
		{"server out of memory", codes.ResourceExhausted, "resource quota", quality.KindOverloaded,
			"out of resources", time.Second, never},
		{"dead stub", codes.Internal, tritontest.DeadStub, quality.KindModelUnavailable,
			"model m failed", time.Second, never},
		{"python exception", codes.Internal, "Failed to process the request(s) for model instance 'm_0', message: ValueError",
			quality.KindModelUnavailable, "model m failed", time.Second, never},
		{"data loss", codes.DataLoss, "", quality.KindModelBadOutput, "damaged", 0, never},
		{"unimplemented", codes.Unimplemented, "unknown service", quality.KindModelUnavailable, "does not offer", 0, never},
		{"unknown", codes.Unknown, "?", quality.KindModelUnavailable, "model m failed", time.Second, never},
		{"aborted, which has no row", codes.Aborted, "?", quality.KindModelUnavailable, "model m failed", time.Second, never},
	} {
		t.Run(test.name, func(t *testing.T) {
			cause := status.Error(test.code, test.message)
			err := replicas.Classify("m", cause)
			e := wantError(t, err, test.kind, test.detail)
			if e.RetryAfter != test.after {
				t.Errorf("retry after %v, want %v", e.RetryAfter, test.after)
			}
			if !errors.Is(err, cause) || !strings.Contains(err.Error(), "192.0.2.1:8001") {
				t.Errorf("%v hides its cause or replica from the log", err)
			}
			answered, unanswered := replicas.MayGoElsewhere(cause, true), replicas.MayGoElsewhere(cause, false)
			if got := map[[2]bool]string{{false, false}: never, {false, true}: ifUnanswered,
				{true, true}: refused}[[2]bool{answered, unanswered}]; got != test.again {
				t.Errorf("may go elsewhere: %q, want %q", got, test.again)
			}
		})
	}
}

// Whatever Triton answers, it is never our bug and never the client's fault.
func TestClassifyCoversEveryCode(t *testing.T) {
	allowed := []quality.Kind{
		quality.KindModelUnavailable, quality.KindOverloaded, quality.KindDeadlineExceeded, quality.KindModelBadOutput,
	}
	for code := codes.Canceled; code <= 20; code++ { // 16 is the last; the rest are from the future
		for _, text := range []string{"", "something new"} {
			err := replicas.Classify("m", status.Error(code, text))
			if got := quality.KindOf(err); !slices.Contains(allowed, got) {
				t.Errorf("code %v %q is %s, want one of %v", code, text, got, allowed)
			}
		}
	}
	if got := quality.KindOf(replicas.Classify("m", fmt.Errorf("no status at all"))); got != quality.KindModelUnavailable {
		t.Errorf("an error without a status is %s", got)
	}
}
