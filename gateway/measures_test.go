package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

func TestScoresAreCountedByCheckpoint(t *testing.T) {
	r := newRig(t)
	image := testimages.PNG(8, 8)
	r.post("/v1/score", image, "image/png").scores(t)
	r.post("/v1/compare", image, "image/png").scores(t)
	r.triton.Fail(tritontest.Checkpoint(second).HeadModel(), codes.Internal, "broken")
	r.post("/v1/compare", image, "image/png").scores(t)
	r.post("/v1/score", []byte("no image"), "image/png") // no checkpoint's doing
	want := map[string]int64{
		"checkpoint=demo,outcome=ok": 3, "checkpoint=other,outcome=ok": 1, "checkpoint=other,outcome=error": 1,
	}
	if diff := cmp.Diff(want, r.values("agiqa.checkpoint.scores")); diff != "" {
		t.Errorf("agiqa.checkpoint.scores (-want +got):\n%s", diff)
	}
}

// TestCheckpointLabelsAreFinite: imports make no more values than 64 and _other.
func TestCheckpointLabelsAreFinite(t *testing.T) {
	var names []string
	for i := range 70 {
		names = append(names, fmt.Sprintf("c%02d", i))
	}
	r := newRig(t, func(p *plan) { p.checkpoints = names })
	for _, name := range names {
		r.post("/v1/score?checkpoint="+name, testimages.PNG(8, 8), "image/png").scores(t)
	}
	for i := range 20 { // what is not there is no value at all
		r.post(fmt.Sprintf("/v1/score?checkpoint=stranger%d", i), testimages.PNG(8, 8), "image/png")
	}
	got := r.values("agiqa.checkpoint.scores")
	if len(got) != 65 || got["checkpoint=_other,outcome=ok"] != 6 || got["checkpoint=c00,outcome=ok"] != 1 {
		t.Errorf("%d values, %d of _other, %d of c00; want 65, 6 and 1", len(got), got["checkpoint=_other,outcome=ok"],
			got["checkpoint=c00,outcome=ok"])
	}
}

func TestChangesAreCounted(t *testing.T) {
	l := &ledger{}
	r := newAdminRig(t, l)
	bundle, contentType := bundleForm(t, "manifest", "{}", "weights", "x")
	ask := func(method, path string) {
		headers := []string{"Authorization", "Bearer " + adminKey}
		body := bytes.NewReader(nil)
		if path == "/v1/checkpoints" {
			headers, body = append(headers, "Content-Type", contentType), bytes.NewReader(bundle)
		}
		r.admin(method, path, body, headers...)
	}
	all := func() {
		ask(http.MethodPost, "/v1/checkpoints")
		ask(http.MethodPost, "/v1/checkpoints/a/activate")
		ask(http.MethodPost, "/v1/checkpoints/-/rollback")
		ask(http.MethodDelete, "/v1/checkpoints/a")
	}
	all()
	l.err = quality.Errorf(quality.KindConflict, "no")
	all()
	r.admin(http.MethodDelete, "/v1/checkpoints/a", nil) // without the key nothing is asked
	want := map[string]int64{}
	for _, change := range []string{"import", "activate", "rollback", "remove"} {
		want["change="+change+",outcome=ok"], want["change="+change+",outcome=conflict"] = 1, 1
	}
	if diff := cmp.Diff(want, r.values("agiqa.checkpoint.changes")); diff != "" {
		t.Errorf("agiqa.checkpoint.changes (-want +got):\n%s", diff)
	}
}

func TestReadinessIsShown(t *testing.T) {
	good := func(context.Context) error { return nil }
	bad := func(context.Context) error { return errors.New("no") }
	for _, test := range []struct {
		name   string
		checks []gateway.Check
		ready  int64
		want   map[string]int64
	}{
		{"ready", []gateway.Check{{Name: "encoder", Critical: true, Run: good}}, 1,
			map[string]int64{"check=encoder,critical=true": 0}},
		{"unready", []gateway.Check{{Name: "encoder", Critical: true, Run: bad}}, 0,
			map[string]int64{"check=encoder,critical=true": 1}},
		{"degraded by two checkpoints of three", []gateway.Check{
			{Name: "checkpoint a", Run: bad}, {Name: "checkpoint b", Run: bad},
			{Name: "checkpoint c", Critical: true, Run: good},
		}, 1, map[string]int64{"check=checkpoint,critical=false": 2, "check=checkpoint,critical=true": 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			readiness := gateway.NewReadiness(time.Minute, time.Second, test.checks...)
			r := newRig(t, func(p *plan) { p.readiness = readiness })
			firstRound(t, readiness)
			if got := r.gauge("agiqa.ready"); got != test.ready {
				t.Errorf("agiqa.ready is %d, want %d", got, test.ready)
			}
			if diff := cmp.Diff(test.want, r.values("agiqa.readiness.failing")); diff != "" {
				t.Errorf("agiqa.readiness.failing (-want +got):\n%s", diff)
			}
		})
	}
}
