package gateway_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// admitFunc is an Admitter made of one function.
type admitFunc func(ctx context.Context) error

func (f admitFunc) Admit(ctx context.Context) error { return f(ctx) }

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
	r.checked.ServeHTTP(w, req)
	return reply{w.Code, w.Header(), w.Body.Bytes()}
}

func TestTheDoorIsAskedBeforeTheBody(t *testing.T) {
	full := true
	r := newRig(t, func(p *plan) {
		p.admitter = admitFunc(func(ctx context.Context) error {
			if _, has := ctx.Deadline(); !has {
				t.Error("the admitter does not know how much time there is")
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
	if got := r.values("agiqa.gateway.refusals")["reason=memory"]; got != 1 {
		t.Errorf("agiqa.gateway.refusals{memory} is %d, want 1", got)
	}
	if got := r.ask(http.MethodGet, "/healthz", nil); got.status != 200 {
		t.Errorf("/healthz: status %d", got.status)
	}
}
