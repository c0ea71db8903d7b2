package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/experiment/report"
	"github.com/agiqa/agiqa/quality"
)

// Experiments runs A/B experiments of checkpoints: an [engine.Engine]. by names
// who asks. Errors are *[quality.Error]: experiment_invalid, encoder_mismatch,
// not_found, checkpoint_not_found, conflict where a state forbids it or somebody
// was faster, store_unavailable.
type Experiments interface {
	Create(ctx context.Context, definition []byte, by string) (experiment.Experiment, error)
	// Edit puts another definition in the place of a draft's; Clone makes a draft of
	// an experiment under another id; Delete removes a draft. revision is as for
	// Change.
	Edit(
		ctx context.Context, id experiment.ID, revision int64, definition []byte, by string,
	) (experiment.Experiment, error)
	Clone(ctx context.Context, id, as experiment.ID, by string) (experiment.Experiment, error)
	Delete(ctx context.Context, id experiment.ID, revision int64, by string) (experiment.Experiment, error)
	Start(ctx context.Context, id experiment.ID, by string) (experiment.Experiment, error)
	// Change does one of pause, resume, ramp, weigh, stop, archive and restore. revision is the
	// one that the caller saw; 0: whichever.
	Change(ctx context.Context, id experiment.ID, revision int64, c experiment.Change) (experiment.Experiment, error)
	// Promote returns an *[experiment.NotReady] where the rule of promotion is not
	// met and force does not say otherwise.
	Promote(
		ctx context.Context, id experiment.ID, arm experiment.ArmID, by string, force experiment.Force,
	) (experiment.Experiment, error)
	Rollback(ctx context.Context, id experiment.ID, by string) (experiment.Experiment, error)
	List(ctx context.Context) ([]experiment.Experiment, error)
	Audits(ctx context.Context, id experiment.ID) ([]experiment.Audit, error)
	// Conclude is what the records say so far; Guards and NotServed are this
	// server's own view.
	Conclude(ctx context.Context, id experiment.ID) (engine.Conclusion, error)
	Guards(id experiment.ID) []analysis.Guard
	NotServed(id experiment.ID) string
	// Warnings say that experiments take each other's requests.
	Warnings(id experiment.ID) []string
	// Report is the whole analysis of a phase; 0: the present one.
	Report(ctx context.Context, id experiment.ID, phase int) (analysis.Report, error)
	// Label stores feedback: feedback_invalid, forbidden, conflict, rate_limited,
	// store_unavailable.
	Label(ctx context.Context, l engine.Label) (engine.Receipt, error)
	// Tasks issues labelling tasks: as Label, and not_found.
	Tasks(ctx context.Context, id experiment.ID, r engine.TaskRequest) ([]engine.IssuedTask, error)
	// Withheld says why scores of an image, by checkpoints that a request names
	// or by the server's choice, are for the admin alone: forbidden, or nil.
	Withheld(ctx context.Context, image quality.Digest, checkpoints []quality.Digest) error
}

var errNoExperiments = quality.Errorf(quality.KindNotFound,
	"this server runs no experiments: its setting experiment-store is none")

// ExperimentStatus is an experiment and how it is doing on this server.
type ExperimentStatus struct {
	Experiment experiment.Experiment `json:"experiment"`
	AA         string                `json:"aa,omitempty" doc:"That arms are the same checkpoint, in words: a difference is then the sign of a fault, and nothing is promoted"`
	Trouble    string                `json:"trouble,omitempty" doc:"Why a running experiment takes no requests on this server"`
	Warnings   []string              `json:"warnings,omitempty" nullable:"false" doc:"What a running experiment does not get of what its definition says, or takes from another one"`
	Guards     []GuardStatus         `json:"guards" nullable:"false" doc:"Guardrails, as this server sees them"`
	Counts     map[string]int        `json:"counts" nullable:"false" doc:"What was recorded: exposures, units and thumbs in this phase, images and labels in all phases"`
	Uncounted  map[string]int        `json:"uncounted" nullable:"false" doc:"Feedback that no decision reads, by the reason: not_blind, other_kind, superseded, contradictory, late, no_exposure, no_scores, other_phase, several_arms, odd_values. counts.counted is what a decision reads"`
	Arms       []ArmStatus           `json:"arms" nullable:"false" doc:"Treatments against the control, by the primary measure"`
	Recommends string                `json:"recommends" doc:"The arm that may be promoted; empty: none yet"`
}

