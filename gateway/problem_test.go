package gateway_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

func TestEveryKindHasARow(t *testing.T) {
	table := gateway.TableKinds()
	for _, kind := range quality.Kinds() {
		if whole, ok := table[kind]; !ok || !whole {
			t.Errorf("kind %s: row %v, with title and status %v", kind, ok, whole)
		}
		delete(table, kind)
	}
	for kind := range table {
		t.Errorf("the table has %s, which is no kind", kind)
	}
}

func TestStatusOfUnknownKind(t *testing.T) {
	if got := gateway.StatusOf("nobody_knows"); got != http.StatusInternalServerError {
		t.Errorf("status %d, want 500", got)
	}
}

// failing is a use case that fails as it is told.
type failing struct {
	gateway.Scorer
	err error
}

func (f failing) Score(context.Context, scoring.Request) (scoring.Response, error) {
	return scoring.Response{}, f.err
}

// TestEveryKindOverHTTP: whatever kind the use case fails with arrives whole.
func TestEveryKindOverHTTP(t *testing.T) {
	for _, kind := range quality.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			r := newRig(t, func(p *plan) {
				p.mayBreak = true
				// Nothing below the routes fails so.
				p.undocumented = slices.Contains([]int{405, 406, 431, 499}, gateway.StatusOf(kind))
				p.wrap = func(s gateway.Scorer) gateway.Scorer {
					return failing{s, quality.Errorf(kind, "told").Because(context.DeadlineExceeded)}
				}
			})
			p := r.post("/v1/score", testimages.PNG(8, 8), "image/png").wantProblem(t, kind)
			if p.Detail != "told" {
				t.Errorf("detail %q, want that of the error and nothing of its cause", p.Detail)
			}
			if got := r.values("agiqa.problems"); len(got) != 1 || got["reason="+string(kind)] != 1 {
				t.Errorf("agiqa.problems is %v, want one %s", got, kind)
			}
		})
	}
}

func TestRetryAfterIsInWholeSeconds(t *testing.T) {
	for _, test := range []struct {
		after time.Duration
		ms    int64
		want  string
	}{{0, 1000, "1"}, {300 * time.Millisecond, 300, "1"}, {1001 * time.Millisecond, 1001, "2"},
		{time.Minute, 60000, "60"}} {
		r := newRig(t, func(p *plan) {
			p.wrap = func(s gateway.Scorer) gateway.Scorer {
				return failing{s, quality.Errorf(quality.KindOverloaded, "told").After(test.after)}
			}
		})
		answer := r.post("/v1/score", testimages.PNG(8, 8), "image/png")
		p := answer.wantProblem(t, quality.KindOverloaded)
		if got := answer.header.Get("Retry-After"); got != test.want || p.RetryAfterMS != test.ms {
			t.Errorf("after %v: header %s, member %d; want %s, %d", test.after, got, p.RetryAfterMS, test.want, test.ms)
		}
	}
}

