//go:build unix

package gateway_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/sqlstore"
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

// TestKeysOutliveNoClock: of two gateways of one store one has its clock set, by a day and
// by a month, forward and back. No key ends before its time or after it, wherever it was
// created, and both say the same of it.
func TestKeysOutliveNoClock(t *testing.T) {
	t.Parallel()
	const month = 31 * 24 * time.Hour
	for _, jump := range []time.Duration{24 * time.Hour, -24 * time.Hour, month, -month} {
		t.Run(jump.String(), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "experiments.db")
			began := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
			var passed, set atomic.Int64
			open := func(set func() int64) *rig {
				c := sqlstore.DefaultConfig()
				c.Path = path
				c.Clock = func() time.Time { return began.Add(time.Duration(passed.Load() + set())) }
				c.Steady = func() time.Duration { return time.Duration(passed.Load()) }
				store, err := sqlstore.Open(t.Context(), c)
				must(t, err)
				t.Cleanup(func() { must(t, store.Close()) })
				keys := access.NewKeys(store, func() time.Time { return time.Unix(0, passed.Load()) },
					slog.New(slog.DiscardHandler))
				t.Cleanup(keys.Close)
				return newRig(t, func(p *plan) { p.keys, p.gateway.OpenScoring = keys, false })
			}
			a, b := open(func() int64 { return 0 }), open(set.Load)
			both := map[string]*rig{"sound": a, "jumped": b}
			created := map[string]gateway.NewAPIKey{}
			create := func(name string, by *rig) {
				t.Helper()
				key, _ := by.created(gateway.KeyRequest{Name: name, Scopes: []access.Scope{access.ScopeRead}, ExpiresIn: "20h"})
				created[name] = key
				want := began.Add(time.Duration(passed.Load()) + 20*time.Hour)
				if key.Expires == nil || !key.Expires.Equal(want) || key.State != access.Valid {
					t.Errorf("%s: %s, expires %v, want %s", name, key.State, key.Expires, want)
				}
				passed.Add(int64(10 * time.Second)) // until all know it
			}
			want := func(when string, state access.State, names ...string) {
				t.Helper()
				for which, r := range both {
					for _, name := range names {
						reply := r.ask(http.MethodGet, "/v1/checkpoints", nil, header(gateway.KeyHeader, created[name].Secret))
						if (reply.status == http.StatusOK) != (state == access.Valid) || state == access.Expired &&
							reply.status != http.StatusUnauthorized {
							t.Errorf("%s, key %s at the %s one: status %d, want it %s", when, name, which, reply.status, state)
						}
					}
					list := r.ask(http.MethodGet, "/v1/keys", nil, asAdmin)
					for _, name := range names {
						if !contains(string(list.body), fmt.Sprintf(`"id":%q`, created[name].ID)) {
							t.Errorf("%s: key %s isn't listed by the %s one", when, name, which)
						}
					}
					if state == access.Valid && contains(string(list.body), `"state":"expired"`) {
						t.Errorf("%s: a key has expired by the %s one: %s", when, which, list.body)
					}
				}
			}
			create("of-a", a)
			create("of-b", b)
			want("before", access.Valid, "of-a", "of-b")
			set.Store(int64(jump))
			want("when it has jumped", access.Valid, "of-a", "of-b")
			create("of-b-later", b)
			passed.Add(int64(19 * time.Hour))
			want("19 hours later", access.Valid, "of-a", "of-b", "of-b-later")
			passed.Add(int64(2 * time.Hour))
			want("after their time", access.Expired, "of-a", "of-b", "of-b-later")
			set.Store(0)
			passed.Add(int64(10 * time.Second))
			want("when it is set right", access.Expired, "of-a", "of-b", "of-b-later")
			set.Store(-int64(jump))
			passed.Add(int64(10 * time.Second))
			want("when it jumps the other way", access.Expired, "of-a", "of-b", "of-b-later")
		})
	}
}