// GuardStatus is where a guardrail stands.
type GuardStatus struct {
	Kind   string  `json:"kind"`
	Arm    string  `json:"arm,omitempty"`
	Value  float64 `json:"value"`
	Limit  float64 `json:"limit"`
	Action string  `json:"action" enum:"warn,hold,rollback"`
	OK     bool    `json:"ok"`
	Detail string  `json:"detail,omitempty"`
}

// ArmStatus compares a treatment with the control.
type ArmStatus struct {
	Arm     string   `json:"arm"`
	Effect  *float64 `json:"effect" doc:"Difference of the primary measure; positive: the treatment is better"`
	Low     *float64 `json:"low" doc:"Lower end of the confidence sequence"`
	High    *float64 `json:"high"`
	Ready   bool     `json:"ready" doc:"Whether the rule of promotion is met"`
	Missing []string `json:"missing,omitempty" nullable:"false" doc:"Every reason why not"`
	ToGo    ToGo     `json:"to_go"`
}

// ToGo is how much is still to be labelled.
type ToGo struct {
	Count     int    `json:"count" doc:"So many more until a difference of mde is decided; without an estimate, until min_labels"`
	Of        string `json:"of" doc:"What is counted" example:"images with blind labels"`
	Estimated bool   `json:"estimated" doc:"Whether the labels so far tell how many it takes"`
}

// experimentStatus shows a conclusion with this server's own view.
func experimentStatus(c engine.Conclusion, guards []analysis.Guard, trouble string) ExperimentStatus {
	n := c.Decision.Counts
	out := ExperimentStatus{
		Experiment: c.Experiment, Trouble: trouble, Guards: []GuardStatus{}, Arms: []ArmStatus{},
		Counts: map[string]int{
			"exposures": n.Exposures, "units": n.Units, "units_moved": n.UnitsMoved, "images": n.Images,
			"images_labelled_blind": n.LabelledBlind, "images_labelled": n.LabelledAll,
			"labels": n.Labels, "pairs_blind": n.PairsBlind, "raters_blind": n.RatersBlind,
			"units_with_thumbs": n.UnitsWithThumbs, "choices": n.Choices,
			"counted": n.Counted, "uncounted": n.Uncounted.Sum(),
		},
		Uncounted: n.Uncounted.Reasons(),
	}
	for _, g := range guards {
		if g.Value.Known() {
			out.Guards = append(out.Guards, GuardStatus{
				Kind: string(g.Kind), Arm: string(g.Arm), Value: float64(g.Value), Limit: float64(g.Limit),
				Action: string(g.Action), OK: g.OK, Detail: g.Detail,
			})
		}
	}
	for _, p := range c.Promotions {
		arm := ArmStatus{Arm: string(p.Arm), Effect: known(p.Effect), Ready: p.Ready, Missing: p.Missing}
		for _, b := range c.Decision.Blind {
			if b.Arm == p.Arm {
				arm.Low, arm.High = known(b.Agreed.Low), known(b.Agreed.High)
				arm.ToGo.Count, arm.ToGo.Of, arm.ToGo.Estimated = c.Decision.ToGo(c.Experiment, b)
			}
		}
		if arm.Ready {
			arm.ToGo.Count = 0
		}
		out.Arms = append(out.Arms, arm)
	}
	ready, _ := c.Ready()
	out.Recommends = string(ready)
	return out
}

func known(n analysis.Number) *float64 {
	if !n.Known() {
		return nil
	}
	f := float64(n)
	return &f
}

