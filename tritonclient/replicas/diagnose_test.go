package replicas_test

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/connectivity"

	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/replicas"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// unreachable are addresses that no gRPC connection comes about with, and a
// part of the cause.
func unreachable(t *testing.T) map[string]string {
	t.Helper()
	http1 := httptest.NewServer(http.NotFoundHandler()) // as Triton's HTTP and metrics ports
	t.Cleanup(http1.Close)
	return map[string]string{
		http1.Listener.Addr().String():          "looks like an HTTP port; give the gRPC port, 8001 by default",
		"no-such-host.invalid:8001":             "host name doesn't resolve",
		proctest.Loopback(proctest.FreePort(t)): "connection refused",
		"unix:///no/such/socket":                "socket doesn't exist",
	}
}

func TestOutagesAreExplainedOnce(t *testing.T) {
	const down, up = connectivity.TransientFailure, connectivity.Ready
	for addr, cause := range unreachable(t) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		got := replicas.Watch(t.Context(), addr, nil, logger, down, down, connectivity.Connecting, down)
		if !strings.Contains(got, cause) {
			t.Errorf("%s: the cause is %q, want %q", addr, got, cause)
		}
		lines := log.String()
		if strings.Count(lines, "\n") != 1 || !strings.Contains(lines, cause) || !strings.Contains(lines, addr) {
			t.Errorf("%s: want one line with address and cause %q, got:\n%s", addr, cause, &log)
		}
		if got := replicas.Watch(t.Context(), addr, nil, logger, down, up); got != "" {
			t.Errorf("%s: reachable, and the cause is still %q", addr, got)
		}
		if !strings.Contains(log.String(), "reachable again") {
			t.Errorf("%s: the end of the outage is not logged:\n%s", addr, &log)
		}
	}
	s := tritontest.New(t)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	if got := replicas.Watch(t.Context(), s.Addr(), nil, logger, down); got != "" || log.Len() > 0 {
		t.Errorf("a gRPC server is explained by %q: %s", got, &log)
	}
}

// TestErrorsCarryTheCause: what readiness shows names the cause and no address.
func TestErrorsCarryTheCause(t *testing.T) {
	for addr, cause := range unreachable(t) {
		r := newPool(t, replicas.Calls{}, addr).Pick(t.Context())
		deadline := time.Now().Add(time.Minute)
		for {
			_, err := pb.NewGRPCInferenceServiceClient(r.Conn()).ServerLive(t.Context(), &pb.ServerLiveRequest{})
			e := wantError(t, r.Failure(t.Context(), "", err), quality.KindModelUnavailable, "")
			host, _, _ := net.SplitHostPort(addr)
			if host != "" && strings.Contains(e.Detail, host) || strings.Contains(e.Detail, "/no/such") {
				t.Errorf("%s: %q holds the address", addr, e.Detail)
			}
			if strings.Contains(e.Detail, "cannot be reached: ") && strings.Contains(e.Detail, cause) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: detail %q, want %q", addr, e.Detail, cause)
			}
		}
	}
}
