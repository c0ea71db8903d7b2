package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"testing"

	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// TestInterrupt: what is under way when a server can't wait any longer is told so,
// whether it waits for Triton or for the rest of its body, and counts as refused by
// the server; a client that had left before counts as before.
func TestInterrupt(t *testing.T) {
	r := newRig(t)
	c := tritontest.Checkpoint(first)
	release := r.triton.Hold(c.EnsembleModel())
	defer release()
	s := httptest.NewUnstartedServer(r.checked)
	r.gateway.Watch(s.Config)
	s.Start()

	answers := make(chan reply, 3)
	post := func(body io.Reader) {
		res, err := s.Client().Post(s.URL+"/v1/score", "image/png", body)
		if err != nil {
			t.Error(err)
			answers <- reply{}
			return
		}
		if !res.Close {
			t.Error("the connection goes on")
		}
		answers <- readReply(t, res)
	}
	go post(bytes.NewReader(testimages.PNG(8, 8)))
	r.triton.WaitCalls(c.EnsembleModel(), 1)

	slow, feed := io.Pipe()
	go post(slow)
	_, err := feed.Write(testimages.PNG(9, 9)[:20])
	must(t, err)

	left, err := net.Dial("tcp", s.Listener.Addr().String())
	must(t, err)
	picture := testimages.PNG(10, 10)
	_, err = fmt.Fprintf(left, "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"+
		"Content-Length: %d\r\n\r\n%s", len(picture), picture)
	must(t, err)
	r.triton.WaitCalls(c.EnsembleModel(), 2)
	must(t, left.Close())
	r.wantGauge("agiqa.requests.active", 2)

	r.gateway.Drain()
	r.gateway.Interrupt()
	for range 2 {
		(<-answers).wantProblem(t, quality.KindDraining)
	}
	must(t, feed.Close())
	s.Close()
	got := r.values("agiqa.request.duration")
	if got["method=POST,route=/v1/score,status=503"] != 2 || got["method=POST,route=/v1/score,status=499"] != 1 {
		t.Errorf("agiqa.request.duration is %v, want two 503 and one 499", got)
	}
	if got := r.values("agiqa.problems"); got["reason=draining"] != 2 || got["reason=client_closed_request"] != 1 {
		t.Errorf("agiqa.problems is %v", got)
	}
}