// ExperimentRef says that an experiment chose the checkpoint.
type ExperimentRef struct {
	ID         string `json:"id"`
	Arm        string `json:"arm" doc:"The arm that the image was assigned to"`
	Phase      int    `json:"phase"`
	Assignment string `json:"assignment_id,omitempty" doc:"What feedback names; absent where nothing was recorded"`
	Rank       int    `json:"rank,omitempty" doc:"Place in an interleaved ranking of the request's images, from 1"`
	Degraded   bool   `json:"degraded,omitempty" doc:"No record could be written: the control answered"`
}

func experimentRef(s *experiment.Shown) *ExperimentRef {
	if s == nil {
		return nil
	}
	return &ExperimentRef{
		ID: string(s.Experiment), Arm: string(s.Arm), Phase: s.Phase, Assignment: s.Assignment,
		Rank: s.Rank, Degraded: s.Degraded,
	}
}

// FeedbackRequest is the body of /v1/feedback.
type FeedbackRequest struct {
	Key        string     `json:"idempotency_key" minLength:"1" maxLength:"256" doc:"The same key with the same body is stored once"`
	Assignment string     `json:"assignment_id,omitempty" maxLength:"64" doc:"The experiment.assignment_id of an answer"`
	Image      string     `json:"image_sha256,omitempty" pattern:"^(sha256:)?[0-9a-f]{64}$" doc:"The image, where no assignment is named"`
	Task       string     `json:"task,omitempty" maxLength:"512" doc:"Token of the task that it answers. Only such labels can lead to a promotion"`
	Rater      string     `json:"rater_id,omitempty" maxLength:"256" doc:"Who gave it. Required with the key of an application; of a key that is bound to a rater, that one. Kept as a keyed hash"`
	Kind       string     `json:"kind" enum:"mos,pair,thumb,choice"`
	Value      *float64   `json:"value,omitempty" doc:"mos: 1 to 5, or on the checkpoint's scale; thumb: 0 or 1"`
	Winner     string     `json:"winner,omitempty" enum:"a,b,tie" doc:"Of a pair"`
	ImageA     string     `json:"image_a,omitempty" pattern:"^(sha256:)?[0-9a-f]{64}$" doc:"Of a pair"`
	ImageB     string     `json:"image_b,omitempty" pattern:"^(sha256:)?[0-9a-f]{64}$" doc:"Of a pair"`
	Blind      bool       `json:"blind,omitempty" deprecated:"true" doc:"Ignored: the server knows by the task whether the rater could have seen the score"`
	LatencyMS  float64    `json:"latency_ms,omitempty" minimum:"0" doc:"Time that the rater took"`
	Given      *time.Time `json:"given_at,omitempty" doc:"When the rater gave it; the time of arrival when absent"`
}

// label is the request as the engine takes it.
func (r FeedbackRequest) label(by access.Principal) (engine.Label, error) {
	l := engine.Label{
		By: by, Key: r.Key, Task: r.Task, Assignment: r.Assignment, Rater: r.Rater, Kind: experiment.FeedbackKind(r.Kind),
		Value: r.Value, Winner: r.Winner, LatencyMS: r.LatencyMS,
	}
	if r.Given != nil {
		l.Given = *r.Given
	}
	for _, d := range []struct {
		name, text string
		to         *quality.Digest
	}{{"image_sha256", r.Image, &l.Image}, {"image_a", r.ImageA, &l.ImageA}, {"image_b", r.ImageB, &l.ImageB}} {
		if d.text == "" {
			continue
		}
		var err error
		if *d.to, err = imageDigest(d.name, d.text); err != nil {
			return l, err
		}
	}
	return l, nil
}

// imageDigest reads a digest with or without its prefix.
func imageDigest(name, text string) (quality.Digest, error) {
	d, err := quality.ParseDigest("sha256:" + strings.TrimPrefix(text, "sha256:"))
	if err != nil {
		return d, quality.Errorf(quality.KindFeedbackInvalid, "%s is not a SHA-256 in hexadecimal", name)
	}
	return d, nil
}

