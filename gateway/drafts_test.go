//go:build unix

package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// twoArms is a definition of the rig's two checkpoints.
func twoArms(id, more string) string {
	return fmt.Sprintf("id: %s\narms: [{checkpoint: %s}, {id: new, checkpoint: %s}]\n%s", id, first, second, more)
}

// do asks for an experiment by the admin's key, and reads it where there is one.
func (r *trialRig) do(method, path, body string) (gateway.ChangedExperiment, reply) {
	r.t.Helper()
	kind := "application/yaml"
	if strings.HasPrefix(body, "{") {
		kind = "application/json"
	}
	a := r.ask(method, "/v1/experiments"+path, []byte(body), asAdmin, header("Content-Type", kind))
	var x gateway.ChangedExperiment
	if a.status < 300 {
		must(r.t, json.Unmarshal(a.body, &x))
	}
	return x, a
}

// made is do for what has to work.
func (r *trialRig) made(method, path, body string) gateway.ChangedExperiment {
	r.t.Helper()
	x, a := r.do(method, path, body)
	if a.status >= 300 {
		r.t.Fatalf("%s %s: status %d: %s", method, path, a.status, a.body)
	}
	return x
}

func (r *trialRig) listed(query string) (ids []string) {
	r.t.Helper()
	a := r.ask(http.MethodGet, "/v1/experiments"+query, nil, asAdmin)
	var out struct{ Experiments []experiment.Experiment }
	must(r.t, json.Unmarshal(a.body, &out))
	for _, x := range out.Experiments {
		ids = append(ids, string(x.ID))
	}
	return ids
}

// TestDrafts: what a person may do to an experiment before it runs, and when it is
// over.
func TestDrafts(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	draft := r.made("POST", "", twoArms("a", "hypothesis: one\nramp: [{coverage: 10%}, {coverage: 100%}]\n"))

	edited := r.made("PUT", "/a?revision=1", twoArms("a", "hypothesis: two\nmin_labels: 500\n"))
	if edited.Hypothesis != "two" || edited.MinLabels != 500 || edited.Revision != 2 || edited.Phase != 1 ||
		edited.State != experiment.Draft || !edited.Created.Equal(draft.Created) || edited.Coverage != experiment.Whole {
		t.Errorf("edited: %+v", edited)
	}
	edited = r.made("PUT", "/a", fmt.Sprintf(`{"id":"a","arms":[{"checkpoint":%q},{"id":"other","checkpoint":%q}]}`,
		first, second))
	if edited.Arms[1].ID != "other" || edited.Revision != 3 {
		t.Errorf("edited by JSON: %+v", edited)
	}
	if status := r.ask(http.MethodGet, "/v1/experiments/a", nil, asAdmin); !strings.Contains(string(status.body),
		`"arm":"other"`) {
		t.Errorf("the status is of the former arms: %s", status.body)
	}
	_, a := r.do("PUT", "/a?revision=1", twoArms("a", ""))
	a.wantProblem(t, quality.KindConflict)
	_, a = r.do("PUT", "/a", twoArms("b", ""))
	if p := a.wantProblem(t, quality.KindExperimentInvalid); !strings.Contains(p.Detail, "id: is b") {
		t.Error(p.Detail)
	}
	_, a = r.do("PUT", "/a", twoArms("a", "alpha: 2\n"))
	a.wantProblem(t, quality.KindExperimentInvalid)
	_, a = r.do("PUT", "/none", twoArms("none", ""))
	a.wantProblem(t, quality.KindNotFound)

	r.made("POST", "/a/archive", "")
	if got := r.listed(""); len(got) > 0 {
		t.Errorf("listed in spite of the archive: %v", got)
	}
	if got := r.listed("?archived=true"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the archive: %v", got)
	}
	for _, path := range []string{"/a/start", "/a/archive"} {
		_, a = r.do("POST", path, "")
		if p := a.wantProblem(t, quality.KindConflict); !strings.Contains(p.Detail, "restore") {
			t.Error(p.Detail)
		}
	}
	_, a = r.do("DELETE", "/a", "")
	a.wantProblem(t, quality.KindConflict)
	r.made("POST", "/a/restore", "")
	_, a = r.do("POST", "/a/restore", "")
	a.wantProblem(t, quality.KindConflict)

	_, a = r.do("DELETE", "/a?revision=1", "")
	a.wantProblem(t, quality.KindConflict)
	r.made("DELETE", "/a", "")
	_, a = r.do("GET", "/a", "")
	a.wantProblem(t, quality.KindNotFound)
	_, a = r.do("DELETE", "/a", "")
	a.wantProblem(t, quality.KindNotFound)

	// The id is free, and nothing of the former draft is left.
	r.nanos.Add(int64(time.Second))
	again := r.made("POST", "", twoArms("a", ""))
	audits := r.ask(http.MethodGet, "/v1/experiments/a/audits", nil, asAdmin)
	if again.Revision != 1 || strings.Count(string(audits.body), `"action"`) != 1 {
		t.Errorf("%+v, %s", again, audits.body)
	}
	if status := r.ask(http.MethodGet, "/v1/experiments/a", nil, asAdmin); !strings.Contains(string(status.body),
		`"arm":"new"`) {
		t.Errorf("the status is of the former draft: %s", status.body)
	}

	r.made("POST", "/a/start", "")
	for _, ask := range [][2]string{{"PUT", "/a"}, {"DELETE", "/a"}, {"POST", "/a/archive"}} {
		_, a = r.do(ask[0], ask[1], twoArms("a", ""))
		a.wantProblem(t, quality.KindConflict)
	}
	clone := r.made("POST", "/a/clone", `{"id":"b"}`)
	if clone.ID != "b" || clone.Name != "b" || clone.State != experiment.Draft || clone.Revision != 1 ||
		clone.Salt == again.Salt || !clone.Started.IsZero() || clone.Arms[1] != again.Arms[1] {
		t.Errorf("clone %+v", clone)
	}
	_, a = r.do("POST", "/a/clone", `{"id":"b"}`)
	a.wantProblem(t, quality.KindConflict)
	_, a = r.do("POST", "/a/clone", `{"id":"No!"}`)
	a.wantProblem(t, quality.KindExperimentInvalid)

	r.made("POST", "/a/stop", "")
	_, a = r.do("DELETE", "/a", "")
	if p := a.wantProblem(t, quality.KindConflict); !strings.Contains(p.Detail, "archive it") {
		t.Error(p.Detail)
	}
	r.made("POST", "/a/archive", "")
	if got := r.listed(""); !slices.Equal(got, []string{"b"}) {
		t.Errorf("listed: %v", got)
	}
}

