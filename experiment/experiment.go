package experiment

import (
	"fmt"
	"strings"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// ID names an experiment: it matches [a-z0-9][a-z0-9-]{0,63}.
type ID string

// ArmID names an arm within its experiment, by the same rule.
type ArmID string

// PPM is a share in parts per million.
type PPM int

// Whole is everything.
const Whole PPM = 1_000_000

// String is a percentage.
func (p PPM) String() string { return fmt.Sprintf("%g %%", float64(p)/1e4) }

// State is where an experiment stands.
type State string

// The states. Records are written while it is running; the three last are
// final.
const (
	Draft      State = "draft"
	Running    State = "running"
	Paused     State = "paused" // everybody gets control; nothing is recorded
	Stopped    State = "stopped"
	Promoted   State = "promoted"
	RolledBack State = "rolled_back"
)

// Role says what an arm is compared as. One arm is the control.
type Role string

// The roles.
const (
	Control   Role = "control"
	Treatment Role = "treatment"
)

// Mode says how an arm takes part.
type Mode string

// The modes.
const (
	Live       Mode = "live"       // its score may be returned
	Shadow     Mode = "shadow"     // scored and recorded, never returned
	Interleave Mode = "interleave" // rankings of several images are a team-draft merge of such arms
)

// Arm is one checkpoint in an experiment.
type Arm struct {
	ID         ArmID          `json:"id" yaml:"id"`
	Checkpoint string         `json:"checkpoint" yaml:"checkpoint"`               // its name when the experiment was made
	Digest     quality.Digest `json:"checkpoint_digest" yaml:"checkpoint_digest"` // what is meant by it
	Role       Role           `json:"role" yaml:"role"`
	Mode       Mode           `json:"mode" yaml:"mode"`
	Weight     PPM            `json:"weight_ppm" yaml:"weight_ppm"`       // of the covered units; they sum to Whole, a shadow has 0
	Out        bool           `json:"out,omitempty" yaml:"out,omitempty"` // a guardrail took it out: it judges nothing any more
}

// UnitKind says what is assigned as a whole.
type UnitKind string

// The kinds of unit.
const (
	UnitHeader  UnitKind = "header"       // the value of the experiment's header, such as a user's id
	UnitAPIKey  UnitKind = "api_key"      // who calls
	UnitImage   UnitKind = "image_sha256" // the picture
	UnitRequest UnitKind = "request"      // nothing sticks
)

// Namespace is a share of all units that experiments of one name divide among
// themselves, so that no unit is in two of them.
type Namespace struct {
	Name string `json:"name" yaml:"name"`
	From PPM    `json:"from_ppm" yaml:"from_ppm"` // inclusive
	To   PPM    `json:"to_ppm" yaml:"to_ppm"`     // exclusive
}

// String says which share it is: 0 % to 50 %.
func (n Namespace) String() string { return n.From.String() + " to " + n.To.String() }

// RampStep widens the coverage once its conditions hold.
type RampStep struct {
	Coverage PPM           `json:"coverage_ppm" yaml:"coverage_ppm"`
	MinTime  time.Duration `json:"min_time" yaml:"min_time"`
	MinUnits int           `json:"min_units" yaml:"min_units"`
}

// Audience restricts an experiment to requests whose attributes have one of
// the listed values, for every attribute that is named.
type Audience map[string][]string

// Primary is what the experiment decides by.
type Primary string

// The primary measures. For each, a positive difference means that the
// treatment is better.
const (
	// Squared error against MOS, control minus treatment, after a straight line has
	// put each arm's scores on the raters' scale: what is left is how well an arm
	// orders images, and by how much. A panel that is stricter than another prefers no
	// arm for being lower.
	PrimaryCalibrated Primary = "loss_calibrated"
	PrimaryLoss       Primary = "loss_mse"      // squared error against MOS, control minus treatment
	PrimarySRCC       Primary = "dSRCC"         // SRCC with MOS
	PrimaryKRCC       Primary = "dKRCC"         // KRCC (tau-b) with MOS
	PrimaryPreference Primary = "pref_accuracy" // share of preferences predicted rightly
	PrimaryUser       Primary = "user_metric"   // mean of thumbs by unit
)

// Reads is the kind of feedback that a measure is of.
func (p Primary) Reads() FeedbackKind {
	switch p {
	case PrimaryPreference:
		return Pair
	case PrimaryUser:
		return Thumb
	}
	return MOS
}

// Auto says what the server does of itself once a decision is reached.
type Auto string

// What may be automatic.
const (
	AutoOff       Auto = "off"
	AutoRecommend Auto = "recommend"
	AutoAct       Auto = "act"
)

// GuardrailKind names what is watched.
type GuardrailKind string

// The guardrails.
const (
	GuardErrors     GuardrailKind = "error_rate"        // an arm's share of errors, NaN and scores out of range
	GuardLatency    GuardrailKind = "head_latency_p99"  // milliseconds
	GuardDrift      GuardrailKind = "score_drift"       // PSI against the arm's own first scores and against control
	GuardSaturation GuardrailKind = "saturation"        // share of scores at the ends of the scale
	GuardConstant   GuardrailKind = "constant_output"   // spread of the scores
	GuardSRM        GuardrailKind = "srm"               // sample ratio mismatch
	GuardExposure   GuardrailKind = "multiple_exposure" // units seen in two arms
	GuardTraffic    GuardrailKind = "no_traffic"        // seconds without an exposure
	GuardStore      GuardrailKind = "store_degraded"    // records cannot be written
)

// Action is what a guardrail does.
type Action string

// The actions.
const (
	ActWarn     Action = "warn"     // said in status and report
	ActHold     Action = "hold"     // no ramp, no promotion
	ActRollback Action = "rollback" // the arm's weight becomes 0
)

// Guardrail is one rule. A zero Limit or Action means the default of its kind.
type Guardrail struct {
	Kind   GuardrailKind `json:"kind" yaml:"kind"`
	Limit  float64       `json:"limit,omitempty" yaml:"limit,omitempty"`
	Action Action        `json:"action,omitempty" yaml:"action,omitempty"`
}

// Slot is a range of buckets that belongs to an arm. The covered part of a slot
// is its beginning: the share of it that Coverage says.
type Slot struct {
	Arm  ArmID `json:"arm"`
	From PPM   `json:"from_ppm"` // inclusive
	To   PPM   `json:"to_ppm"`   // exclusive
}

// Experiment is one comparison. Once it was started, how it splits units among arms
// changes only together with Phase, except that the coverage may grow; Revision counts
// every change and is what a change is made against.
type Experiment struct {
	ID         ID        `json:"id"`
	Name       string    `json:"name"`
	Owner      string    `json:"owner"`
	Hypothesis string    `json:"hypothesis"`
	Created    time.Time `json:"created"`
	State      State     `json:"state"`
	Phase      int       `json:"phase"`    // from 1
	Revision   int64     `json:"revision"` // from 1
	Started    time.Time `json:"started,omitzero"`
	Ended      time.Time `json:"ended,omitzero"`

	Primary Primary `json:"primary"`
	MDE     float64 `json:"mde"`     // smallest difference of interest, in the unit of Primary
	Alpha   float64 `json:"alpha"`   // two-sided
	Margin  float64 `json:"margin"`  // of non-inferiority and equivalence
	Horizon int     `json:"horizon"` // labelled images at which the confidence sequence is tightest (N*)

	Arms       []Arm                `json:"arms" nullable:"false"`
	Encoder    quality.Digest       `json:"encoder_digest"`
	Preprocess quality.PreprocessID `json:"preprocess"`
	ScoreMin   float64              `json:"score_min"` // of the scale that all arms share
	ScoreMax   float64              `json:"score_max"`

	Unit        UnitKind   `json:"unit"`
	Header      string     `json:"header,omitempty"`        // of UnitHeader
	Fallback    UnitKind   `json:"fallback_unit,omitempty"` // where a request has no unit; "": it is left out
	Namespace   *Namespace `json:"namespace,omitempty"`
	Coverage    PPM        `json:"coverage_ppm"`
	Slots       []Slot     `json:"slots" nullable:"false"` // who has which buckets; see [Allot]
	Salt        string     `json:"salt"`                   // 32 hexadecimal digits
	HashVersion int        `json:"hash_version"`
	Audience    Audience   `json:"audience,omitempty"`
	Ramp        []RampStep `json:"ramp,omitempty"`
	RampStep    int        `json:"ramp_step"` // steps taken

	Past []PastPhase `json:"past,omitempty"` // the phases before this one, the oldest first

	// LabelsAnswerTasks is false in experiments of versions that believed what a
	// label said of itself. Their reports stay as they were, and nothing of
	// theirs is promoted by the rule.
	LabelsAnswerTasks bool `json:"labels_answer_tasks,omitempty"`

	BlindOnly   bool          `json:"blind_feedback_required"` // agreement, preferences and slices leave out open labels
	MinLabels   int           `json:"min_labels"`              // labelled images before a promotion
	MinRaters   int           `json:"min_raters"`
	MinDuration time.Duration `json:"min_duration"`
	MaxDuration time.Duration `json:"max_duration"`
	Guardrails  []Guardrail   `json:"guardrails,omitempty"`
	Auto        Auto          `json:"auto"`
	Archived    bool          `json:"archived,omitempty"`    // put away: nothing can be done to it but to restore it
	Winner      ArmID         `json:"winner,omitempty"`      // the arm that was promoted
	Forced      string        `json:"forced,omitempty"`      // why it was promoted without the rule of promotion
	Recommended ArmID         `json:"recommended,omitempty"` // the arm that the server would promote
	Held        []string      `json:"held,omitempty"`        // why neither ramp nor promotion may happen now
}

// Control returns the control arm, and false where there is none.
func (e Experiment) Control() (Arm, bool) {
	for _, a := range e.Arms {
		if a.Role == Control {
			return a, true
		}
	}
	return Arm{}, false
}

// Arm returns the arm with an id, and false where there is none.
func (e Experiment) Arm(id ArmID) (Arm, bool) {
	for _, a := range e.Arms {
		if a.ID == id {
			return a, true
		}
	}
	return Arm{}, false
}

// IsControl reports whether a treatment has the control's checkpoint: an arm of an
// A/A test, which is no better and no worse.
func (e Experiment) IsControl(a Arm) bool {
	control, ok := e.Control()
	return ok && a.ID != control.ID && !a.Digest.IsZero() && a.Digest == control.Digest
}

// AA says in words that arms have the control's checkpoint; "" where none has. A
// difference between them is the sign of a fault.
func (e Experiment) AA() string {
	var same []string
	for _, a := range e.Arms {
		if e.IsControl(a) {
			same = append(same, string(a.ID))
		}
	}
	switch {
	case len(same) == 0:
		return ""
	case len(e.Arms) == 2:
		return "A/A test: both arms are the same checkpoint"
	case len(same) == len(e.Arms)-1:
		return fmt.Sprintf("A/A test: all %d arms are the same checkpoint", len(e.Arms))
	case len(same) == 1:
		return fmt.Sprintf("A/A test: arm %s is the same checkpoint as the control", same[0])
	}
	return fmt.Sprintf("A/A test: arms %s are the same checkpoint as the control", strings.Join(same, ", "))
}
