package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// Label is feedback as it was sent.
type Label struct {
	By         access.Principal // whose key it came with
	Key        string
	Task       string // token of the task that it answers; "": none
	Assignment string
	Image      quality.Digest
	Rater      string // that an application names; "": the one that the key is bound to
	Kind       experiment.FeedbackKind
	Value      *float64
	Winner     string
	ImageA     quality.Digest
	ImageB     quality.Digest
	LatencyMS  float64
	Given      time.Time // zero: now
}

// Receipt says what became of a label.
type Receipt struct {
	experiment.Receipt
	Counts bool   // the experiment's decision reads it
	Reason string // why not
}

// maxNameBytes bounds keys and names of raters.
const maxNameBytes = 256

func invalid(format string, args ...any) error {
	return quality.Errorf(quality.KindFeedbackInvalid, format, args...)
}

// Label stores a piece of feedback; it is durable when Label returns. Errors:
// feedback_invalid; forbidden for another rater's name or task; conflict where
// its key was used for something else, or its task was answered; rate_limited
// where the rater sends too fast, or too much of the sender's feedback waits for
// its exposure; store_unavailable.
//
// A label is blind if it brings back a task in time, whatever else it says.
func (e *Engine) Label(ctx context.Context, l Label) (Receipt, error) {
	receipt, err := e.label(ctx, l)
	outcome := string(receipt.Feedback.State)
	switch {
	case err != nil:
		outcome = string(quality.KindOf(err))
	case receipt.Duplicate:
		outcome = "duplicate"
	}
	kind := l.Kind
	if !knownKind(kind) {
		kind = "unknown"
	}
	e.telemetry.labelled(ctx, kind, outcome)
	return receipt, err
}