// TestDraftsHoldNoNamespace: a draft stands in nobody's way, until another one has
// taken its part of the namespace.
func TestDraftsHoldNoNamespace(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	r.made("POST", "", twoArms("plan", "namespace: {name: n, from: 0%, to: 60%}\n"))
	r.made("POST", "", twoArms("work", "namespace: {name: n, from: 50%, to: 100%}\n"))
	if x := r.made("POST", "/work/start", ""); len(x.Warnings) > 0 {
		t.Errorf("warnings %q", x.Warnings)
	}
	_, a := r.do("POST", "/plan/start", "")
	if p := a.wantProblem(t, quality.KindConflict); !strings.Contains(p.Detail,
		"work, which is running, has 50 % to 100 % of namespace n, and plan asks for 0 % to 60 %") {
		t.Error(p.Detail)
	}
	r.made("POST", "/work/pause", "") // still holds it: it may be resumed
	_, a = r.do("POST", "/plan/start", "")
	a.wantProblem(t, quality.KindConflict)
	r.made("POST", "/work/stop", "")
	r.made("POST", "/plan/start", "")
}

// aboutThirty is what 40,000 units say of 70 %: the salt is another one in each run.
var aboutThirty = regexp.MustCompile(`asks for 100 % of all units and gets about (29|30|31) %.*` +
	`everybody takes about (69|70|71) % of these`)

