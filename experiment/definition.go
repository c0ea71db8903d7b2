package experiment

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"

	"github.com/agiqa/agiqa/quality"
)

// UnitHeaderName is the header that carries a unit unless an experiment says
// another.
const UnitHeaderName = "X-Agiqa-Unit"

// MaxDefinitionBytes bounds the text of a definition.
const MaxDefinitionBytes = 64 << 10

// Definition is the text form of an experiment. A share is a percentage
// ("12.5%") or parts per million; a duration reads "36h", "3d" or "2w". What may
// be left out is a pointer where 0 is no value that it can have. The tags for
// JSON are those of the API's document: text in JSON is read as YAML is.
type Definition struct {
	ID          string                `yaml:"id" json:"id" doc:"Letters, digits and hyphens, in lower case"`
	Name        string                `yaml:"name" json:"name,omitempty" doc:"The id when absent"`
	Owner       string                `yaml:"owner" json:"owner,omitempty"`
	Hypothesis  string                `yaml:"hypothesis" json:"hypothesis,omitempty"`
	Primary     Primary               `yaml:"primary" json:"primary,omitempty" doc:"What the experiment decides by; loss_calibrated when absent"`
	MDE         *float64              `yaml:"mde" json:"mde,omitempty" doc:"Smallest difference of interest, in the unit of primary"`
	Alpha       *float64              `yaml:"alpha" json:"alpha,omitempty" doc:"Two-sided; 0.05 when absent"`
	Margin      float64               `yaml:"margin" json:"margin,omitempty" doc:"Of non-inferiority and equivalence"`
	Horizon     *int                  `yaml:"horizon" json:"horizon,omitempty" doc:"Labelled images at which the confidence sequence is tightest; 1000 when absent"`
	Arms        []ArmDefinition       `yaml:"arms" json:"arms"`
	Unit        UnitKind              `yaml:"unit" json:"unit,omitempty" doc:"What is assigned to an arm as a whole; header when absent"`
	Header      string                `yaml:"header" json:"header,omitempty" doc:"The header that carries a unit; X-Agiqa-Unit when absent"`
	Fallback    UnitKind              `yaml:"fallback_unit" json:"fallback_unit,omitempty" doc:"Where a request has no unit; it is left out when absent"`
	Namespace   *NamespaceDefinition  `yaml:"namespace" json:"namespace,omitempty" doc:"Share of all units that experiments of one name divide among themselves"`
	Coverage    *Share                `yaml:"coverage" json:"coverage,omitempty" doc:"Share of units that take part; all, or the first step of the ramp, when absent"`
	Salt        string                `yaml:"salt" json:"salt,omitempty" doc:"32 hexadecimal digits; drawn when absent"`
	Audience    Audience              `yaml:"audience" json:"audience,omitempty" doc:"Attributes of a request, each with the values that take part"`
	Ramp        []RampDefinition      `yaml:"ramp" json:"ramp,omitempty"`
	BlindOnly   *bool                 `yaml:"blind_feedback_required" json:"blind_feedback_required,omitempty" doc:"Whether the report's agreement, preferences and slices are of blind labels alone; true when absent. Decisions are of blind labels in any case"`
	MinLabels   *int                  `yaml:"min_labels" json:"min_labels,omitempty" doc:"Labelled images before a promotion; 300 when absent"`
	MinRaters   *int                  `yaml:"min_raters" json:"min_raters,omitempty" doc:"3 when absent"`
	MinDuration *time.Duration        `yaml:"min_duration" json:"min_duration,omitempty" doc:"1d when absent"`
	MaxDuration *time.Duration        `yaml:"max_duration" json:"max_duration,omitempty" doc:"60d when absent"`
	Guardrails  []GuardrailDefinition `yaml:"guardrails" json:"guardrails,omitempty"`
	Auto        Auto                  `yaml:"auto" json:"auto,omitempty" doc:"What the server does by itself; recommend when absent"`
}

// ArmDefinition is one arm of a [Definition].
type ArmDefinition struct {
	ID         string `yaml:"id" json:"id,omitempty" doc:"The name of the checkpoint when absent"`
	Checkpoint string `yaml:"checkpoint" json:"checkpoint"`
	Role       Role   `yaml:"role" json:"role,omitempty" doc:"The first arm is the control where none is named"`
	Mode       Mode   `yaml:"mode" json:"mode,omitempty" doc:"live when absent"`
	Weight     *Share `yaml:"weight" json:"weight,omitempty" doc:"Share of the covered units; equal shares when no arm has one"`
}

// NamespaceDefinition is the part of a namespace that a [Definition] takes.
type NamespaceDefinition struct {
	Name string `yaml:"name" json:"name"`
	From Share  `yaml:"from" json:"from" doc:"Inclusive"`
	To   Share  `yaml:"to" json:"to" doc:"Exclusive"`
}