// TasksRequest is the body of /v1/experiments/{id}/tasks.
type TasksRequest struct {
	Rater  string   `json:"rater_id,omitempty" maxLength:"256" doc:"Who is to be asked. Required with the key of an application; of a key that is bound to a rater, that one"`
	Kind   string   `json:"kind,omitempty" enum:"image,pair" doc:"What a task is about: one image, or a pair to choose from; image when absent"`
	Count  int      `json:"count,omitempty" minimum:"1" maximum:"100" doc:"At most so many tasks; 10 when absent"`
	Images []string `json:"images,omitempty" maxItems:"1000" nullable:"false" doc:"SHA-256 of the images that the rater can be shown; any image of the experiment when absent"`
}

// tasks is the request as the engine takes it.
func (r TasksRequest) tasks(by access.Principal) (engine.TaskRequest, error) {
	out := engine.TaskRequest{By: by, Rater: r.Rater, Pairs: r.Kind == "pair", Count: cmp.Or(r.Count, 10)}
	for i, text := range r.Images {
		d, err := imageDigest(fmt.Sprintf("images[%d]", i), text)
		if err != nil {
			return out, err
		}
		out.Images = append(out.Images, d)
	}
	return out, nil
}

// LabellingTask asks for a label.
type LabellingTask struct {
	Token   string    `json:"task" doc:"What the feedback brings back as task"`
	Kind    string    `json:"kind" enum:"image,pair"`
	Image   string    `json:"image_sha256,omitempty" doc:"Of kind image"`
	ImageA  string    `json:"image_a,omitempty" doc:"Of kind pair"`
	ImageB  string    `json:"image_b,omitempty" doc:"Of kind pair"`
	Expires time.Time `json:"expires" doc:"Feedback that comes later is kept and decides nothing"`
}

func labellingTask(t engine.IssuedTask) LabellingTask {
	out := LabellingTask{Token: t.Token, Kind: "image", Image: t.Image.Hex(), Expires: t.Expires}
	if !t.Other.IsZero() {
		out.Kind, out.Image, out.ImageA, out.ImageB = "pair", "", t.Image.Hex(), t.Other.Hex()
	}
	return out
}

type tasksInput struct {
	ID   string `path:"id" maxLength:"64"`
	Body TasksRequest
}

type tasksOutput struct {
	Body struct {
		Tasks []LabellingTask `json:"tasks" nullable:"false" doc:"Those with the fewest labels first; fewer than were asked for, or none, where the rater has answered the others or their scores were shown"`
	}
}

// FeedbackReceipt answers /v1/feedback.
type FeedbackReceipt struct {
	ID        string `json:"id"`
	Standing  string `json:"standing" enum:"accepted,orphan,late" doc:"orphan: no exposure is known yet; it is kept for 24 hours and joined if one appears. late: more than 30 days after it, kept and not counted"`
	Blind     bool   `json:"blind" doc:"It answers a task in time"`
	Counts    bool   `json:"counts" doc:"The experiment's decision reads it"`
	Reason    string `json:"reason,omitempty" doc:"Why it does not count" example:"not blind: it answers no task"`
	Duplicate bool   `json:"duplicate" doc:"It was there before"`
}

type feedbackOutput struct {
	Status int
	Body   FeedbackReceipt
}

type experimentInput struct {
	ID string `path:"id" maxLength:"64"`
}

type reportInput struct {
	ID    string `path:"id" maxLength:"64"`
	Phase int    `query:"phase" minimum:"1" doc:"Units and thumbs of this phase, images and labels up to it; the present phase when absent"`
}

type experimentOutput struct{ Body experiment.Experiment }

type createInput struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte `contentType:"application/yaml"`
}

type changeInput struct {
	ID       string `path:"id" maxLength:"64"`
	Revision int64  `query:"revision" minimum:"0" doc:"Refuse with conflict unless the experiment is at this revision"`
}

type rampInput struct {
	ID       string `path:"id" maxLength:"64"`
	Revision int64  `query:"revision" minimum:"0" doc:"Refuse with conflict unless the experiment is at this revision"`
	Body     RampRequest
}