// TestExperimentsThatStarveEachOther: who starts an experiment that others leave
// little or nothing is told so, with the numbers.
func TestExperimentsThatStarveEachOther(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	create := func(id, more string) { r.made("POST", "", twoArms(id, more)) }
	create("everybody", "")
	create("second", "")
	if x := r.made("POST", "/everybody/start", ""); len(x.Warnings) > 0 {
		t.Errorf("alone: %q", x.Warnings)
	}
	r.nanos.Add(int64(time.Second))
	_, a := r.do("POST", "/second/start", "")
	p := a.wantProblem(t, quality.KindConflict)
	for _, want := range []string{"second asks for 100 % of all units and gets none",
		"everybody takes about 100 % of these"} {
		if !strings.Contains(p.Detail, want) {
			t.Errorf("%q is missing: %s", want, p.Detail)
		}
	}
	// An audience that the first one does not have.
	create("photos", "audience: {style: [photo]}\n")
	_, a = r.do("POST", "/photos/start", "")
	a.wantProblem(t, quality.KindConflict)

	r.made("POST", "/everybody/ramp", `{"coverage":"70%"}`)
	x := r.made("POST", "/second/start", "")
	if len(x.Warnings) != 1 || !aboutThirty.MatchString(x.Warnings[0]) {
		t.Errorf("warnings %q", x.Warnings)
	}
	var status gateway.ExperimentStatus
	a = r.ask(http.MethodGet, "/v1/experiments/everybody", nil, asAdmin)
	must(t, json.Unmarshal(a.body, &status))
	if !slices.Equal(status.Warnings, x.Warnings) {
		t.Errorf("the other one's status: %q", status.Warnings)
	}
	audits := r.ask(http.MethodGet, "/v1/experiments/second/audits", nil, asAdmin)
	if !strings.Contains(string(audits.body), `"share of units left":"0.`) || !strings.Contains(string(audits.body),
		"everybody takes") {
		t.Errorf("audits %s", audits.body)
	}
	// What is said is what happens.
	got, asked := 0, 400
	for n := range asked {
		if result := r.show(fmt.Sprint("user ", n), picture(n%4)); result.Experiment.ID == "second" {
			got++
		}
	}
	if share := float64(got) / float64(asked); share < 0.2 || share > 0.4 {
		t.Errorf("second gets %.2f of the requests", share)
	}
	// A wider coverage of the one takes from the other.
	x = r.made("POST", "/everybody/ramp", `{"coverage":"100%"}`)
	if len(x.Warnings) != 1 || !strings.Contains(x.Warnings[0], "second asks for 100 % of all units and gets none") {
		t.Errorf("after a ramp: %q", x.Warnings)
	}

	// Parts of one namespace, and audiences that have nothing in common, do not meet.
	other := newTrialRig(t)
	for id, more := range map[string]string{
		"n1": "namespace: {name: n, from: 0%, to: 40%}\naudience: {style: [photo]}\n",
		"n2": "namespace: {name: n, from: 40%, to: 80%}\naudience: {style: [photo]}\n",
		"an": "audience: {style: [anime]}\n",
	} {
		other.made("POST", "", twoArms(id, more))
		if x := other.made("POST", "/"+id+"/start", ""); len(x.Warnings) > 0 {
			t.Errorf("%s: %q", id, x.Warnings)
		}
		other.nanos.Add(int64(time.Second))
	}
	other.made("POST", "", twoArms("all", ""))
	x = other.made("POST", "/all/start", "")
	if len(x.Warnings) != 1 || !strings.Contains(x.Warnings[0], "gets between 0.0 % and 100 %") ||
		!strings.Contains(x.Warnings[0], "(style anime)") {
		t.Errorf("audiences: %q", x.Warnings)
	}
}

