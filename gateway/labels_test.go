package gateway_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// start runs the experiment x of a definition without its arms.
func (r *trialRig) start(definition string) {
	r.t.Helper()
	_, err := r.engine.Create(r.t.Context(), fmt.Appendf(nil,
		"id: x\narms: [{checkpoint: %s}, {id: new, checkpoint: %s}]\n%s", first, second, definition), "test")
	must(r.t, err)
	_, err = r.engine.Start(r.t.Context(), "x", "test")
	must(r.t, err)
}

// rater creates a key that is bound to a rater and may score.
func (r *trialRig) rater(name string) edit {
	r.t.Helper()
	_, as := r.created(gateway.KeyRequest{Name: name, Rater: name,
		Scopes: []access.Scope{access.ScopeScore, access.ScopeFeedback}})
	return as
}

// armScore is what the second checkpoint says of an image, which only the admin
// may know.
func (r *trialRig) armScore(image []byte) float64 {
	r.t.Helper()
	a := r.post("/v1/score?checkpoint="+second, image, "image/png", asAdmin)
	return float64(*a.scores(r.t).Results[0].Score)
}

// Whoever wants the second checkpoint to win knows what it says of every picture,
// however she got to know. Neither without a key, nor with one that scores, nor as
// a rater can she have it promoted.
func TestForgedLabelsPromoteNothing(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	_, app := r.createKey("app", access.ScopeScore, access.ScopeFeedback)
	_, scorer := r.createKey("scorer", access.ScopeScore)
	mallory := r.rater("mallory")
	r.start("auto: act\nmin_labels: 30\nmin_raters: 1\nmin_duration: 0s\nhorizon: 50\nblind_feedback_required: false\n")
	nobody := func(*http.Request) {}
	sent := map[string]int{}
	label := func(who string, by edit, f gateway.FeedbackRequest) {
		a := r.postJSON("/v1/feedback", f, by)
		sent[fmt.Sprint(who, " ", a.status)]++
		var receipt gateway.FeedbackReceipt
		if err := json.Unmarshal(a.body, &receipt); err == nil && receipt.Blind {
			t.Errorf("%s: blind: %s", who, a.body)
		}
	}
	const images = 110
	for n := range images {
		r.nanos.Add(int64(time.Second)) // nobody is too fast
		image := picture(n)
		value := min(5, max(1, r.armScore(image)))
		digest := quality.DigestOf(image).Hex()
		assignment := r.show(strconv.Itoa(n), image).Experiment.Assignment
		if n == 0 { // one that people are asked about
			assignment = r.hide(strconv.Itoa(images), picture(images), app).Experiment.Assignment
			digest = quality.DigestOf(picture(images)).Hex()
		}
		for k := range 3 {
			f := gateway.FeedbackRequest{Key: fmt.Sprint(n, k), Image: digest, Rater: fmt.Sprint("sock ", k), Kind: "mos",
				Value: &value, Blind: true}
			label("nobody", nobody, f)
			label("scorer", scorer, f)
			label("mallory, in other names", mallory, f)
		}
		mine := gateway.FeedbackRequest{Key: strconv.Itoa(n), Image: digest, Kind: "mos", Value: &value, Blind: true}
		label("mallory", mallory, mine)
		mine.Key, mine.Image, mine.Assignment = "assigned "+mine.Key, "", assignment
		label("mallory", mallory, mine)
	}
	for what, want := range map[string]int{
		"nobody 401": 3 * images, "scorer 403": 3 * images,
		"mallory, in other names 403": 3 * images, "mallory 201": 2 * images,
	} {
		if sent[what] != want {
			t.Errorf("%s %d times, want %d: %v", what, sent[what], want, sent)
		}
	}
	// She takes the tasks that there are: of the only image that nobody was told of.
	tasks := r.tasks(gateway.TasksRequest{Count: 100}, mallory)
	if len(tasks) != 1 || tasks[0].Image != quality.DigestOf(picture(images)).Hex() {
		t.Fatalf("%d tasks", len(tasks))
	}
	five := 5.0
	a := r.postJSON("/v1/feedback", gateway.FeedbackRequest{Key: "task", Task: tasks[0].Token, Kind: "mos",
		Value: &five}, mallory)
	if a.status != http.StatusCreated {
		t.Errorf("her own task: %d: %s", a.status, a.body)
	}
	for _, attempt := range []gateway.FeedbackRequest{
		{Key: "again", Task: tasks[0].Token, Kind: "mos", Value: &five},
		{Key: "another image", Task: tasks[0].Token, Image: quality.DigestOf(picture(1)).Hex(), Kind: "mos", Value: &five},
		{Key: "forged", Task: tasks[0].Token[:len(tasks[0].Token)-4] + "AAAA", Kind: "mos", Value: &five},
	} {
		if a := r.postJSON("/v1/feedback", attempt, mallory); a.status/100 != 4 {
			t.Errorf("%s: status %d: %s", attempt.Key, a.status, a.body)
		}
	}
	r.engine.Decide(t.Context())
	x, err := r.engine.Get(t.Context(), "x")
	must(t, err)
	c, err := r.engine.Conclude(t.Context(), "x")
	must(t, err)
	n := c.Decision.Counts
	if x.State != experiment.Running || x.Recommended != "" || n.LabelledBlind != 1 || n.RatersBlind != 1 {
		t.Errorf("%s, recommended %q, %+v", x.State, x.Recommended, n)
	}
	if n.LabelledAll != images { // kept, and shown apart
		t.Errorf("%d images with labels are on record, want %d", n.LabelledAll, images)
	}
	// The same opinions in answer to tasks are what an experiment is for.
	says := map[string]float64{tasks[0].Image: 3}
	for n := images + 1; n <= images+350; n++ {
		image := picture(n)
		says[quality.DigestOf(image).Hex()] = min(5, max(1, r.armScore(image)))
		r.hide(strconv.Itoa(n), image, app)
	}
	for rater := range 3 {
		name := fmt.Sprint("person ", rater)
		for range 6 {
			for _, task := range r.tasks(gateway.TasksRequest{Rater: name, Count: 60}, app) {
				r.nanos.Add(int64(time.Second)) // nobody is too fast
				value := says[task.Image]
				a := r.postJSON("/v1/feedback", gateway.FeedbackRequest{Key: name + task.Image, Task: task.Token, Rater: name,
					Kind: "mos", Value: &value}, app)
				if a.status != http.StatusCreated {
					t.Fatalf("status %d: %s", a.status, a.body)
				}
			}
		}
	}
	r.engine.Decide(t.Context())
	if x, err = r.engine.Get(t.Context(), "x"); err != nil || x.State != experiment.Promoted {
		c, _ := r.engine.Conclude(t.Context(), "x")
		t.Errorf("after honest labels it is %s: %+v, %v", x.State, c.Promotions, err)
	}
}

