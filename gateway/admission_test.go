package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// doorFunc is a door made of one function.
type doorFunc func(ctx context.Context) error

func (f doorFunc) Admit(ctx context.Context) error { return f(ctx) }

// unreadable fails the test when somebody reads it.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body of a request that is refused was read")
	return 0, io.EOF
}

func (u unreadable) Close() error { return nil }

// postUnread sends a request that must be answered without its body.
func (r *rig) postUnread(target string, length int64, edits ...edit) reply {
	r.t.Helper()
	req := httptest.NewRequest(http.MethodPost, target, unreadable{r.t}).WithContext(r.t.Context())
	req.ContentLength = length
	req.Header.Set("Content-Type", "image/png")
	for _, e := range edits {
		e(req)
	}
	w := httptest.NewRecorder()
	r.gateway.Handler().ServeHTTP(w, req)
	return reply{w.Code, w.Header(), w.Body.Bytes()}
}

func TestTheDoorIsAskedBeforeTheBody(t *testing.T) {
	full := true
	r := newRig(t, func(p *plan) {
		p.door = doorFunc(func(ctx context.Context) error {
			if _, has := ctx.Deadline(); !has {
				t.Error("the door does not know how much time there is")
			}
			if full {
				return quality.Errorf(quality.KindOverloaded, "full").After(3 * time.Second)
			}
			return nil
		})
	})
	for _, target := range []string{"/v1/score", "/v1/compare", "/v1/preprocess"} {
		got := r.postUnread(target, 1000)
		if p := got.wantProblem(t, quality.KindOverloaded); p.RetryAfterMS != 3000 || got.header.Get("Retry-After") != "3" {
			t.Errorf("%s: retry after %d ms, header %q", target, p.RetryAfterMS, got.header.Get("Retry-After"))
		}
	}
	if got := r.ask(http.MethodGet, "/v1/checkpoints", nil); got.status != 200 {
		t.Errorf("what is no scoring work: status %d", got.status)
	}
	full = false
	if got := r.post("/v1/score", testimages.PNG(8, 8), "image/png"); got.status != 200 {
		t.Errorf("once there is room: status %d: %s", got.status, got.body)
	}
}

func TestMemoryPressureShedsScoring(t *testing.T) {
	r := newRig(t, func(p *plan) { p.pressure = func() bool { return true } })
	r.postUnread("/v1/score", 10).wantProblem(t, quality.KindOverloaded)
	if got := r.sums("agiqa.gateway.refusals")["reason=memory"]; got != 1 {
		t.Errorf("agiqa.gateway.refusals{memory} is %d, want 1", got)
	}
	if got := r.ask(http.MethodGet, "/healthz", nil); got.status != 200 {
		t.Errorf("/healthz: status %d", got.status)
	}
}