// TestExperimentsThatStartAtOnce: of experiments that are started at the same moment, at
// two gateways of one store, each one is held against those that started before it.
func TestExperimentsThatStartAtOnce(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, more string
		starts     int
		detail     string // of the 409; "": all start
	}{
		{"every request", "", 16, "gets none: a request takes part in the experiment that was started first, and x"},
		{"one part of a namespace", "namespace: {name: n, from: 10%, to: 60%}\n", 16,
			"which is running, has 10 % to 60 % of " +
				"namespace n"},
		{"half of the requests", "coverage: 50%\n", 6, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := newTrialRig(t)
			gateways := []*trialRig{a, a.another()}
			for n := range tc.starts {
				a.made("POST", "", twoArms(fmt.Sprint("x", n), tc.more))
			}
			replies := make([]reply, tc.starts)
			var group sync.WaitGroup
			for n := range tc.starts {
				group.Go(func() {
					replies[n] = gateways[n%2].ask(http.MethodPost, fmt.Sprintf("/v1/experiments/x%d/start", n), nil, asAdmin)
				})
			}
			group.Wait()
			var started []gateway.ChangedExperiment
			for _, reply := range replies {
				if reply.status == http.StatusOK {
					var x gateway.ChangedExperiment
					must(t, json.Unmarshal(reply.body, &x))
					started = append(started, x)
				} else if p := reply.wantProblem(t, quality.KindConflict); tc.detail == "" ||
					!strings.Contains(p.Detail, tc.detail) {
					t.Error(p.Detail)
				}
			}
			if tc.detail != "" {
				if len(started) != 1 {
					t.Errorf("%d started", len(started))
				}
				return
			}
			// The clock stands, and yet there is an order: each gets about half of what those
			// before it left, and was told so.
			slices.SortFunc(started, func(x, y gateway.ChangedExperiment) int { return x.Started.Compare(y.Started) })
			left := 0.5
			for n, x := range started {
				if n > 0 && !x.Started.After(started[n-1].Started) {
					t.Errorf("%s and %s started at the same time", started[n-1].ID, x.ID)
				}
				audits := a.ask(http.MethodGet, fmt.Sprintf("/v1/experiments/%s/audits", x.ID), nil, asAdmin)
				var trail struct{ Audits []experiment.Audit }
				must(t, json.Unmarshal(audits.body, &trail))
				share, err := strconv.ParseFloat(trail.Audits[1].Numbers["share of units left"], 64)
				if err != nil || math.Abs(share-left) > 0.02 || n > 0 && len(x.Warnings) == 0 {
					t.Errorf("the start number %d was told of %.3f of the units (%v), want %.3f; warnings %q", n, share, err, left,
						x.Warnings)
				}
				left /= 2
			}
			if len(started) != tc.starts {
				t.Errorf("%d started", len(started))
			}
		})
	}
}

// TestAA: one checkpoint in two arms is a test of the experiment itself, says so
// wherever it is shown, and never promotes.
func TestAA(t *testing.T) {
	t.Parallel()
	const text = "A/A test: both arms are the same checkpoint"
	r := newTrialRig(t)
	if _, a := r.do("POST", "",
		fmt.Sprintf("id: x\narms: [{checkpoint: %s}, {checkpoint: %[1]s}]\n", first)); !strings.Contains(
		a.wantProblem(t, quality.KindExperimentInvalid).Detail, "give every arm an id of its own") {
		t.Errorf("%s", a.body)
	}
	_, a := r.do("POST", "", fmt.Sprintf("id: y\narms: [{checkpoint: %s}, {id: b, checkpoint: %s}, {id: c, checkpoint: "+
		"%[2]s}]\n",
		first, second))
	a.wantProblem(t, quality.KindExperimentInvalid) // two treatments alike are no A/A test
	r.made("POST", "", fmt.Sprintf("id: x\narms: [{checkpoint: %s}, {id: twin, checkpoint: %[1]s}]\nauto: act\n"+
		"min_labels: 1\nmin_raters: 1\nmin_duration: 0s\n", first))
	r.made("POST", "/x/start", "")
	arms := map[string]int{}
	for n := range 40 {
		result := r.show(fmt.Sprint("user ", n), picture(n))
		arms[result.Experiment.Arm]++
		if result.Checkpoint.Name != first {
			t.Errorf("answered by %s", result.Checkpoint.Name)
		}
	}
	if len(arms) != 2 {
		t.Errorf("arms %v", arms)
	}
	var status gateway.ExperimentStatus
	a = r.ask(http.MethodGet, "/v1/experiments/x", nil, asAdmin)
	must(t, json.Unmarshal(a.body, &status))
	if status.AA != text || status.Recommends != "" || !strings.HasPrefix(status.Arms[0].Missing[0], text) {
		t.Errorf("status %s", a.body)
	}
	var report analysis.Report
	a = r.ask(http.MethodGet, "/v1/experiments/x/report", nil, asAdmin)
	must(t, json.Unmarshal(a.body, &report))
	if !report.Quality.AA || report.Quality.AANote != text+". A difference is the sign of a fault." {
		t.Errorf("report: %+v", report.Quality)
	}
	page := r.ask(http.MethodGet, "/v1/experiments/x/report.html", nil, asAdmin)
	if !strings.Contains(string(page.body), text) {
		t.Error("the page does not say it")
	}
	for _, body := range []string{`{"arm":"twin"}`, `{"arm":"twin","force":true,"reason":"I want to"}`} {
		_, a = r.do("POST", "/x/promote", body)
		if p := a.wantProblem(t, quality.KindConflict); !strings.Contains(p.Detail, text) {
			t.Error(p.Detail)
		}
	}
	r.engine.Decide(t.Context())
	if x, err := r.engine.Get(t.Context(), "x"); err != nil || x.State != experiment.Running || x.Recommended != "" {
		t.Errorf("%s, recommended %q, %v", x.State, x.Recommended, err)
	}
}