// RampRequest is the body of a ramp.
type RampRequest struct {
	Coverage string            `json:"coverage,omitempty" maxLength:"32" example:"25%" doc:"Share of units that take part: a percentage, or parts per million"`
	Weights  map[string]string `json:"weights,omitempty" doc:"New weights by arm; they begin a new phase, which labels outlast"`
}

type promoteInput struct {
	ID   string `path:"id" maxLength:"64"`
	Body PromoteRequest
}

// PromoteRequest is the body of a promotion.
type PromoteRequest struct {
	Arm    string `json:"arm" maxLength:"64"`
	Force  bool   `json:"force,omitempty" doc:"Promote although the rule of promotion is not met. It needs a reason"`
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Why the promotion is forced, for the audit record and the report"`
}

type listExperimentsInput struct {
	Archived bool `query:"archived" doc:"List the archive too"`
}

type listExperimentsOutput struct {
	Body struct {
		Experiments []experiment.Experiment `json:"experiments" nullable:"false"`
	}
}

type auditsOutput struct {
	Body struct {
		Audits []experiment.Audit `json:"audits" nullable:"false"`
	}
}

type statusOutput struct{ Body ExperimentStatus }

type reportOutput struct {
	ContentType string `header:"Content-Type"`
	Policy      string `header:"Content-Security-Policy"`
	Body        []byte
}

// registerExperiments adds the routes, where a server runs experiments.
func (g *Gateway) registerExperiments(api huma.API) {
	operation := func(method, path, id, summary string, errs ...int) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{"Experiments"},
			Errors: append(errs, 404, 503, 504),
		}
	}
	create := operation(http.MethodPost, "/v1/experiments", "create-experiment",
		"Create an experiment", 400, 408, 409, 415, 422)
	create.Description = "The body is a definition in YAML or JSON (docs/experiments.md). It becomes a draft, which " +
		"takes no requests."
	create.DefaultStatus = http.StatusCreated
	read := g.definition(api, &create)
	huma.Register(api, create, func(ctx context.Context, in *createInput) (*experimentOutput, error) {
		return experimentAnswer(ctx, func() (experiment.Experiment, error) {
			definition, err := read(in.ContentType, in.RawBody)
			if err != nil {
				return experiment.Experiment{}, err
			}
			return g.experiments.Create(ctx, definition, access.From(ctx).By())
		})
	})
	huma.Register(api, operation(http.MethodGet, "/v1/experiments", "list-experiments", "List experiments"),
		func(ctx context.Context, in *listExperimentsInput) (*listExperimentsOutput, error) {
			all, err := g.experiments.List(ctx)
			if err != nil {
				return nil, problemOf(ctx, err)
			}
			out := &listExperimentsOutput{}
			out.Body.Experiments = slices.DeleteFunc(append([]experiment.Experiment{}, all...),
				func(x experiment.Experiment) bool { return x.Archived && !in.Archived })
			return out, nil
		})
	huma.Register(api, operation(http.MethodGet, "/v1/experiments/{id}", "show-experiment",
		"Show an experiment and how it is doing"),
		func(ctx context.Context, in *experimentInput) (*statusOutput, error) {
			id := experiment.ID(in.ID)
			c, err := g.experiments.Conclude(ctx, id)
			if err != nil {
				return nil, problemOf(ctx, err)
			}
			status := experimentStatus(c, g.experiments.Guards(id), g.experiments.NotServed(id))
			status.AA, status.Warnings = c.Experiment.AA(), g.experiments.Warnings(id)
			return &statusOutput{Body: status}, nil
		})
	huma.Register(api, operation(http.MethodGet, "/v1/experiments/{id}/audits", "list-audits",
		"List what was done to an experiment, and by what numbers"),
		func(ctx context.Context, in *experimentInput) (*auditsOutput, error) {
			all, err := g.experiments.Audits(ctx, experiment.ID(in.ID))
			if err != nil {
				return nil, problemOf(ctx, err)
			}
			out := &auditsOutput{}
			out.Body.Audits = append([]experiment.Audit{}, all...)
			return out, nil
		})
	g.registerExperimentChanges(api, operation)
	g.registerDrafts(api, operation)
	g.registerReports(api, operation)
	g.registerFeedback(api)
	g.registerTasks(api)
}