// While an experiment runs, no route tells what it must not, to anybody but the
// admin; and when it has ended, all do.
func TestScoresAreWithheld(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	_, app := r.createKey("app", access.ScopeScore, access.ScopeFeedback)
	_, scorer := r.createKey("scorer", access.ScopeScore)
	callers := map[string]edit{"nobody": func(*http.Request) {}, "app": app, "scorer": scorer, "rater": r.rater("mallory")}
	r.start("")
	blind, open, next := picture(1), picture(2), 10
	r.hide("1", blind, app)
	r.show("2", open)

	type ask struct {
		target string
		json   func(images ...[]byte) []byte // nil: the image itself
		named  bool                          // names an arm
	}
	body := func(member string) func(images ...[]byte) []byte {
		return func(images ...[]byte) []byte {
			var list []string
			for _, image := range images {
				list = append(list, fmt.Sprintf(`{"data":%q}`, base64.StdEncoding.EncodeToString(image)))
			}
			return fmt.Appendf(nil, `{"images":[%s]%s}`, strings.Join(list, ","), member)
		}
	}
	asks := map[string]ask{
		"the server's choice":     {target: "/v1/score"},
		"a checkpoint":            {"/v1/score?checkpoint=" + second, nil, true},
		"the control":             {"/v1/score?checkpoint=" + first, nil, true},
		"checkpoints":             {"/v1/score?checkpoints=" + first + "," + second, nil, true},
		"aspects":                 {"/v1/score?aspects=quality", nil, true},
		"an aspect's checkpoint":  {"/v1/score?aspects=quality=" + second, nil, true},
		"all checkpoints":         {"/v1/compare", nil, true},
		"one of them":             {"/v1/compare?checkpoint=" + second, nil, true},
		"embeddings":              {target: "/v1/score?include=embedding"},
		"embeddings and views":    {"/v1/compare?include=embedding,views", nil, true},
		"parts left out":          {target: "/v1/score?omit=interval,distribution&include=views"},
		"JSON":                    {"/v1/score", body(""), false},
		"JSON with a checkpoint":  {"/v1/score", body(`,"checkpoint":"` + second + `","include":["embedding"]`), true},
		"JSON for a comparison":   {"/v1/compare", body(""), true},
		"JSON with aspects":       {"/v1/score", body(`,"aspects":"quality"`), true},
		"JSON with an embeddings": {"/v1/score", body(`,"include":["embedding","views"]`), false},
	}
	send := func(a ask, by edit, images ...[]byte) reply {
		unit := header("X-Agiqa-Unit", "somebody")
		if a.json != nil {
			return r.post(a.target, a.json(images...), "application/json", by, unit)
		}
		return r.post(a.target, images[0], "image/png", by, unit)
	}
	for name, a := range asks {
		for who, by := range callers {
			p := send(a, by, blind).wantProblem(t, quality.KindForbidden)
			if !strings.Contains(p.Detail, "until the experiment ends") {
				t.Errorf("%s by %s: %q", name, who, p.Detail)
			}
			if got := send(a, by, open); a.named {
				if p := got.wantProblem(t, quality.KindForbidden); !strings.Contains(p.Detail,
					"is an arm of a running experiment") {
					t.Errorf("%s by %s of an image with its score shown: %q", name, who, p.Detail)
				}
			} else if got.scores(t).Results[0].Score == nil {
				t.Errorf("%s by %s of an image with its score shown: %s", name, who, got.body)
			}
			if a.json == nil {
				continue
			}
			// Of several images only the one concerned fails, and tells nothing.
			next++
			fresh := picture(next) // not of the experiment yet
			results := send(a, by, fresh, blind, fresh).scores(t).Results
			for i, result := range results {
				if i != 1 {
					if result.Score == nil || result.Error != nil {
						t.Errorf("%s by %s: image %d fails with another: %+v", name, who, i, result)
					}
					continue
				}
				if result.Error == nil || result.Error.Code != quality.KindForbidden {
					t.Errorf("%s by %s: the image is told of: %+v", name, who, result)
				}
				result.Error, result.ID = nil, ""
				if raw, _ := json.Marshal(result); string(raw) != nothing(t) {
					t.Errorf("%s by %s tells %s", name, who, raw)
				}
			}
		}
		if got := send(a, asAdmin, blind).scores(t).Results[0]; got.Score == nil {
			t.Errorf("%s by the admin: %+v", name, got)
		}
	}
	r.post("/v1/score?include=all_arms", blind, "image/png", scorer).wantProblem(t, quality.KindForbidden)
	if a := r.post("/v1/preprocess", blind, "image/png"); a.status != http.StatusOK {
		t.Errorf("preprocess: status %d", a.status)
	}
	// All that was asked, by the admin too, leaves the image one that nobody was told of.
	if tasks := r.tasks(gateway.TasksRequest{Count: 10}, callers["rater"]); len(tasks) != 1 ||
		tasks[0].Image != quality.DigestOf(blind).Hex() {
		t.Errorf("tasks %+v", tasks)
	}
	_, err := r.engine.Change(t.Context(), "x", 0, experiment.Change{Do: experiment.DoStop, By: "test"})
	must(t, err)
	for name, a := range asks {
		if got := send(a, callers["nobody"], blind).scores(t).Results[0]; got.Score == nil {
			t.Errorf("%s when it has ended: %+v", name, got)
		}
	}
}

