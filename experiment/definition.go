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
	"regexp"
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
// ("12.5%") or parts per million; a duration reads "36h" or "90m". The tags for
// JSON are those of the API's document: text in JSON is read as YAML is.
type Definition struct {
	ID          string                `yaml:"id" json:"id" doc:"Letters, digits and hyphens, in lower case"`
	Name        string                `yaml:"name" json:"name,omitempty" doc:"The id when absent"`
	Owner       string                `yaml:"owner" json:"owner,omitempty"`
	Hypothesis  string                `yaml:"hypothesis" json:"hypothesis,omitempty"`
	Primary     Primary               `yaml:"primary" json:"primary,omitempty" doc:"What the experiment decides by; loss_calibrated when absent"`
	MDE         float64               `yaml:"mde" json:"mde,omitempty" doc:"Smallest difference of interest, in the unit of primary"`
	Alpha       float64               `yaml:"alpha" json:"alpha,omitempty" doc:"Two-sided; 0.05 when absent"`
	Margin      float64               `yaml:"margin" json:"margin,omitempty" doc:"Of non-inferiority and equivalence"`
	Horizon     int                   `yaml:"horizon" json:"horizon,omitempty" doc:"Labelled images at which the confidence sequence is tightest; 1000 when absent"`
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
	MinLabels   int                   `yaml:"min_labels" json:"min_labels,omitempty" doc:"Labelled images before a promotion; 300 when absent"`
	MinRaters   int                   `yaml:"min_raters" json:"min_raters,omitempty" doc:"3 when absent"`
	MinDuration *time.Duration        `yaml:"min_duration" json:"min_duration,omitempty" doc:"24h when absent"`
	MaxDuration time.Duration         `yaml:"max_duration" json:"max_duration,omitempty" doc:"1440h when absent"`
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
	Limit  float64       `yaml:"limit" json:"limit,omitempty" doc:"The default of its kind when absent or 0"`
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
	var d Definition
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		return Experiment{}, unreadable(err)
	}
	if err := dec.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return Experiment{}, quality.Errorf(quality.KindExperimentInvalid, "the definition is one document, and something "+
			"follows it")
	}
	e := d.experiment()
	if e.Salt == "" {
		e.Salt = newSalt()
	}
	return e, e.Validate()
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

// unreadable keeps what the reader says of lines and fields, which is all about
// the caller's own text, and says it without Go's names of types.
func unreadable(err error) error {
	if typed, ok := errors.AsType[*yaml.TypeError](err); ok {
		invalid := &Invalid{}
		for _, s := range typed.Errors[:min(len(typed.Errors), 20)] {
			invalid.Faults = append(invalid.Faults, Fault{Field: "definition", Message: reworded(s)})
		}
		return invalid
	}
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	if errors.Is(err, io.EOF) {
		message = "is empty"
	}
	return &Invalid{Faults: []Fault{{Field: "definition", Message: message}}}
}

var (
	unknownField = regexp.MustCompile(`^(line \d+): field (.*) not found in type (.*)$`)
	unfitValue   = regexp.MustCompile("^(line \\d+): cannot unmarshal (?:!!(\\w+))(?: `(.*)`)? into (.*)$")
)

// fieldsOf lists the fields of a mapping, by the name of its type.
var fieldsOf = func() map[string][]string {
	fields := map[string][]string{}
	for _, t := range []reflect.Type{
		reflect.TypeFor[Definition](), reflect.TypeFor[ArmDefinition](), reflect.TypeFor[NamespaceDefinition](),
		reflect.TypeFor[RampDefinition](), reflect.TypeFor[GuardrailDefinition](),
	} {
		for i := range t.NumField() {
			fields[t.String()] = append(fields[t.String()], t.Field(i).Tag.Get("yaml"))
		}
	}
	return fields
}()

// reworded says a fault of the YAML reader in the words of a definition.
func reworded(fault string) string {
	if m := unknownField.FindStringSubmatch(fault); m != nil {
		text := fmt.Sprintf("%s: there is no field %.64s", m[1], m[2])
		for _, known := range fieldsOf[m[3]] {
			if strings.EqualFold(strings.ReplaceAll(m[2], "-", "_"), known) {
				text += "; did you mean " + known + "?"
			}
		}
		return text
	}
	m := unfitValue.FindStringSubmatch(fault)
	if m == nil {
		return fault
	}
	got := map[string]string{"map": "a mapping", "seq": "a list"}[m[2]]
	if m[3] != "" {
		got = strconv.Quote(m[3])
	}
	want := "text"
	switch into := m[4]; {
	case into == "time.Duration":
		want = `a duration, such as "36h"`
	case strings.HasPrefix(into, "[]"):
		want = "a list"
	case into == "float64":
		want = "a number"
	case into == "int":
		want = "a whole number"
	case into == "bool":
		want = "true or false"
	case strings.HasSuffix(into, "Definition"), into == "experiment.Audience":
		want = "a mapping"
	}
	return fmt.Sprintf("%s: %s where %s belongs", m[1], orElse(got, "something else"), want)
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
		Primary: orElse(d.Primary, PrimaryCalibrated), Alpha: orElse(d.Alpha, 0.05), Margin: d.Margin,
		Horizon: orElse(d.Horizon, 1000),
		Unit:    orElse(d.Unit, UnitHeader), Header: d.Header, Fallback: d.Fallback, Coverage: Whole,
		Salt: d.Salt, HashVersion: HashVersion, Audience: d.Audience, BlindOnly: true, LabelsAnswerTasks: true,
		MinLabels: orElse(d.MinLabels, 300), MinRaters: orElse(d.MinRaters, 3), MinDuration: 24 * time.Hour,
		MaxDuration: orElse(d.MaxDuration, 60*24*time.Hour), Auto: orElse(d.Auto, AutoRecommend),
	}
	e.MDE = orElse(d.MDE, defaultMDE(e.Primary))
	if e.Unit == UnitHeader {
		e.Header = orElse(e.Header, UnitHeaderName)
	}
	if d.Coverage != nil {
		e.Coverage = PPM(*d.Coverage)
	}
	if d.BlindOnly != nil {
		e.BlindOnly = *d.BlindOnly
	}
	if d.MinDuration != nil {
		e.MinDuration = *d.MinDuration
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
		e.Guardrails = append(e.Guardrails, Guardrail(g))
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

func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