type newOperation func(method, path, id, summary string, errs ...int) huma.Operation

func (g *Gateway) registerExperimentChanges(api huma.API, operation newOperation) {
	start := operation(http.MethodPost, "/v1/experiments/{id}/start", "start-experiment",
		"Start an experiment", 409, 502, 504)
	start.Description = "Every arm first scores a fixed set of canary images: an arm that is constant, at the ends of " +
		"the scale, or ranks against the control forbids the start. So does another experiment that takes every request of " +
		"this one; where others take more than a tenth of them, warnings says so."
	huma.Register(api, start, func(ctx context.Context, in *experimentInput) (*changedOutput, error) {
		return g.changed(ctx, func() (experiment.Experiment, error) {
			return g.experiments.Start(ctx, experiment.ID(in.ID), access.From(ctx).By())
		})
	})
	for _, do := range []struct {
		do      experiment.Do
		summary string
	}{
		{experiment.DoPause, "Pause: everybody gets the default, nothing is recorded"},
		{experiment.DoStop, "Stop for good"},
		{experiment.DoArchive, "Put a draft, or an experiment that has ended, away"},
		{experiment.DoRestore, "Take an experiment out of the archive"},
	} {
		huma.Register(api, operation(http.MethodPost, "/v1/experiments/{id}/"+string(do.do),
			string(do.do)+"-experiment", do.summary, 409),
			func(ctx context.Context, in *changeInput) (*experimentOutput, error) {
				return experimentAnswer(ctx, func() (experiment.Experiment, error) {
					return g.experiments.Change(ctx, experiment.ID(in.ID), in.Revision,
						experiment.Change{Do: do.do, By: access.From(ctx).By()})
				})
			})
	}
	huma.Register(api, operation(http.MethodPost, "/v1/experiments/{id}/resume", "resume-experiment",
		"Resume; what held the experiment is taken for looked at", 409),
		func(ctx context.Context, in *changeInput) (*changedOutput, error) {
			return g.changed(ctx, func() (experiment.Experiment, error) {
				return g.experiments.Change(ctx, experiment.ID(in.ID), in.Revision,
					experiment.Change{Do: experiment.DoResume, By: access.From(ctx).By()})
			})
		})
	ramp := operation(http.MethodPost, "/v1/experiments/{id}/ramp", "ramp-experiment", "Change coverage or weights",
		400, 408, 409, 413, 415, 422)
	ramp.Description = "A wider coverage moves no unit between arms. Other weights, or a smaller coverage, begin a new " +
		"phase and move as few units as can be. Labels keep counting: what people say of images doesn't depend on the " +
		"split. user_metric begins anew, without the units that moved."
	huma.Register(api, ramp, func(ctx context.Context, in *rampInput) (*changedOutput, error) {
		return g.changed(ctx, func() (experiment.Experiment, error) {
			change, err := in.Body.change(access.From(ctx).By())
			if err != nil {
				return experiment.Experiment{}, err
			}
			return g.experiments.Change(ctx, experiment.ID(in.ID), in.Revision, change)
		})
	})
	promote := operation(http.MethodPost, "/v1/experiments/{id}/promote", "promote-arm",
		"Make an arm's checkpoint the default and end the experiment", 400, 408, 409, 413, 415, 422)
	promote.Description = "Doing it again changes nothing. Where the rule of promotion is not met it answers 409, " +
		"with everything that is missing in errors, unless force is true; then reason is needed and becomes part of " +
		"the audit record and the report, with the numbers of the moment. Force overrules the rule of promotion alone: " +
		"an arm that a guardrail took out, or whose checkpoint is another one by now, is never promoted."
	huma.Register(api, promote, func(ctx context.Context, in *promoteInput) (*experimentOutput, error) {
		return experimentAnswer(ctx, func() (experiment.Experiment, error) {
			return g.experiments.Promote(ctx, experiment.ID(in.ID), experiment.ArmID(in.Body.Arm), access.From(ctx).By(),
				experiment.Force{On: in.Body.Force, Reason: in.Body.Reason})
		})
	})
	huma.Register(api, operation(http.MethodPost, "/v1/experiments/{id}/rollback", "rollback-experiment",
		"End the experiment and give everybody its control again", 409),
		func(ctx context.Context, in *experimentInput) (*experimentOutput, error) {
			return experimentAnswer(ctx, func() (experiment.Experiment, error) {
				return g.experiments.Rollback(ctx, experiment.ID(in.ID), access.From(ctx).By())
			})
		})
}