// RampDefinition is one step of a ramp in a [Definition].
type RampDefinition struct {
	Coverage Share         `yaml:"coverage" json:"coverage"`
	MinTime  time.Duration `yaml:"min_time" json:"min_time,omitempty"`
	MinUnits int           `yaml:"min_units" json:"min_units,omitempty"`
}

// GuardrailDefinition is one guardrail of a [Definition].
type GuardrailDefinition struct {
	Kind   GuardrailKind `yaml:"kind" json:"kind"`
	Limit  *float64      `yaml:"limit" json:"limit,omitempty" doc:"Above 0; the default of its kind when absent"`
	Action Action        `yaml:"action" json:"action,omitempty" doc:"The default of its kind when absent"`
}

// Share is a [PPM] in text.
type Share PPM

// ParseShare reads "12.5%" or a number of parts per million.
func ParseShare(s string) (PPM, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v *= float64(Whole) / 100
	}
	r := math.Round(v)
	if err != nil || !(math.Abs(v-r) <= 1e-6) || r < 0 || r > float64(Whole) { // no comparison holds for NaN
		return 0, fmt.Errorf("%.32q is no share: write a percentage such as 12.5%%, or parts per million", s)
	}
	return PPM(r), nil
}

// UnmarshalYAML implements [yaml.Unmarshaler].
func (s *Share) UnmarshalYAML(n *yaml.Node) error {
	p, err := ParseShare(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*s = Share(p)
	return nil
}

// Parse reads the definition of an experiment in YAML or JSON, fills in what
// it leaves out, and validates. Unknown fields are refused, and every fault is
// told at once: experiment_invalid. What only a server knows stays empty:
// digests, encoder, preprocessing, times.
func Parse(text []byte) (Experiment, error) {
	if len(text) > MaxDefinitionBytes {
		return Experiment{},
			quality.Errorf(quality.KindExperimentInvalid, "the definition is longer than %d bytes", MaxDefinitionBytes)
	}
	if !utf8.Valid(text) { // YAML may be UTF-16 as well
		return Experiment{}, &Invalid{Faults: []Fault{{Field: "definition", Message: "is not UTF-8"}}}
	}
	var document yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&document); err != nil {
		return Experiment{}, unreadable(err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return Experiment{}, quality.Errorf(quality.KindExperimentInvalid, "the definition is one document, and something "+
			"follows it")
	}
	r := reader{lines: bytes.Contains(bytes.TrimSpace(text), []byte("\n"))}
	var d Definition
	r.mapping("", document.Content[0], reflect.ValueOf(&d).Elem())
	e := d.experiment()
	if e.Salt == "" {
		e.Salt = newSalt()
	}
	return e, allFaults(r.faults, append(faultsOf(e.Validate()), d.zeroLimits()...))
}

// zeroLimits are guardrails with a limit of 0, which in an [Experiment] means the
// default of the kind.
func (d Definition) zeroLimits() []Fault {
	v := &validation{}
	for i, g := range d.Guardrails {
		v.that(given(g.Limit, 1) != 0, fmt.Sprintf("guardrails[%d].limit", i),
			"is 0, must be above 0; leave it out for the default")
	}
	return v.faults
}

// allFaults is an *[Invalid] of the faults of reading and of those of what was
// read; nil for none. A field that could not be read is not judged as well: it has
// its default now, or a part of it is missing.
func allFaults(read, judged []Fault) error {
	unread := map[string]bool{}
	for _, f := range read {
		unread[topField(f.Field)] = true
	}
	all := &Invalid{Faults: read}
	for _, f := range judged {
		if !unread[topField(f.Field)] {
			all.Faults = append(all.Faults, f)
		}
	}
	if len(all.Faults) == 0 {
		return nil
	}
	return all
}

// faultsOf are those of an *[Invalid].
func faultsOf(err error) []Fault {
	if invalid, ok := errors.AsType[*Invalid](err); ok {
		return invalid.Faults
	}
	return nil
}

// topField is the field of the definition that a path begins with.
func topField(path string) string {
	if i := strings.IndexAny(path, ".["); i >= 0 {
		return path[:i]
	}
	return path
}

// DefinitionOfJSON checks that a definition is JSON, UTF-8 and without names
// that come twice, and returns it for [Parse], which reads JSON as YAML: no
// escape is left in it that YAML doesn't know. Errors: experiment_invalid.
func DefinitionOfJSON(text []byte) ([]byte, error) {
	if len(text) > MaxDefinitionBytes {
		return text, nil // Parse refuses it
	}
	value := jsontext.Value(bytes.Clone(text))
	err := value.Canonicalize(jsontext.SpaceAfterColon(true), jsontext.SpaceAfterComma(true))
	if err == nil {
		return value, nil
	}
	message := "is not JSON"
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		message = fmt.Sprintf("is not JSON: see byte %d", syntax.ByteOffset)
		if errors.Is(err, jsontext.ErrDuplicateName) {
			message = fmt.Sprintf("has the name %.64q twice", syntax.JSONPointer.LastToken())
		}
	}
	return nil, &Invalid{Faults: []Fault{{Field: "definition", Message: message}}}
}

