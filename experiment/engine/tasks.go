package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/quality"
)

// MaxTasks and MaxTaskImages bound a [TaskRequest].
const (
	MaxTasks      = 100
	MaxTaskImages = 1000
)

// TaskRequest asks for tasks of a rater.
type TaskRequest struct {
	By     access.Principal
	Rater  string // that an application names; "": the one that the key is bound to
	Pairs  bool   // pairs of images, not single ones
	Count  int
	Images []quality.Digest // that the rater can be shown; none: all
}

// IssuedTask is a task with its token.
type IssuedTask struct {
	experiment.Task
	Token string
}

// Tasks issues tasks about images of which nobody was shown a score, those with
// the fewest labels first, and none that the rater has answered. There may be
// fewer than were asked for, or none. Errors: not_found, forbidden,
// feedback_invalid, rate_limited, conflict where the experiment isn't running,
// store_unavailable.
func (e *Engine) Tasks(ctx context.Context, id experiment.ID, r TaskRequest) ([]IssuedTask, error) {
	rater, err := e.raterOf(r.By, r.Rater)
	if err != nil {
		return nil, err
	}
	if r.Count < 1 || r.Count > MaxTasks || len(r.Images) > MaxTaskImages {
		return nil, invalid("count must be 1 to %d, and at most %d images may be named", MaxTasks, MaxTaskImages)
	}
	if wait := e.raters.Take(rater); wait > 0 {
		return nil, quality.Errorf(quality.KindRateLimited, "too many requests for this rater").After(wait)
	}
	x, err := e.Store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	switch {
	case x.State != experiment.Running:
		return nil, quality.Errorf(quality.KindConflict, "experiment %s is %s; only running ones have tasks", id, x.State)
	case !x.LabelsAnswerTasks:
		return nil, quality.Errorf(quality.KindConflict,
			"experiment %s was created by a version without tasks; create it again", id)
	}
	state, err := e.stateOf(ctx, x)
	if err != nil {
		return nil, err
	}
	_ = e.followImages(ctx, id) // what isn't known is left out, or looked up below
	now, err := e.instant(ctx)
	if err != nil {
		return nil, err
	}
	wanted := analysis.Wanted{
		Rater: rater, Count: r.Count, Among: r.Images, Since: now.Earliest.Add(-analysis.OldestShown),
		Skip: func(image quality.Digest) bool {
			how, _, certain := e.seals.look(image, nil)
			return how&opened != 0 || how&blind == 0 && certain
		},
	}
	var tasks []experiment.Task
	if r.Pairs {
		for _, pair := range state.TaskPairs(wanted) {
			tasks = append(tasks, experiment.Task{Image: pair[0], Other: pair[1]})
		}
	} else {
		for _, image := range state.TaskImages(wanted) {
			tasks = append(tasks, experiment.Task{Image: image})
		}
	}
	return e.issue(ctx, x, rater, tasks, now)
}

// issue makes tokens of the tasks whose images were never shown with a score, in
// no other experiment either.
func (e *Engine) issue(ctx context.Context, x experiment.Experiment, rater string, tasks []experiment.Task,
	now experiment.Instant) ([]IssuedTask, error) {
	issued := []IssuedTask{}
	for _, t := range tasks {
		sealed := true
		for _, image := range []quality.Digest{t.Image, t.Other} {
			if image.IsZero() {
				continue
			}
			how, _, err := e.sightOf(ctx, image)
			if err != nil {
				return nil, err
			}
			sealed = sealed && how&blind != 0 && how&opened == 0
		}
		if !sealed {
			continue
		}
		t.Experiment, t.Phase, t.Rater = x.ID, x.Phase, rater
		t.Expires = now.Latest.Add(experiment.TaskFor).Truncate(time.Second).UTC()
		issued = append(issued, IssuedTask{Task: t, Token: e.Hasher.Token(t)})
	}
	e.telemetry.asked(ctx, x.ID, len(issued))
	return issued, nil
}

// raterOf is the name under which a rater is written down, where the key may
// label as that one.
func (e *Engine) raterOf(by access.Principal, name string) (string, error) {
	switch {
	case by.Rater != "" && name != "" && name != by.Rater:
		return "", quality.Errorf(quality.KindForbidden,
			"the API key is bound to rater %s and can't label as another one", quality.Quote(by.Rater))
	case by.Rater != "":
		name = by.Rater
	case name == "":
		return "", invalid("rater_id is required: the API key is not bound to a rater")
	case !sound(name):
		return "", invalid("rater_id must be text of 1 to %d bytes", maxNameBytes)
	}
	return e.Hasher.Rater(by.Space(), name), nil
}

// answer is what a label says of the task that it brings back.
type answer struct {
	task experiment.Task
	late string // why it does not answer the task in time
}

// answerOf holds a label against its token. A token that is forged, or about
// something else, is an error; one that is too late makes a label that is not
// blind.
func (e *Engine) answerOf(ctx context.Context, l *Label, rater string, now experiment.Instant) (answer, error) {
	if l.Task == "" {
		return answer{}, nil
	}
	t, ok := e.Hasher.Task(l.Task)
	switch {
	case !ok:
		return answer{}, invalid("task was not issued by this server")
	case t.Rater != rater:
		return answer{}, quality.Errorf(quality.KindForbidden, "the task was issued to another rater")
	case l.Kind != t.Kind():
		return answer{}, invalid("the task asks for feedback of kind %s", t.Kind())
	case t.Kind() == experiment.MOS:
		if l.Image.IsZero() {
			l.Image = t.Image
		}
		if l.Image != t.Image {
			return answer{}, invalid("image_sha256 is not the image of the task")
		}
	default:
		if l.ImageA.IsZero() && l.ImageB.IsZero() {
			l.ImageA, l.ImageB = t.Image, t.Other
		}
		if (l.ImageA != t.Image || l.ImageB != t.Other) && (l.ImageA != t.Other || l.ImageB != t.Image) {
			return answer{}, invalid("image_a and image_b are not the images of the task")
		}
	}
	// As it is now: another server may just have ended it, and told scores since.
	x, err := e.Store.Get(ctx, t.Experiment)
	if err != nil {
		return answer{}, err
	}
	a := answer{task: t}
	switch {
	case x.State != experiment.Running && x.State != experiment.Paused:
		a.late = fmt.Sprintf("experiment %s is %s, and scores of its images are not withheld any more", x.ID, x.State)
	case !x.LabelsAnswerTasks:
		a.late = "the experiment has no tasks"
	case now.Reached(t.Expires):
		a.late = "the task was valid until " + t.Expires.Format(time.RFC3339)
	}
	return a, nil
}

// experimentOf is an experiment as this server knows it, which may be a second old.
func (e *Engine) experimentOf(ctx context.Context, id experiment.ID) (experiment.Experiment, error) {
	for _, x := range e.current.Load().all {
		if x.ID == id {
			return x, nil
		}
	}
	return e.Store.Get(ctx, id)
}