// TestFaultsOfADefinition: nothing is replaced by a default or cut, and everything
// is told at once, in words.
func TestFaultsOfADefinition(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	for text, want := range map[string]string{
		"alpha: 0":             "alpha: is 0, must be above 0 and at most 0.5",
		"mde: 0":               "mde: is 0, must be positive",
		"horizon: 0":           "horizon: is 0, must be at least 10",
		"horizon: 1.5":         `"1.5" where a whole number belongs`,
		"min_labels: 0":        "min_labels: is 0, must be positive",
		"min_labels: 99.5":     `min_labels: line 3: "99.5" where a whole number belongs`,
		"min_raters: 0":        "min_raters: is 0, must be positive",
		"max_duration: 0s":     "max_duration: is 0s, must be positive",
		"min_duration: 3 days": `"3 days" where a duration, such as "36h" or "3d", belongs`,
		"alpha:":               "alpha: line 3: has no value; leave the field out for its default",
		`primary: ""`:          "primary: line 3: has no value",
		"auto: ~":              "auto: line 3: has no value",
		"coverage: 0.5":        `coverage: line 3: "0.5" where a share, such as 12.5%`,
		"primary: luck":        `primary: is "luck", must be one of loss_calibrated, loss_mse,`,
		"guardrails: [{kind: error_rate, limit: 0}]": "guardrails[0].limit: is 0, must be above 0",
		"ramp: [{coverage: 5%, min_units: 2.5}]":     `ramp[0].min_units: line 3: "2.5" where a whole number belongs`,
		"ramp: [{coverage: 5%, min_time: a week}]":   "ramp[0].min_time: line 3:",
		"namespace: {name: n, from: 0%, to: 101%}":   `namespace.to: line 3: "101%" where a share`,
		"namespace: {name: n, from: 5%, to: 5%}":     "namespace: must not be empty",
		"salt: abc":                                  "salt: must be 32 hexadecimal digits",
		"audience: {style: photo}":                   `audience.style: line 3: "photo" where a list belongs`,
		"alpha: 1\nalpha: 2":                         "alpha is there twice",
	} {
		_, a := r.do("POST", "", twoArms("x", text))
		if p := a.wantProblem(t, quality.KindExperimentInvalid); !strings.Contains(p.Detail, want) {
			t.Errorf("%s: %s, want %s", text, p.Detail, want)
		}
	}
	for text, want := range map[string]string{ // JSON has no lines
		`"alpha":0`: "alpha: is 0,", `"horizon":1.5`: `horizon: "1.5" where a whole number belongs`,
		`"max_duration":"0s"`: "max_duration: is 0s,", `"alpha":null`: "alpha: has no value",
	} {
		body := fmt.Sprintf(`{"id":"x","arms":[{"checkpoint":%q},{"checkpoint":%q}],%s}`, first, second, text)
		_, a := r.do("POST", "", body)
		if p := a.wantProblem(t, quality.KindExperimentInvalid); !strings.Contains(p.Detail, want) {
			t.Errorf("%s: %s, want %s", text, p.Detail, want)
		}
	}

	_, a := r.do("POST", "", "id: Upper\narms: [{checkpoint: gone, weight: half}, {checkpoint: lost}]\nalpha: 0\n"+
		"horizon: 1.5\ncolour: red\nmin_duration: 3x\n")
	p := a.wantProblem(t, quality.KindExperimentInvalid)
	for _, want := range []string{
		`id: is "Upper"`, `arms[0].weight: line 2: "half"`, "alpha: is 0", "horizon: line 4:", "there is no field colour",
		"min_duration: line 6:", `arms[0].checkpoint: checkpoints "gone", "lost" not found; available: ` + first + ", " +
			second,
	} {
		if !strings.Contains(p.Detail, want) {
			t.Errorf("%q is missing: %s", want, p.Detail)
		}
	}
	if len(p.Errors) != 7 {
		t.Errorf("%d faults: %+v", len(p.Errors), p.Errors)
	}
	_, a = r.do("POST", "", "id: x\narms: [{checkpoint: gone}, {checkpoint: lost}]\n")
	if p := a.wantProblem(t,
		quality.KindCheckpointNotFound); p.Detail != `checkpoints "gone", "lost" not found; available: `+
		first+", "+second {
		t.Error(p.Detail)
	}

	x := r.made("POST", "", twoArms("x", "min_duration: 3d\nmax_duration: 2w\n"+
		"ramp: [{coverage: 5%, min_time: 1d12h}, {coverage: 50%}]\n"))
	if x.MinDuration != 72*time.Hour || x.MaxDuration != 14*24*time.Hour || x.Ramp[0].MinTime != 36*time.Hour {
		t.Errorf("durations %s, %s, %s", x.MinDuration, x.MaxDuration, x.Ramp[0].MinTime)
	}
}