// change reads a ramp: either coverage or weights.
func (r RampRequest) change(by string) (experiment.Change, error) {
	invalid := func(field, text string) error {
		return &experiment.Invalid{Faults: []experiment.Fault{{Field: field, Message: text}}}
	}
	if (r.Coverage == "") == (len(r.Weights) == 0) {
		return experiment.Change{}, invalid("coverage", "either coverage or weights is needed, not both")
	}
	if r.Coverage != "" {
		coverage, err := experiment.ParseShare(r.Coverage)
		if err != nil {
			return experiment.Change{}, invalid("coverage", err.Error())
		}
		return experiment.Change{Do: experiment.DoRamp, By: by, Coverage: coverage}, nil
	}
	change := experiment.Change{Do: experiment.DoWeigh, By: by, Weights: map[experiment.ArmID]experiment.PPM{}}
	for arm, text := range r.Weights {
		weight, err := experiment.ParseShare(text)
		if err != nil {
			return change, invalid("weights", err.Error())
		}
		change.Weights[experiment.ArmID(arm)] = weight
	}
	return change, nil
}

func (g *Gateway) registerReports(api huma.API, operation newOperation) {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[analysis.Report](), true, "")
	for _, kind := range []struct {
		path, id, summary, contentType string
		write                          func(context.Context, analysis.Report) ([]byte, error)
		schema                         *huma.Schema
	}{
		{"/v1/experiments/{id}/report", "experiment-report", "The whole analysis", "application/json", reportJSON, schema},
		{
			"/v1/experiments/{id}/report.html", "experiment-report-page", "The whole analysis as a page",
			"text/html; charset=utf-8", report.HTML, &huma.Schema{Type: huma.TypeString},
		},
	} {
		op := operation(http.MethodGet, kind.path, kind.id, kind.summary, 409)
		mediaType, _, _ := strings.Cut(kind.contentType, ";")
		op.Responses = map[string]*huma.Response{"200": {
			Description: "The analysis", Content: map[string]*huma.MediaType{mediaType: {Schema: kind.schema}},
		}}
		huma.Register(api, op, func(ctx context.Context, in *reportInput) (*reportOutput, error) {
			r, err := g.experiments.Report(ctx, experiment.ID(in.ID), in.Phase)
			if err != nil {
				return nil, problemOf(ctx, err)
			}
			if !r.Experiment.State.Final() && !access.From(ctx).May(access.ScopeAdmin) {
				r = withoutImages(r)
			}
			body, err := kind.write(ctx, r)
			if err == nil && ctx.Err() != nil { // meanwhile
				err = context.Cause(ctx)
			}
			if err != nil {
				return nil, problemOf(ctx, err)
			}
			return &reportOutput{
				ContentType: kind.contentType, Body: body,
				Policy: report.ContentSecurityPolicy() + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			}, nil
		})
	}
}

// withoutImages leaves out of a report what tells how the arms score single
// images, which nobody but the admin may know while the experiment runs.
func withoutImages(r analysis.Report) analysis.Report {
	r.Worst, r.Pictures.Scatter = nil, nil
	return r
}

// reportJSON takes hundredths of a second for the largest report, and isn't
// interrupted.
func reportJSON(_ context.Context, r analysis.Report) ([]byte, error) { return json.Marshal(r) }

