//go:build unix

package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// TestClockOfOneGatewayJumps: of two gateways one has its clock set, by a day and by a
// month, forward and back. No experiment stops, no phase ends, no arm is promoted early;
// tasks of either are answered at either; labels that wait for their exposure go on
// waiting, and none is late.
func TestClockOfOneGatewayJumps(t *testing.T) {
	t.Parallel()
	const month = 31 * 24 * time.Hour
	for _, jump := range []time.Duration{24 * time.Hour, -24 * time.Hour, month, -month} {
		t.Run(jump.String(), func(t *testing.T) {
			t.Parallel()
			a := newTrialRig(t)
			a.start("min_duration: 3h\nmax_duration: 20h\n")
			b := a.another()
			both := map[string]*trialRig{"sound": a, "jumped": b}
			refresh := func() {
				t.Helper()
				for _, r := range both {
					must(t, r.engine.Refresh(t.Context()))
				}
			}
			refresh()
			value := 3.0
			orphan := gateway.FeedbackRequest{Key: "orphan", Image: quality.DigestOf(picture(99)).Hex(), Rater: "early",
				Kind: "mos", Value: &value}
			if s := a.postJSON("/v1/feedback", orphan, asAdmin); s.status != http.StatusAccepted {
				t.Fatalf("status %d: %s", s.status, s.body)
			}
			labels := 0
			label := func(when string, issuer, taker *trialRig) {
				t.Helper()
				labels++
				name := fmt.Sprint("rater ", labels)
				issuer.hide(name, picture(labels))
				refresh()
				task := issuer.tasks(gateway.TasksRequest{Rater: name, Count: 1,
					Images: []string{quality.DigestOf(picture(labels)).Hex()}})[0]
				var receipt gateway.FeedbackReceipt
				reply := taker.answer(name, strconv.Itoa(labels), task.Token, 3)
				if err := json.Unmarshal(reply.body, &receipt); err != nil || reply.status != http.StatusCreated ||
					!receipt.Blind || receipt.Standing != "accepted" {
					t.Errorf("%s: status %d: %s", when, reply.status, reply.body)
				}
			}
			work := func(when string) {
				t.Helper()
				label(when+", of the sound one at the other", a, b)
				label(when+", of the other at the sound one", b, a)
				label(when+", at the other alone", b, b)
				b.engine.Watch(t.Context())
				b.engine.Decide(t.Context())
				if _, err := b.store.PurgeOrphans(t.Context()); err != nil {
					t.Error(err)
				}
				for name, r := range both {
					s := r.status()
					if s.Experiment.State != experiment.Running || s.Experiment.Phase != 1 ||
						s.Counts["images_labelled_blind"] != labels {
						t.Fatalf("%s, by the %s one: %s in phase %d, %d labels, want %d", when, name, s.Experiment.State,
							s.Experiment.Phase, s.Counts["images_labelled_blind"], labels)
					}
				}
			}
			work("before")
			b.jump.Store(int64(jump))
			work("when it has jumped")
			missing := fmt.Sprint(b.status().Arms[0].Missing)
			if want := "It has run for"; !contains(missing, want) {
				t.Errorf("min_duration has passed: %s", missing)
			}
			a.nanos.Add(int64(time.Hour))
			work("an hour later")
			label("issued before it is set right", b, b)
			b.jump.Store(0)
			work("when it is set right")
			a.hide("u", picture(99)) // what the orphan waited for
			if s := a.status(); s.Counts["images_labelled"] != labels+1 {
				t.Errorf("%d images with labels, want %d: the one that waited is lost", s.Counts["images_labelled"], labels+1)
			}

			// The time that does pass is over for both.
			a.nanos.Add(int64(20 * time.Hour))
			b.engine.Decide(t.Context())
			if s := a.status(); s.Experiment.State != experiment.Stopped {
				t.Errorf("after its time it is %s", s.Experiment.State)
			}
		})
	}
}

// TestStoppedElsewhere: once one gateway has ended an experiment, and so tells scores
// again, another that did not hear of it yet takes no answer for blind.
func TestStoppedElsewhere(t *testing.T) {
	t.Parallel()
	a := newTrialRig(t)
	a.start("")
	b := a.another()
	must(t, b.engine.Refresh(t.Context()))
	a.hide("u", picture(1))
	task := a.tasks(gateway.TasksRequest{Rater: "r", Count: 1})[0]
	a.changed("stop", nil)
	var receipt gateway.FeedbackReceipt
	reply := b.answer("r", "1", task.Token, 3)
	if err := json.Unmarshal(reply.body, &receipt); err != nil || reply.status != http.StatusCreated || receipt.Blind ||
		receipt.Counts || !contains(receipt.Reason, "not blind: experiment x is stopped") {
		t.Errorf("status %d: %s", reply.status, reply.body)
	}
	if s := b.status(); s.Counts["images_labelled_blind"] != 0 || s.Counts["images_labelled"] != 1 {
		t.Errorf("counts %v", s.Counts)
	}
}