// nothing is a result that tells nothing.
func nothing(t *testing.T) string {
	t.Helper()
	raw, err := json.Marshal(gateway.Result{})
	must(t, err)
	return string(raw)
}

// X-Agiqa-Blind is for applications. Its answer has the assignment and nothing
// that tells a score, whether an experiment runs or not.
func TestBlindScoring(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	_, app := r.createKey("app", access.ScopeScore, access.ScopeFeedback)
	_, scorer := r.createKey("scorer", access.ScopeScore)
	hidden := header("X-Agiqa-Blind", "true")
	unit := header("X-Agiqa-Unit", "u")
	image := picture(1)
	check := func(when string, a reply, assigned bool) {
		t.Helper()
		results := a.scores(t).Results
		for _, got := range results {
			if got.Withheld != "blind" || got.Image == nil || got.Image.SHA256 != quality.DigestOf(image).Hex() ||
				(got.Experiment != nil && got.Experiment.Assignment != "") != assigned {
				t.Errorf("%s: %s", when, a.body)
			}
			got.ID, got.Image, got.Cache, got.Experiment, got.Withheld = "", nil, nil, nil, ""
			if raw, _ := json.Marshal(got); string(raw) != nothing(t) {
				t.Errorf("%s: it tells %s", when, raw)
			}
		}
	}
	check("without an experiment", r.post("/v1/score", image, "image/png", app, hidden, unit), false)
	r.start("")
	check("in an experiment", r.post("/v1/score", image, "image/png", app, hidden, unit), true)
	check("with parts", r.post("/v1/score?include=embedding,views", image, "image/png", app, hidden, unit), true)
	check("with all arms, by the admin", r.post("/v1/score?include=all_arms", image, "image/png", asAdmin, hidden, unit),
		true)
	check("without a unit", r.post("/v1/score", image, "image/png", app, hidden), false)
	for name, c := range map[string]struct {
		target string
		by     edit
		kind   quality.Kind
	}{
		"nobody":       {"/v1/score", func(*http.Request) {}, quality.KindUnauthenticated},
		"a scorer":     {"/v1/score", scorer, quality.KindForbidden},
		"a rater":      {"/v1/score", r.rater("mallory"), quality.KindForbidden},
		"a checkpoint": {"/v1/score?checkpoint=" + second, app, quality.KindBadRequest},
		"aspects":      {"/v1/score?aspects=quality", app, quality.KindBadRequest},
		"a comparison": {"/v1/compare", app, quality.KindBadRequest},
	} {
		if a := r.post(c.target, picture(7), "image/png", c.by, hidden, unit); a.status == http.StatusOK {
			t.Errorf("%s: %s", name, a.body)
		} else {
			a.wantProblem(t, c.kind)
		}
	}
	if tasks := r.tasks(gateway.TasksRequest{Rater: "r"}, app); len(tasks) != 1 || tasks[0].Kind != "image" {
		t.Errorf("tasks without a count and a kind: %+v", tasks)
	}
	// What was refused sealed nothing.
	if a := r.post("/v1/score?checkpoint="+second, picture(7), "image/png"); a.status != http.StatusOK {
		t.Errorf("an image that was refused is sealed: %s", a.body)
	}
	for path, body := range map[string]string{
		"/v1/experiments/x/tasks": `{"rater_id":"r"}`,
		"/v1/feedback": `{"idempotency_key":"1","rater_id":"r","kind":"thumb","value":1,"image_sha256":"` +
			quality.DigestOf(image).Hex() + `"}`,
	} {
		r.post(path, []byte(body), "application/json").wantProblem(t, quality.KindUnauthenticated)
		r.post(path, []byte(body), "application/json", scorer).wantProblem(t, quality.KindForbidden)
		if a := r.post(path, []byte(body), "application/json", app); a.status/100 != 2 {
			t.Errorf("%s by an application: %s", path, a.body)
		}
	}
}