// Bodies count as they arrive, not as they are announced, and give their memory
// back.
func TestBodyMemory(t *testing.T) {
	r := newRig(t, func(p *plan) { p.gateway.MaxBodyBytes, p.gateway.MaxBodyMemory = 1000, 1500 })
	image := testimages.PNG(8, 8)
	if len(image) > 900 {
		t.Fatalf("the image has %d bytes", len(image))
	}
	server := r.serve()
	reader, writer := io.Pipe()
	slow, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/score", reader)
	must(t, err)
	slow.ContentLength = 1000
	slow.Header.Set("Content-Type", "image/png")
	done := make(chan reply, 1)
	go func() {
		resp, err := http.DefaultClient.Do(slow)
		if err != nil {
			t.Errorf("slow request: %v", err)
			done <- reply{}
			return
		}
		done <- readReply(t, resp)
	}()
	_, err = writer.Write(append(bytes.Clone(image), make([]byte, 800-len(image))...))
	must(t, err)
	r.wantGauge("agiqa.bodies.memory", 800)
	r.postUnread("/v1/score", 900).wantProblem(t, quality.KindOverloaded) // does not fit
	if got := r.post("/v1/score", image, "image/png"); got.status != 200 {
		t.Errorf("a body that fits: status %d: %s", got.status, got.body)
	}
	// Of unknown length: refused when it has come too far.
	long := r.ask(http.MethodPost, "/v1/score", append(bytes.Clone(image), make([]byte, 1000-len(image))...), header("Content-Type", "image/png"),
		func(req *http.Request) { req.ContentLength = -1 })
	long.wantProblem(t, quality.KindOverloaded)
	if got := r.sums("agiqa.gateway.refusals")["reason=body_memory"]; got != 2 {
		t.Errorf("agiqa.gateway.refusals{body_memory} is %d, want 2", got)
	}
	_, err = writer.Write(make([]byte, 200))
	must(t, err)
	must(t, writer.Close())
	if got := <-done; got.status != 200 {
		t.Errorf("slow request: status %d: %s", got.status, got.body)
	}
	r.wantGauge("agiqa.bodies.memory", 0)
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := gateway.NewLimiter(gateway.RateLimit{PerSecond: 2, Burst: 3, Header: "X-API-Key", Keys: 2}, time.Now)
		ask := func(edits ...edit) time.Duration {
			req := httptest.NewRequest(http.MethodPost, "/v1/score", nil)
			for _, e := range edits {
				e(req)
			}
			return l.Wait(req)
		}
		mine, other := header("X-API-Key", "mine"), header("Authorization", "Bearer other")
		for i := range 3 {
			if wait := ask(mine); wait != 0 {
				t.Errorf("request %d of the burst waits %s", i, wait)
			}
		}
		for range 3 { // refusals cost nothing more
			if wait := ask(mine); wait != 500*time.Millisecond {
				t.Errorf("beyond the burst: wait %s, want 500ms", wait)
			}
		}
		if wait := ask(other); wait != 0 {
			t.Errorf("another client waits %s", wait)
		}
		time.Sleep(500 * time.Millisecond)
		if wait := ask(mine); wait != 0 {
			t.Errorf("half a second later: wait %s", wait)
		}
		if wait := ask(mine); wait == 0 {
			t.Error("half a second gives one request, not two")
		}
		for i := range 5 { // by address, two are remembered
			if wait := ask(func(r *http.Request) { r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1000", i) }); wait != 0 {
				t.Errorf("address %d waits %s", i, wait)
			}
		}
		if n := l.Len(); n != 2 {
			t.Errorf("%d clients are remembered, want 2", n)
		}
		same := func(port string) edit { return func(r *http.Request) { r.RemoteAddr = "192.0.2.9:" + port } }
		for i := range 4 {
			if wait := ask(same(fmt.Sprint(1000 + i))); (wait > 0) != (i == 3) {
				t.Errorf("request %d of one address on several ports waits %s", i, wait)
			}
		}
	})
}

func TestRateLimitAnswer(t *testing.T) {
	r := newRig(t, func(p *plan) {
		p.gateway.RateLimit = gateway.DefaultRateLimit()
		p.gateway.RateLimit.PerSecond, p.gateway.RateLimit.Burst = 0.25, 1
	})
	if got := r.post("/v1/score", testimages.PNG(8, 8), "image/png"); got.status != 200 {
		t.Fatalf("the first: status %d", got.status)
	}
	got := r.postUnread("/v1/score", 10)
	if p := got.wantProblem(t, quality.KindRateLimited); p.RetryAfterMS < 3000 || p.RetryAfterMS > 4000 {
		t.Errorf("retry after %d ms, want nearly four seconds", p.RetryAfterMS)
	}
	if got := r.ask(http.MethodGet, "/v1/checkpoints", nil); got.status != 200 {
		t.Errorf("what is no scoring work: status %d", got.status)
	}
	if got := r.sums("agiqa.gateway.refusals")["reason=rate_limit"]; got != 1 {
		t.Errorf("agiqa.gateway.refusals{rate_limit} is %d, want 1", got)
	}
}
