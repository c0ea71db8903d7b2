//go:build unix

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/proof"
)

func TestPrintStatus(t *testing.T) {
	t.Parallel()
	number := func(f float64) *float64 { return &f }
	past := []experiment.PastPhase{{Phase: 1, Ended: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Coverage: 1_000_000,
		Arms: []experiment.ArmShare{{ID: "a", Weight: 500_000}, {ID: "b", Weight: 500_000}}}}
	for name, c := range map[string]struct {
		arm  gateway.ArmStatus
		want []string
	}{
		"worse": {gateway.ArmStatus{Arm: "b", Effect: number(-0.26), Low: number(-0.4), High: number(-0.1),
			ToGo: gateway.ToGo{Count: 40, Of: "images with blind labels", Estimated: true}},
			[]string{"b: 0.26 worse than the control so far by loss_mse; the effect lies between -0.4 and -0.1\n",
				"  about 40 more images with blind labels to go for a difference of 0.05\n"}},
		"better": {gateway.ArmStatus{Arm: "b", Effect: number(0.26)},
			[]string{"b: 0.26 better than the control so far by loss_mse\n"}},
		"equal": {gateway.ArmStatus{Arm: "b", Effect: number(0)}, []string{"b: like the control so far by loss_mse\n"}},
		"unknown": {gateway.ArmStatus{Arm: "b", ToGo: gateway.ToGo{Count: 300, Of: "pairs with blind preferences"}},
			[]string{"b: nothing known yet by loss_mse\n", "  at least 300 more pairs with blind preferences to go\n"}},
	} {
		var out strings.Builder
		err := printStatus(&out, gateway.ExperimentStatus{
			Experiment: experiment.Experiment{ID: "x", State: experiment.Running, Phase: 2, Primary: experiment.PrimaryLoss,
				MDE: 0.05, Past: past},
			Counts:    map[string]int{"counted": 990, "uncounted": 12},
			Uncounted: map[string]int{"not_blind": 8, "superseded": 4}, Arms: []gateway.ArmStatus{c.arm},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range append(c.want, "feedback: 990 counted, 12 not counted (8 not blind, 4 superseded)\n",
			"phase 1 until 2026-01-02 03:04:05  coverage 100 %  a 50 %  b 50 %\n") {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: it doesn't say %q:\n%s", name, want, &out)
			}
		}
	}
}

// TestReportOfAPhase: the phase that is asked for is the one that the server is.
func TestReportOfAPhase(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 2)
	key := proofKey()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == proof.Path {
			var c proof.Challenge
			if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
				t.Error(err)
			}
			_ = json.NewEncoder(w).Encode(key.Answer(c)) // a client that left
			return
		}
		if strings.HasPrefix(r.URL.Path, "/v1/experiments/") {
			asked <- r.URL.RequestURI()
		}
		_, _ = io.WriteString(w, `{"name":"agiqa"}`) // a client that left
	}))
	t.Cleanup(server.Close)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "/v1/experiments/x/report"}, {[]string{"--phase", "3"}, "/v1/experiments/x/report?phase=3"},
	} {
		cmd := command(t, []string{"AGIQA_ADMIN_KEY=" + testAdminKey}, append([]string{"experiment", "report", "x", "--url", server.URL},
			c.args...)...)
		if raw, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		if got := <-asked; got != c.want {
			t.Errorf("%q: the server is asked for %s, want %s", c.args, got, c.want)
		}
	}
}