// A name space of one application's idempotency keys is no other's.
func TestIdempotencyKeysCannotBeSquatted(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	_, mallory := r.createKey("mallory", access.ScopeFeedback)
	_, shop := r.createKey("shop", access.ScopeFeedback)
	_, rotated := r.createKey("shop", access.ScopeFeedback)
	send := func(rater string, value float64, by edit) reply {
		return r.postJSON("/v1/feedback", gateway.FeedbackRequest{Key: "order-1", Image: quality.DigestOf(picture(1)).Hex(),
			Rater: rater, Kind: "mos", Value: &value}, by)
	}
	for _, c := range []struct {
		name   string
		got    reply
		status int
	}{
		{"mallory is first", send("m", 1, mallory), http.StatusAccepted},
		{"the rightful owner", send("alice", 5, shop), http.StatusAccepted},
		{"with the key that replaces hers", send("alice", 5, rotated), http.StatusOK},
		{"something else under it", send("alice", 4, rotated), http.StatusConflict},
	} {
		if c.got.status != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, c.got.status, c.status, c.got.body)
		}
	}
}

// Labels of images that were never here may wait for a while, but not many.
func TestLabelsOfUnknownImagesAreBounded(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	_, flood := r.createKey("flood", access.ScopeFeedback)
	_, shop := r.createKey("shop", access.ScopeFeedback)
	value := 3.0
	got := map[int]int{}
	for n := range experiment.MaxOrphansOf + 20 {
		a := r.postJSON("/v1/feedback", gateway.FeedbackRequest{Key: strconv.Itoa(n), Image: quality.DigestOf(
			[]byte(strconv.Itoa(n))).Hex(), Rater: fmt.Sprint("rater ", n/100), Kind: "mos", Value: &value}, flood)
		got[a.status]++
		if a.status == http.StatusTooManyRequests {
			if p := a.wantProblem(t, quality.KindRateLimited); !strings.Contains(p.Detail, "waits for its exposure") {
				t.Errorf("%q", p.Detail)
			}
		}
	}
	if got[http.StatusAccepted] != experiment.MaxOrphansOf || got[http.StatusTooManyRequests] != 20 {
		t.Errorf("answers %v", got)
	}
	a := r.postJSON("/v1/feedback", gateway.FeedbackRequest{Key: "1", Image: quality.DigestOf(nil).Hex(), Rater: "r",
		Kind: "mos", Value: &value}, shop)
	if a.status != http.StatusAccepted {
		t.Errorf("another application: %d: %s", a.status, a.body)
	}
	r.nanos.Add(int64(experiment.OrphanFor + time.Minute))
	a = r.postJSON("/v1/feedback", gateway.FeedbackRequest{Key: "later", Image: quality.DigestOf(nil).Hex(), Rater: "r",
		Kind: "mos", Value: &value}, flood)
	if a.status != http.StatusAccepted {
		t.Errorf("when they have expired: %d: %s", a.status, a.body)
	}
}