// TestEveryProvokedCode is the error contract, as a client can bring it about.
func TestEveryProvokedCode(t *testing.T) {
	file := testimages.PNG(32, 32)
	ensemble := tritontest.Checkpoint(first).EnsembleModel()
	score := func(r *rig) reply { return r.post("/v1/score", file, "image/png") }
	for _, test := range []struct {
		name string
		kind quality.Kind
		ask  func(r *rig) reply
	}{
		{"bad query", quality.KindBadRequest,
			func(r *rig) reply { return r.post("/v1/score?include=weights", file, "image/png") }},
		{"many parameters", quality.KindBadRequest, func(r *rig) reply {
			return r.post("/v1/score?"+strings.Repeat("checkpoint=demo&", 65), file, "image/png")
		}},
		{"bad value in a second parameter", quality.KindBadRequest, func(r *rig) reply {
			return r.post("/v1/score?include=embedding&include=weights", file, "image/png")
		}},
		{"many checkpoints", quality.KindBadRequest, func(r *rig) reply {
			return r.post("/v1/score?checkpoint="+strings.Repeat("demo,", 64)+"demo", file, "image/png")
		}},
		{"no route", quality.KindNotFound, func(r *rig) reply { return r.ask(http.MethodGet, "/nothing", nil) }},
		{"no checkpoint", quality.KindCheckpointNotFound,
			func(r *rig) reply { return r.ask(http.MethodGet, "/v1/checkpoints/nothing", nil) }},
		{"wrong method", quality.KindMethodNotAllowed, func(r *rig) reply { return r.ask(http.MethodGet, "/v1/score", nil) }},
		{"checkpoint of another encoder", quality.KindEncoderMismatch, func(r *rig) reply {
			other := tritontest.Encoder()
			other.Digest = quality.DigestOf([]byte("another"))
			r.service.Use(&scoring.Models{Encoder: other})
			return score(r)
		}},
		{"no encoder yet", quality.KindModelUnavailable, func(r *rig) reply { r.service.Use(nil); return score(r) }},
		{"lying model", quality.KindModelBadOutput, func(r *rig) reply {
			r.triton.Lie(ensemble, func(m *pb.ModelInferResponse) { m.Outputs[0].Shape = []int64{7} })
			return score(r)
		}},
		{"queue of Triton is full", quality.KindOverloaded, func(r *rig) reply {
			r.triton.Fail(ensemble, codes.Unavailable, tritontest.QueueFull)
			return score(r)
		}},
		{"waited too long in Triton", quality.KindDeadlineExceeded, func(r *rig) reply {
			r.triton.Fail(ensemble, codes.Unavailable, tritontest.QueueTimeout)
			return score(r)
		}},
		{"Triton stops", quality.KindModelUnavailable, func(r *rig) reply {
			r.triton.Fail(ensemble, codes.Unavailable, tritontest.Exiting)
			return score(r)
		}},
		{"model was unloaded", quality.KindModelUnavailable, func(r *rig) reply {
			r.triton.Unload(tritontest.Checkpoint(first).HeadModel())
			return score(r)
		}},
		{"draining", quality.KindDraining, func(r *rig) reply { r.gateway.Drain(); return score(r) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			test.ask(r).wantProblem(t, test.kind)
		})
	}
}

// TestAcceptIsNoReasonToFail: there is one form of answer, and it is sent to
// whoever asks for another.
func TestAcceptIsNoReasonToFail(t *testing.T) {
	r := newRig(t)
	for _, accept := range []string{
		"*/*", "application/json", "application/problem+json", "text/html", "application/xml;q=0.9",
		"application/cbor", "application/json;q=0",
		";", "q=;,", strings.Repeat("a/b,", 10_000), "\xff",
	} {
		answer := r.post("/v1/score", testimages.PNG(8, 8), "image/png", header("Accept", accept))
		answer.scores(t)
		if got := answer.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Accept %.40q: Content-Type %q, want application/json", accept, got)
		}
		r.post("/v1/score", []byte("x"), "image/png", header("Accept", accept)).wantProblem(t,
			quality.KindUnsupportedImageFormat)
	}
}

// TestCheckpointNames: a name that is not there is named, wherever it stands and
// whatever it is, with those that are there. Nothing of it is repeated that
// could be more than text.
func TestCheckpointNames(t *testing.T) {
	r := newRig(t)
	file := testimages.PNG(8, 8)
	for _, name := range []string{
		"../demo", "..", "/etc/passwd", `..\demo`, "demo\x00", strings.Repeat("a", 10_000), "dеmo", "DEMO",
		"CON", "*", "nobody", "{demo}",
		"demo\nx", "demo%00", "sha256:00", "a/b/c", "?", "#", "demo/../demo", "<script>", "\u202edemo", "\xff",
	} {
		want := "checkpoint " + quality.Quote(name) + " not found; available: demo, other"
		if len(want) > 500 || strings.ContainsFunc(want, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("a detail that is not short and plain: %q", want)
		}
		problems := map[string]reply{
			"path": r.ask(http.MethodGet, "/v1/checkpoints/"+escape(name), nil),
			"json": r.post("/v1/score", []byte(`{"images":[{"data":"`+base64Of(file)+`"}],"checkpoint":`+quote(t, name)+`}`),
				"application/json"),
			"list": r.post("/v1/compare",
				[]byte(`{"images":[{"data":"`+base64Of(file)+`"}],"checkpoints":[`+quote(t, name)+`]}`), "application/json"),
		}
		if strings.TrimSpace(name) == name {
			problems["query"] = r.post("/v1/score?checkpoint="+escape(name), file, "image/png")
		}
		for where, answer := range problems {
			if name == "\xff" && where != "path" {
				continue // quote makes it valid
			}
			if p := answer.wantProblem(t, quality.KindCheckpointNotFound); p.Detail != want || len(p.Errors) != 0 {
				t.Errorf("%.40q in the %s: %q, want %q", name, where, p.Detail, want)
			}
		}
	}
}

// escape escapes every byte that is not a letter or digit.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			b.WriteByte(c)
		} else {
			const hex = "0123456789abcdef"
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
