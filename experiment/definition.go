package experiment

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/agiqa/agiqa/quality"
)

// UnitHeaderName is the header that carries a unit unless an experiment says
// another.
const UnitHeaderName = "X-Agiqa-Unit"

// MaxDefinitionBytes bounds the text of a definition.
const MaxDefinitionBytes = 64 << 10

// definition is the text form. A share is a percentage ("12.5%") or parts per
// million; a duration reads "36h" or "90m".
type definition struct {
	ID          string                `yaml:"id"`
	Name        string                `yaml:"name"`
	Owner       string                `yaml:"owner"`
	Hypothesis  string                `yaml:"hypothesis"`
	Primary     Primary               `yaml:"primary"`
	MDE         float64               `yaml:"mde"`
	Alpha       float64               `yaml:"alpha"`
	Margin      float64               `yaml:"margin"`
	Horizon     int                   `yaml:"horizon"`
	Arms        []armDefinition       `yaml:"arms"`
	Unit        UnitKind              `yaml:"unit"`
	Header      string                `yaml:"header"`
	Fallback    UnitKind              `yaml:"fallback_unit"`
	Namespace   *namespaceDefinition  `yaml:"namespace"`
	Coverage    *share                `yaml:"coverage"`
	Salt        string                `yaml:"salt"`
	Audience    Audience              `yaml:"audience"`
	Ramp        []rampDefinition      `yaml:"ramp"`
	BlindOnly   *bool                 `yaml:"blind_feedback_required"`
	MinLabels   int                   `yaml:"min_labels"`
	MinRaters   int                   `yaml:"min_raters"`
	MinDuration *time.Duration        `yaml:"min_duration"`
	MaxDuration time.Duration         `yaml:"max_duration"`
	Guardrails  []guardrailDefinition `yaml:"guardrails"`
	Auto        Auto                  `yaml:"auto"`
}

type armDefinition struct {
	ID         string `yaml:"id"`
	Checkpoint string `yaml:"checkpoint"`
	Role       Role   `yaml:"role"`
	Mode       Mode   `yaml:"mode"`
	Weight     *share `yaml:"weight"`
}

type namespaceDefinition struct {
	Name string `yaml:"name"`
	From share  `yaml:"from"`
	To   share  `yaml:"to"`
}

type rampDefinition struct {
	Coverage share         `yaml:"coverage"`
	MinTime  time.Duration `yaml:"min_time"`
	MinUnits int           `yaml:"min_units"`
}

type guardrailDefinition struct {
	Kind   GuardrailKind `yaml:"kind"`
	Limit  float64       `yaml:"limit"`
	Action Action        `yaml:"action"`
}

// share is a [PPM] in text.
type share PPM

// ParseShare reads "12.5%" or a number of parts per million.
func ParseShare(s string) (PPM, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v *= float64(Whole) / 100
	}
	r := math.Round(v)
	if err != nil || math.Abs(v-r) > 1e-6 || r < 0 || r > float64(Whole) {
		return 0, fmt.Errorf("%.32q is no share: write a percentage such as 12.5%%, or parts per million", s)
	}
	return PPM(r), nil
}

// UnmarshalYAML implements [yaml.Unmarshaler].
func (s *share) UnmarshalYAML(n *yaml.Node) error {
	p, err := ParseShare(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*s = share(p)
	return nil
}

// Parse reads the definition of an experiment in YAML or JSON, fills in what
// it leaves out, and validates. Unknown fields are refused, and every fault is
// told at once: experiment_invalid. What only a server knows stays empty:
// digests, encoder, preprocessing, times.
func Parse(text []byte) (Experiment, error) {
	if len(text) > MaxDefinitionBytes {
		return Experiment{}, quality.Errorf(quality.KindExperimentInvalid, "the definition is longer than %d bytes", MaxDefinitionBytes)
	}
	var d definition
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		return Experiment{}, unreadable(err)
	}
	if err := dec.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return Experiment{}, quality.Errorf(quality.KindExperimentInvalid, "the definition is one document, and something follows it")
	}
	e := d.experiment()
	if e.Salt == "" {
		e.Salt = newSalt()
	}
	return e, e.Validate()
}

// unreadable keeps what the reader says of lines and fields, which is all about
// the caller's own text.
func unreadable(err error) error {
	if typed, ok := errors.AsType[*yaml.TypeError](err); ok {
		invalid := &Invalid{}
		for _, s := range typed.Errors[:min(len(typed.Errors), 20)] {
			if i := strings.Index(s, " in type "); i >= 0 { // names of Go types help nobody
				s = s[:i]
			}
			invalid.Faults = append(invalid.Faults, Fault{Field: "definition", Message: s})
		}
		return invalid
	}
	return &Invalid{Faults: []Fault{{Field: "definition", Message: err.Error()}}}
}

func newSalt() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // crypto/rand does not fail
	return hex.EncodeToString(b[:])
}

// experiment fills in what was left out.
func (d definition) experiment() Experiment {
	e := Experiment{
		ID: ID(d.ID), Name: orElse(d.Name, d.ID), Owner: d.Owner, Hypothesis: d.Hypothesis, State: Draft, Phase: 1, Revision: 1,
		Primary: orElse(d.Primary, PrimaryLoss), Alpha: orElse(d.Alpha, 0.05), Margin: d.Margin, Horizon: orElse(d.Horizon, 1000),
		Unit: orElse(d.Unit, UnitHeader), Header: d.Header, Fallback: d.Fallback, Coverage: Whole,
		Salt: d.Salt, HashVersion: HashVersion, Audience: d.Audience, BlindOnly: true,
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
	if p == PrimaryLoss {
		return 0.05
	}
	return 0.02
}

// arms makes the first arm the control where none is named, and divides
// equally where no weight is given.
func (d definition) arms() []Arm {
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