// Whoever may read experiments is not told single images' scores while one runs.
func TestReportsTellNoScoresOfImages(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	_, app := r.createKey("app", access.ScopeScore, access.ScopeFeedback)
	_, reader := r.createKey("reader", access.ScopeRead)
	r.start("")
	for n := range 20 {
		r.hide(strconv.Itoa(n), picture(n), app)
	}
	value := 3.0
	for _, task := range r.tasks(gateway.TasksRequest{Rater: "r", Count: 20}, app) {
		a := r.postJSON("/v1/feedback", gateway.FeedbackRequest{Key: task.Image, Task: task.Token, Rater: "r", Kind: "mos",
			Value: &value}, app)
		if a.status != http.StatusCreated {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
	}
	report := func(by edit) (out analysis.Report) {
		t.Helper()
		a := r.ask(http.MethodGet, "/v1/experiments/x/report", nil, by)
		if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusOK {
			t.Fatalf("status %d, %v: %.200s", a.status, err, a.body)
		}
		return out
	}
	page := func(by edit) bool {
		t.Helper()
		a := r.ask(http.MethodGet, "/v1/experiments/x/report.html", nil, by)
		if a.status != http.StatusOK {
			t.Fatalf("status %d: %.200s", a.status, a.body)
		}
		return strings.Contains(string(a.body), "Worst disagreements")
	}
	if got := report(reader); len(got.Worst) != 0 || len(got.Pictures.Scatter) != 0 ||
		got.Decision.Counts.LabelledBlind != 20 ||
		page(reader) {
		t.Errorf("a reader is told of %d images, %d arms", len(got.Worst), len(got.Pictures.Scatter))
	}
	if got := report(asAdmin); len(got.Worst) == 0 || len(got.Pictures.Scatter) == 0 || !page(asAdmin) {
		t.Errorf("the admin is told of %d images", len(got.Worst))
	}
	_, err := r.engine.Change(t.Context(), "x", 0, experiment.Change{Do: experiment.DoStop, By: "test"})
	must(t, err)
	if got := report(reader); len(got.Worst) == 0 || len(got.Pictures.Scatter) == 0 || !page(reader) {
		t.Errorf("when it has ended a reader is told of %d images", len(got.Worst))
	}
}