// unreadable says what the YAML reader found wrong with the text.
func unreadable(err error) error {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	if errors.Is(err, io.EOF) {
		message = "is empty"
	}
	return &Invalid{Faults: []Fault{{Field: "definition", Message: message}}}
}

func newSalt() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // crypto/rand does not fail
	return hex.EncodeToString(b[:])
}

// experiment fills in what was left out.
func (d Definition) experiment() Experiment {
	e := Experiment{
		ID: ID(d.ID), Name: orElse(d.Name, d.ID), Owner: d.Owner, Hypothesis: d.Hypothesis,
		State: Draft, Phase: 1, Revision: 1,
		Primary: orElse(d.Primary, PrimaryCalibrated), Alpha: given(d.Alpha, 0.05), Margin: d.Margin,
		Horizon: given(d.Horizon, 1000),
		Unit:    orElse(d.Unit, UnitHeader), Header: d.Header, Fallback: d.Fallback, Coverage: Whole,
		Salt: d.Salt, HashVersion: HashVersion, Audience: d.Audience,
		BlindOnly: given(d.BlindOnly, true), LabelsAnswerTasks: true,
		MinLabels: given(d.MinLabels, 300), MinRaters: given(d.MinRaters, 3), MinDuration: given(d.MinDuration, Day),
		MaxDuration: given(d.MaxDuration, 60*Day), Auto: orElse(d.Auto, AutoRecommend),
	}
	e.MDE = given(d.MDE, defaultMDE(e.Primary))
	if e.Unit == UnitHeader {
		e.Header = orElse(e.Header, UnitHeaderName)
	}
	if d.Coverage != nil {
		e.Coverage = PPM(*d.Coverage)
	}
	if n := d.Namespace; n != nil {
		e.Namespace = &Namespace{Name: n.Name, From: PPM(n.From), To: PPM(n.To)}
	}
	e.Arms = d.arms()
	for _, s := range d.Ramp {
		e.Ramp = append(e.Ramp, RampStep{Coverage: PPM(s.Coverage), MinTime: s.MinTime, MinUnits: s.MinUnits})
	}
	if len(e.Ramp) > 0 && d.Coverage == nil {
		e.Coverage = e.Ramp[0].Coverage
	}
	for _, g := range d.Guardrails {
		e.Guardrails = append(e.Guardrails, Guardrail{Kind: g.Kind, Limit: given(g.Limit, 0), Action: g.Action})
	}
	e.Slots = Allot(nil, e.Arms)
	return e
}

// defaultMDE is a difference worth knowing on a scale of five: 0.02 of a
// correlation or a share, 0.05 of a squared error.
func defaultMDE(p Primary) float64 {
	if p == PrimaryLoss || p == PrimaryCalibrated {
		return 0.05
	}
	return 0.02
}

// arms makes the first arm the control where none is named, and divides
// equally where no weight is given.
func (d Definition) arms() []Arm {
	var arms []Arm
	controls, weighted, open := 0, 0, 0
	for _, a := range d.Arms {
		if a.Role == Control {
			controls++
		}
		if a.Weight != nil {
			weighted++
		}
		if a.Mode != Shadow {
			open++
		}
	}
	given := 0
	for i, a := range d.Arms {
		arm := Arm{ID: ArmID(a.ID), Checkpoint: a.Checkpoint, Role: orElse(a.Role, Treatment), Mode: orElse(a.Mode, Live)}
		if arm.ID == "" && identifier.MatchString(a.Checkpoint) {
			arm.ID = ArmID(a.Checkpoint)
		}
		if controls == 0 && i == 0 && a.Role == "" {
			arm.Role = Control
		}
		switch {
		case a.Weight != nil:
			arm.Weight = PPM(*a.Weight)
		case weighted == 0 && arm.Mode != Shadow:
			// The last one takes what the division leaves.
			if given++; given == open {
				arm.Weight = Whole - PPM(open-1)*(Whole/PPM(open))
			} else {
				arm.Weight = Whole / PPM(open)
			}
		}
		arms = append(arms, arm)
	}
	return arms
}

// given is what a definition says, or what holds where it says nothing.
func given[T any](v *T, def T) T {
	if v == nil {
		return def
	}
	return *v
}

func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