// labelled fills the experiment x with images that raters have labelled, through
// the store alone.
func (r *trialRig) labelled(arms, images, raters int) {
	r.t.Helper()
	definition := strings.Builder{}
	fmt.Fprintf(&definition, "id: x\nmin_duration: 0s\narms:\n- {checkpoint: %s}\n", first)
	for k := 1; k < arms; k++ {
		fmt.Fprintf(&definition, "- {id: arm-%d, checkpoint: %s}\n", k, first)
	}
	_, err := r.engine.Create(r.t.Context(), []byte(definition.String()), "test")
	must(r.t, err)
	x, err := r.engine.Start(r.t.Context(), "x", "test")
	must(r.t, err)
	random := rand.New(rand.NewPCG(1, 2))
	var exposures []experiment.Exposure
	var labels sync.WaitGroup
	for n := range images {
		e := storetest.NewExposure("x", n)
		e.Time, e.Phase, e.Encoder, e.Preprocess, e.Shown, e.Rank = r.now(), 1, x.Encoder, x.Preprocess, x.Arms[n%arms].ID, 0
		e.Scores = nil
		truth := 1 + 4*random.Float64()
		for _, a := range x.Arms {
			e.Scores = append(e.Scores, experiment.ArmScore{Arm: a.ID, Score: float32(truth + 0.3*random.NormFloat64())})
		}
		exposures = append(exposures, e)
	}
	must(r.t, r.store.AppendExposures(r.t.Context(), exposures))
	for n := range images {
		for k := range raters {
			f := storetest.NewFeedback("x", n)
			f.ID, f.Key = fmt.Sprint(f.ID, " ", k), fmt.Sprint(f.Key, " ", k)
			f.Task, f.Rater, f.Value = f.Key, fmt.Sprint("rater ", k), 1+4*random.Float64()
			f.Time, f.Given, f.Phase = r.now(), r.now(), 1
			labels.Go(func() { // together they share a commit
				_, err := r.store.AppendFeedback(r.t.Context(), f)
				must(r.t, err)
			})
		}
	}
	labels.Wait()
}

// patientReports are an engine's, which begin when the request has ended.
type patientReports struct {
	gateway.Experiments
	asked chan struct{} // gets one for every request
	ended chan error    // gets why it has ended
}

func (p patientReports) Report(ctx context.Context, id experiment.ID, phase int) (analysis.Report, error) {
	p.asked <- struct{}{}
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Minute): // longer than any request here
	}
	p.ended <- context.Cause(ctx)
	return p.Experiments.Report(ctx, id, phase)
}

