package experiment

import (
	"time"

	"github.com/agiqa/agiqa/quality"
)

// ArmScore is what one arm said of an image, on the checkpoint's scale.
type ArmScore struct {
	Arm   ArmID   `json:"arm"`
	Score float32 `json:"score"`
	Fault string  `json:"fault,omitempty"` // why there is no score: nan, out_of_range, or a quality.Kind
}

// Exposure is the record of one image of one request in one experiment. It is
// durable before its score is returned, and it is written for failures too, so
// that a mismatch of samples is looked for on assignments, not on successes.
type Exposure struct {
	ID         string               `json:"id"`            // UUIDv7
	Assignment string               `json:"assignment_id"` // shown to the client; feedback names it
	Time       time.Time            `json:"time"`
	SinceBoot  time.Duration        `json:"since_boot"` // monotonic
	Experiment ID                   `json:"experiment"`
	Phase      int                  `json:"phase"`
	Unit       string               `json:"unit"`             // keyed hash in hexadecimal, never the value
	Bucket     *PPM                 `json:"bucket,omitempty"` // of the unit; nil in records of former versions
	UnitKind   UnitKind             `json:"unit_kind"`
	Shown      ArmID                `json:"arm_shown"`      // in an interleaved ranking, the arm that placed the image
	Rank       int                  `json:"rank,omitempty"` // place in an interleaved ranking, from 1
	Image      quality.Digest       `json:"image_sha256"`
	Prompt     quality.Digest       `json:"prompt_sha256"` // zero where no prompt was sent
	Encoder    quality.Digest       `json:"encoder_digest"`
	Preprocess quality.PreprocessID `json:"preprocess"`
	Scores     []ArmScore           `json:"scores"` // of every arm, in the order of the arms
	Cached     bool                 `json:"cached"` // the embedding was known
	TotalMS    float64              `json:"total_ms"`
	HeadMS     float64              `json:"head_ms"`
	Trace      string               `json:"trace_id"`
	Blind      bool                 `json:"blind"`            // the answer had no score
	Status     string               `json:"status"`           // ok, or a quality.Kind
	Slices     map[string]string    `json:"slices,omitempty"` // attributes for exploration, such as style or model
}

// FeedbackKind is what a person gave.
type FeedbackKind string

// The kinds of feedback.
const (
	MOS    FeedbackKind = "mos"    // Value 1..5, or the scale of the checkpoint
	Pair   FeedbackKind = "pair"   // Winner of ImageA and ImageB
	Thumb  FeedbackKind = "thumb"  // Value 0 or 1
	Choice FeedbackKind = "choice" // the image chosen from an interleaved ranking
)

// FeedbackState is what became of a piece of feedback. Only accepted feedback
// counts. Whether a later label of the same rater supersedes or contradicts it
// follows from the log, whatever the order of arrival: see package analysis.
type FeedbackState string

// The states of feedback.
const (
	Accepted FeedbackState = "accepted"
	Orphan   FeedbackState = "orphan" // no exposure is known; kept for 24 h and joined if one appears
	Late     FeedbackState = "late"   // more than 30 days after its exposure
)

// Feedback is one label.
type Feedback struct {
	ID         string         `json:"id"`              // UUIDv7
	Key        string         `json:"idempotency_key"` // keyed hash of the sender's: see [Hasher.Key]
	Body       quality.Digest `json:"body_sha256"`     // of what was sent: the same key with another body is a conflict
	Time       time.Time      `json:"time"`            // of arrival
	Given      time.Time      `json:"given_at"`        // when the rater gave it, as the client says; Time where it does not
	Experiment ID             `json:"experiment"`      // "" while orphan
	Phase      int            `json:"phase"`
	Assignment string         `json:"assignment_id,omitempty"`
	Image      quality.Digest `json:"image_sha256"`
	Rater      string         `json:"rater"` // keyed hash in hexadecimal
	Kind       FeedbackKind   `json:"kind"`
	Value      float64        `json:"value"`
	Winner     string         `json:"winner,omitempty"` // a, b or tie
	ImageA     quality.Digest `json:"image_a"`
	ImageB     quality.Digest `json:"image_b"`
	Blind      bool           `json:"blind"` // it answers a task; before there were tasks: its sender said so
	LatencyMS  float64        `json:"latency_ms"`
	State      FeedbackState  `json:"standing"`
	Task       string         `json:"task,omitempty"`   // what a blind label answers: see [Hasher.Answer]
	Sender     string         `json:"sender,omitempty"` // keyed hash of whose key it came with: see [Hasher.Sender]
}

// IsBlind reports whether f is known to be blind: it answers a task. Where
// labels did not have to, in experiments of former versions, it is what the
// sender said.
func (f Feedback) IsBlind(of Experiment) bool {
	return f.Blind && (f.Task != "" || !of.LabelsAnswerTasks)
}

// Audit is one change of an experiment, never changed itself.
type Audit struct {
	Time       time.Time         `json:"time"`
	Experiment ID                `json:"experiment"`
	Revision   int64             `json:"revision"` // that the change made
	Action     string            `json:"action"`   // create, start, pause, ramp, stop, promote, rollback, guardrail
	By         string            `json:"by"`       // an admin key's id, or "server"
	From       State             `json:"from"`
	To         State             `json:"to"`
	Detail     string            `json:"detail,omitempty"`
	Numbers    map[string]string `json:"numbers,omitempty"` // what it was decided by; digests and offsets of the log included
}