func (g *Gateway) registerFeedback(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "feedback", Method: http.MethodPost, Path: "/v1/feedback", Summary: "Give feedback on a score",
		Tags: []string{"Experiments"},
		Description: "Answers once it is on disk: 201, or 200 for a repetition, or 202 where no exposure is known yet. " +
			"A label that brings back the token of a task in time, by the rater that it was issued to, decides; all others " +
			"are kept and shown apart. A task is answered once: 409 under another idempotency key.",
		Errors: []int{400, 404, 408, 409, 413, 415, 422, 429, 503, 504}, DefaultStatus: http.StatusCreated,
		MaxBodyBytes: 16 << 10,
	}, func(ctx context.Context, in *struct{ Body FeedbackRequest }) (*feedbackOutput, error) {
		label, err := in.Body.label(access.From(ctx))
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		receipt, err := g.experiments.Label(ctx, label)
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		f := receipt.Feedback
		out := &feedbackOutput{
			Status: http.StatusCreated,
			Body: FeedbackReceipt{ID: f.ID, Standing: string(f.State), Blind: f.Blind, Counts: receipt.Counts,
				Reason: receipt.Reason, Duplicate: receipt.Duplicate},
		}
		switch {
		case receipt.Duplicate:
			out.Status = http.StatusOK
		case f.State == experiment.Orphan:
			out.Status = http.StatusAccepted
		}
		return out, nil
	})
}

func (g *Gateway) registerTasks(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "label-tasks", Method: http.MethodPost, Path: "/v1/experiments/{id}/tasks",
		Summary: "Take labelling tasks", Tags: []string{"Experiments"},
		Description: "Asks a rater about images of a running experiment which were scored with X-Agiqa-Blind, and of " +
			"which nobody was shown a score. Feedback that brings a task's token back within 24 hours counts for the " +
			"experiment's decision.",
		Errors: []int{400, 404, 408, 409, 413, 415, 422, 429, 503, 504}, MaxBodyBytes: 128 << 10,
	}, func(ctx context.Context, in *tasksInput) (*tasksOutput, error) {
		request, err := in.Body.tasks(access.From(ctx))
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		issued, err := g.experiments.Tasks(ctx, experiment.ID(in.ID), request)
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		out := &tasksOutput{}
		out.Body.Tasks = []LabellingTask{}
		for _, t := range issued {
			out.Body.Tasks = append(out.Body.Tasks, labellingTask(t))
		}
		return out, nil
	})
}

// experimentAnswer shapes the outcome of a change. Every fault of a definition
// is told.
func experimentAnswer(ctx context.Context, do func() (experiment.Experiment, error)) (*experimentOutput, error) {
	x, err := do()
	if invalid, ok := errors.AsType[*experiment.Invalid](err); ok {
		body := &InvalidRequest{Kind: quality.KindExperimentInvalid}
		for i, f := range invalid.Faults[:min(len(invalid.Faults), maxFaults)] {
			body.Fields = append(body.Fields, ProblemField{Location: clip(f.Field, 128), Message: clip(f.Message, 256)})
			if i > 0 {
				body.Detail += "; "
			}
			body.Detail += body.Fields[i].Location + ": " + body.Fields[i].Message
		}
		if more := len(invalid.Faults) - maxFaults; more > 0 {
			body.Detail += fmt.Sprintf("; and %d more", more)
		}
		err = body
	}
	if err != nil {
		return nil, problemOf(ctx, err)
	}
	return &experimentOutput{Body: x}, nil
}

// caller is what an experiment may know of a request.
func (in *scoreInput) caller(ctx context.Context) (*experiment.Caller, error) {
	attributes, err := experiment.ParseAttributes(in.Slices)
	if err != nil {
		return nil, err
	}
	id := idsOf(ctx)
	c := &experiment.Caller{Header: in.header, APIKey: access.From(ctx).KeyID, Request: id.Request, Trace: id.Trace,
		Blind: in.Blind, Attributes: attributes}
	if in.Prompt != "" {
		if c.Prompt, err = quality.ParseDigest("sha256:" + strings.TrimPrefix(in.Prompt, "sha256:")); err != nil {
			return nil, quality.Errorf(quality.KindBadRequest, "X-Agiqa-Prompt-Sha256 is not 64 hexadecimal digits")
		}
	}
	return c, nil
}