// questioned counts how often it is asked whether it has ended, and ends at the most-th
// question; 0: it doesn't end. Every sample of a report asks.
type questioned struct {
	context.Context
	end       context.CancelFunc
	questions atomic.Int64
	most      int64
}

func newQuestioned(ctx context.Context, most int64) *questioned {
	q := &questioned{most: most}
	q.Context, q.end = context.WithCancel(ctx)
	return q
}

// Err implements [context.Context].
func (q *questioned) Err() error {
	if q.questions.Add(1) == q.most {
		q.end()
	}
	return q.Context.Err()
}

// TestReportEndsWithItsRequest: a report that takes longer than its request may is
// refused with a code while the answer can still be written, and whoever leaves ends
// it.
func TestReportEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	asked, ended := make(chan struct{}, 1), make(chan error, 1)
	patient := func(p *plan) {
		p.around = func(e gateway.Experiments) gateway.Experiments { return patientReports{e, asked, ended} }
	}
	const budget = 150 * time.Millisecond
	small := func(p *plan) { p.gateway.ChangeTimeout, p.gateway.RequestTimeout = budget, budget }
	ask := func(ctx context.Context, r *trialRig, path string) (reply, error) {
		server := httptest.NewUnstartedServer(r.gateway.Handler())
		server.Config.WriteTimeout = budget / 2 // the server's own bound is that of scoring
		server.Start()
		defer server.Close()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/experiments/x/"+path, nil)
		must(t, err)
		asAdmin(req)
		resp, err := server.Client().Do(req)
		if err != nil {
			return reply{}, err
		}
		return readReply(t, resp), nil
	}
	r := newTrialRig(t, patient, small)
	r.labelled(2, 2, 2)
	for _, path := range []string{"report", "report.html"} {
		a, err := ask(t.Context(), r, path)
		must(t, err)
		a.wantProblem(t, quality.KindDeadlineExceeded)
		<-asked
		<-ended
	}

	r = newTrialRig(t, patient, func(p *plan) { p.gateway.ChangeTimeout = time.Minute })
	r.labelled(2, 2, 2)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	left := make(chan error, 1)
	go func() {
		_, err := ask(ctx, r, "report")
		left <- err
	}()
	<-asked
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("whoever left has an answer: %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the report of whoever left ended with: %v", err)
	}
}

// TestReportsAreComputedOnce: a report is given up as soon as its request has ended, one
// that was made is there at once, and another label asks for another one.
func TestReportsAreComputedOnce(t *testing.T) {
	t.Parallel()
	const many = 10_000 // one for each sample
	r := newTrialRig(t)
	r.labelled(2, 12, 2)
	report := func(most int64) (string, int64, error) {
		ctx := newQuestioned(t.Context(), most)
		defer ctx.end()
		made, err := r.engine.Report(ctx, "x", 0)
		raw, errJSON := json.Marshal(made.Agreement)
		must(t, errJSON)
		return string(raw), ctx.questions.Load(), err
	}
	if _, _, err := report(many / 10); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits for it: %v", err)
	}
	one, questions, err := report(0)
	must(t, err)
	if questions < many {
		t.Errorf("after one that was given up: asked %d times, want %d samples", questions, many)
	}
	again, questions, err := report(0)
	must(t, err)
	if again != one || questions >= many/10 {
		t.Errorf("the second time it is %t that it is the same; asked %d times", again == one, questions)
	}
	// Whoever asks over HTTP gets what was kept, without an end of his own.
	var body struct{ Agreement json.RawMessage }
	must(t, json.Unmarshal(r.ask(http.MethodGet, "/v1/experiments/x/report", nil, asAdmin).body, &body))
	if string(body.Agreement) != one {
		t.Errorf("over HTTP: another report of the same records")
	}
	f := storetest.NewFeedback("x", 1)
	f.ID, f.Key, f.Task, f.Rater, f.Phase, f.Time, f.Given = "late", "late", "late", "somebody", 1, r.now(), r.now()
	_, err = r.store.AppendFeedback(t.Context(), f)
	must(t, err)
	other, questions, err := report(0)
	must(t, err)
	if other == one || questions < many {
		t.Errorf("the report is the one before another label; asked %d times", questions)
	}
}