func (e *Engine) label(ctx context.Context, l Label) (Receipt, error) {
	rater, err := e.raterOf(l.By, l.Rater)
	if err != nil {
		return Receipt{}, err
	}
	instant, err := e.instant(ctx)
	if err != nil {
		return Receipt{}, err
	}
	answer, err := e.answerOf(ctx, &l, rater, instant)
	if err != nil {
		return Receipt{}, err
	}
	if err := e.check(l); err != nil {
		return Receipt{}, err
	}
	if wait := e.raters.Take(rater); wait > 0 {
		return Receipt{}, quality.Errorf(quality.KindRateLimited, "too many labels from this rater").After(wait)
	}
	shown, err := e.checkAgainst(ctx, l)
	if err != nil {
		return Receipt{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Receipt{}, quality.Errorf(quality.KindInternal, "generating an id failed").Because(err)
	}
	now := instant.Earliest.UTC()
	f := experiment.Feedback{
		ID: id.String(), Key: e.Hasher.Key(l.By.Space(), l.Key), Body: l.digest(rater), Time: now, Given: now,
		Assignment: l.Assignment, Image: l.Image, Rater: rater, Sender: e.Hasher.Sender(l.By.Space()),
		Kind: l.Kind, Winner: l.Winner, ImageA: l.ImageA, ImageB: l.ImageB, LatencyMS: l.LatencyMS,
		State: experiment.Orphan, // until the store knows its exposure
	}
	if !l.Given.IsZero() && l.Given.Before(now) {
		f.Given = l.Given.UTC()
	}
	if l.Value != nil {
		f.Value = *l.Value
	}
	if t := answer.task; answer.late == "" && l.Task != "" {
		f.Blind, f.Task, f.Experiment, f.Phase = true, e.Hasher.Answer(t), t.Experiment, t.Phase
		f.State = experiment.Accepted // it was issued for an exposure
		// Images count in the order of their first label: nobody moves theirs to the front.
		if f.Given.Before(t.Issued()) {
			f.Given = t.Issued()
		}
	}
	receipt, err := e.Store.AppendFeedback(ctx, f)
	switch {
	case errors.Is(err, experiment.ErrOrphans):
		e.telemetry.orphanRefused(ctx, "total")
	case errors.Is(err, experiment.ErrOrphansOf):
		e.telemetry.orphanRefused(ctx, "key")
	case err != nil && quality.KindOf(err) != quality.KindConflict:
		e.telemetry.storeFailed(ctx, "feedback")
	}
	if err != nil {
		return Receipt{Receipt: receipt}, err
	}
	reason := e.uncounted(ctx, receipt.Feedback, shown, answer)
	return Receipt{receipt, reason == "", reason}, nil
}

// uncounted says why the decision of its experiment does not read a label that is on
// record; "" where it does. shown is what the label is about, nil where that is not known.
func (e *Engine) uncounted(ctx context.Context, f experiment.Feedback, shown *experiment.Exposure, a answer) string {
	switch f.State {
	case experiment.Orphan:
		return fmt.Sprintf("no exposure of what it is about is known yet: it waits for one for %s", experiment.OrphanFor)
	case experiment.Late:
		return fmt.Sprintf("late: more than %s after the image was shown", experiment.LateAfter)
	}
	x, err := e.experimentOf(ctx, f.Experiment)
	if err != nil {
		return "what the experiment reads is not known at the moment: " + err.Error()
	}
	if reads := x.Primary.Reads(); f.Kind != reads {
		return fmt.Sprintf("the experiment decides by %s, which reads feedback of kind %s alone", x.Primary, reads)
	}
	switch {
	case f.Kind == experiment.Thumb:
		return uncountedThumb(f, x, shown)
	case f.IsBlind(x) && x.LabelsAnswerTasks:
		return ""
	case !x.LabelsAnswerTasks:
		return "the experiment was created by a version that believed what labels said of themselves"
	case a.late != "":
		return "not blind: " + a.late
	case shown != nil && shown.Blind:
		return fmt.Sprintf("not blind: it answers no task; POST /v1/experiments/%s/tasks issues them", x.ID)
	case shown != nil:
		return "not blind: the scoring request did not ask for it with X-Agiqa-Blind, so the score may have been seen"
	}
	return "not blind: it answers no task"
}

func uncountedThumb(f experiment.Feedback, x experiment.Experiment, shown *experiment.Exposure) string {
	switch {
	case f.Assignment == "":
		return "a thumb counts for the arm of the assignment_id that it names, and it names none"
	case f.Phase != x.Phase:
		return fmt.Sprintf("phase %d has ended, and user_metric is of phase %d", f.Phase, x.Phase)
	case shown != nil && shown.Rank > 0:
		return "the assignment belongs to a ranking, which has no arm"
	case shown != nil && shown.Bucket != nil && x.Moved(*shown.Bucket, shown.Shown):
		return "the unit had another arm in an earlier phase"
	}
	return ""
}

func knownKind(k experiment.FeedbackKind) bool {
	switch k {
	case experiment.MOS, experiment.Pair, experiment.Thumb, experiment.Choice:
		return true
	}
	return false
}

// check is what can be said of a label by itself.
func (e *Engine) check(l Label) error {
	switch {
	case !sound(l.Key):
		return invalid("idempotency_key must be text of 1 to %d bytes", maxNameBytes)
	case l.Assignment != "" && !e.Hasher.Issued(l.Assignment):
		return invalid("assignment_id was not issued by this server")
	case !(l.LatencyMS >= 0) || math.IsInf(l.LatencyMS, 0):
		return invalid("latency_ms must be 0 or more")
	case l.Value != nil && (math.IsNaN(*l.Value) || math.IsInf(*l.Value, 0)):
		return invalid("value must be a number")
	}
	if l.Kind == experiment.Pair {
		return checkPair(l)
	}
	if (l.Kind == experiment.Thumb || l.Kind == experiment.Choice) && l.By.Rater != "" {
		return quality.Errorf(quality.KindForbidden, "feedback of kind %s tells what the users of an application did: "+
			"it needs an API key that isn't bound to a rater", l.Kind)
	}
	if l.Winner != "" || !l.ImageA.IsZero() || !l.ImageB.IsZero() {
		return invalid("winner, image_a and image_b are only for kind pair")
	}
	if l.Assignment == "" && l.Image.IsZero() {
		return invalid("assignment_id or image_sha256 is required")
	}
	switch l.Kind {
	case experiment.MOS:
		if l.Value == nil {
			return invalid("mos needs a value")
		}
	case experiment.Thumb:
		if l.Value == nil || *l.Value != 0 && *l.Value != 1 {
			return invalid("value of a thumb must be 0 or 1")
		}
	case experiment.Choice:
		if l.Assignment == "" || l.Value != nil {
			return invalid("choice requires the assignment_id of the chosen image, and no value")
		}
	default:
		return invalid("kind must be mos, pair, thumb or choice")
	}
	return nil
}

func checkPair(l Label) error {
	switch {
	case l.ImageA.IsZero() || l.ImageB.IsZero() || l.ImageA == l.ImageB:
		return invalid("pair needs two different images, image_a and image_b")
	case l.Winner != "a" && l.Winner != "b" && l.Winner != "tie":
		return invalid("winner must be a, b or tie")
	case l.Value != nil || !l.Image.IsZero():
		return invalid("pair requires a winner, and neither value nor image_sha256")
	}
	return nil
}

func sound(s string) bool {
	return s != "" && len(s) <= maxNameBytes && strings.ToValidUTF8(s, "") == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// checkAgainst holds a label against what was shown, where that is known, and
// returns it.
func (e *Engine) checkAgainst(ctx context.Context, l Label) (*experiment.Exposure, error) {
	x, known, err := e.exposureOf(ctx, l)
	if err != nil {
		e.telemetry.storeFailed(ctx, "exposure")
		return nil, err
	}
	low, high := 1.0, 5.0
	if known {
		if l.Assignment != "" && !l.Image.IsZero() && x.Image != l.Image {
			return nil, invalid("image_sha256 does not match the image of the assignment")
		}
		if l.Kind == experiment.Choice && x.Rank == 0 {
			return nil, invalid("the assignment does not belong to a ranking")
		}
		for _, o := range e.current.Load().all {
			if o.ID == x.Experiment && o.ScoreMax > o.ScoreMin {
				low, high = min(low, o.ScoreMin), max(high, o.ScoreMax)
			}
		}
	} else if l.Kind == experiment.MOS {
		low, high = 0, 100 // whatever scale it will turn out to be on
	}
	if l.Kind == experiment.MOS && (*l.Value < low || *l.Value > high) {
		return nil, invalid("value is %g, must be between %g and %g", *l.Value, low, high)
	}
	if !known {
		return nil, nil
	}
	return &x, nil
}

func (e *Engine) exposureOf(ctx context.Context, l Label) (experiment.Exposure, bool, error) {
	var x experiment.Exposure
	var err error
	switch {
	case l.Assignment != "":
		x, err = e.Store.ByAssignment(ctx, l.Assignment)
	case !l.Image.IsZero():
		x, err = e.Store.ByImage(ctx, l.Image)
	default:
		return x, false, nil
	}
	if quality.KindOf(err) == quality.KindNotFound {
		return x, false, nil
	}
	return x, err == nil, err
}

// digest is the same for labels that say the same, of a rater as written down.
func (l Label) digest(rater string) quality.Digest {
	value := ""
	if l.Value != nil {
		value = number(*l.Value)
	}
	given := ""
	if !l.Given.IsZero() {
		given = l.Given.UTC().Format(time.RFC3339Nano)
	}
	return quality.NewFieldHash().String("agiqa-feedback/2").String(l.Assignment).Bytes(l.Image[:]).String(rater).
		String(string(l.Kind)).String(value).String(l.Winner).Bytes(l.ImageA[:]).Bytes(l.ImageB[:]).
		String(l.Task).String(number(l.LatencyMS)).String(given).Sum()
}
