package experiment

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/agiqa/agiqa/quality"
)

// Bounds of an experiment.
const (
	MaxArms     = 32
	maxText     = 2000
	maxAudience = 16
	maxRamp     = 16
)

// Fault is one thing that is wrong with an experiment.
type Fault struct {
	Field   string // as a definition has it, such as arms[1].weight
	Message string
}

// Invalid is an experiment that cannot be, with every fault found.
type Invalid struct{ Faults []Fault }

func (e *Invalid) Error() string {
	var parts []string
	for _, f := range e.Faults {
		parts = append(parts, f.Field+": "+f.Message)
	}
	return strings.Join(parts, "; ")
}

// Unwrap lets [quality.KindOf] see experiment_invalid.
func (e *Invalid) Unwrap() error {
	return quality.Errorf(quality.KindExperimentInvalid, "%s", e.Error())
}

var (
	identifier = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	saltText   = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// secretHeaders never become units: their values must not be hashed into
// records, even with a key.
var secretHeaders = []string{"authorization", "cookie", "proxy-authorization", "set-cookie"}

// Validate reports every fault at once as an *[Invalid], or nil. It judges what
// an experiment says of itself; encoders, other experiments and the server's
// default are for whoever knows them.
func (e Experiment) Validate() error {
	v := &validation{}
	v.identifier("id", string(e.ID))
	v.text("name", e.Name, 200)
	v.text("owner", e.Owner, 200)
	v.text("hypothesis", e.Hypothesis, maxText)
	v.statistics(e)
	v.arms(e.Arms)
	v.units(e)
	v.ramp(e)
	v.automation(e)
	if len(v.faults) > 0 {
		return &Invalid{Faults: v.faults}
	}
	return nil
}

type validation struct{ faults []Fault }

func (v *validation) that(ok bool, field, format string, args ...any) {
	if !ok {
		v.faults = append(v.faults, Fault{Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

func (v *validation) text(field, s string, most int) {
	v.that(len(s) <= most && printable(strings.ReplaceAll(s, "\n", " ")), field, "must be text of at most %d bytes", most)
}

func (v *validation) identifier(field, s string) {
	v.that(s != "", field, "is missing")
	v.that(s == "" || identifier.MatchString(s), field, "is %.64q, must be 1 to 64 lower-case letters, digits and "+
		"hyphens that begin with no hyphen", s)
}

func (v *validation) share(field string, p PPM) {
	v.that(p >= 0 && p <= Whole, field, "is %d, must be between 0 and %d parts per million", p, Whole)
}

func oneOf[T comparable](v *validation, field string, is T, of ...T) {
	var known []string
	for _, o := range of {
		if text := fmt.Sprint(o); text != "" {
			known = append(known, text)
		}
	}
	v.that(slices.Contains(of, is), field, "is %.64q, must be one of %s", fmt.Sprint(is), strings.Join(known, ", "))
}

func (v *validation) number(field string, x float64, ok bool, rule string) {
	v.that(ok && !math.IsNaN(x) && !math.IsInf(x, 0), field, "is %v, must be %s", x, rule)
}

func (v *validation) statistics(e Experiment) {
	oneOf(v, "primary", e.Primary, PrimaryCalibrated, PrimaryLoss, PrimarySRCC, PrimaryKRCC,
		PrimaryPreference, PrimaryUser)
	v.number("mde", e.MDE, e.MDE > 0, "positive")
	v.number("alpha", e.Alpha, e.Alpha > 0 && e.Alpha <= 0.5, "above 0 and at most 0.5")
	v.number("margin", e.Margin, e.Margin >= 0, "0 or more")
	v.that(e.Horizon >= 10, "horizon", "is %d, must be at least 10", e.Horizon)
	v.that(e.MinLabels >= 1, "min_labels", "is %d, must be positive", e.MinLabels)
	v.that(e.MinRaters >= 1, "min_raters", "is %d, must be positive", e.MinRaters)
	v.that(e.MinDuration >= 0, "min_duration", "is %s, must not be negative", e.MinDuration)
	v.that(e.MaxDuration > 0 && e.MaxDuration >= e.MinDuration, "max_duration",
		"is %s, must be positive and not below min_duration", e.MaxDuration)
}

func (v *validation) arms(arms []Arm) {
	if len(arms) == 0 {
		v.that(false, "arms", "is missing")
		return
	}
	v.that(len(arms) >= 2 && len(arms) <= MaxArms, "arms", "has %d, must have between 2 and %d", len(arms), MaxArms)
	seen, digests := map[ArmID]bool{}, map[quality.Digest]ArmID{}
	controls, interleaved, sum := 0, 0, PPM(0)
	control, _ := Experiment{Arms: arms}.Control()
	for i, a := range arms {
		field := fmt.Sprintf("arms[%d].", i)
		v.identifier(field+"id", string(a.ID))
		v.that(!seen[a.ID] || a.ID == "", field+"id", "%s is there twice: give every arm an id of its own", a.ID)
		seen[a.ID] = true
		v.that(quality.ValidCheckpointName(a.Checkpoint), field+"checkpoint", "must name a checkpoint")
		// The control's checkpoint may come again: that is an A/A test.
		if other, twice := digests[a.Digest]; twice && !a.Digest.IsZero() && a.Role != Control {
			v.that(false, field+"checkpoint", "is the same checkpoint as that of arm %s, another treatment", other)
		}
		if a.Role != Control && a.Digest != control.Digest {
			digests[a.Digest] = a.ID
		}
		oneOf(v, field+"role", a.Role, Control, Treatment)
		oneOf(v, field+"mode", a.Mode, Live, Shadow, Interleave)
		v.share(field+"weight", a.Weight)
		v.that(a.Mode != Shadow || a.Weight == 0, field+"weight", "is %d, must be 0 for a shadow", a.Weight)
		if a.Role == Control {
			controls++
			v.that(a.Mode != Shadow, field+"mode", "is shadow, but the control answers whoever is in no arm")
		}
		if a.Mode == Interleave {
			interleaved++
		}
		sum += a.Weight
	}
	v.that(controls == 1, "arms", "has %d controls, must have one", controls)
	v.that(interleaved != 1 && interleaved <= 2, "arms", "has %d interleaved arms, must have two or none", interleaved)
	v.that(sum == Whole, "arms", "has weights that sum to %s, must be %s", sum, Whole)
}

func (v *validation) units(e Experiment) {
	oneOf(v, "unit", e.Unit, UnitHeader, UnitAPIKey, UnitImage, UnitRequest)
	oneOf(v, "fallback_unit", e.Fallback, "", UnitAPIKey, UnitImage, UnitRequest)
	if e.Unit == UnitHeader {
		v.that(headerName.MatchString(e.Header), "header", "must name a header by letters, digits and -")
		v.that(!slices.Contains(secretHeaders, strings.ToLower(e.Header)), "header",
			"%s carries secrets and cannot be a unit", e.Header)
	}
	v.share("coverage", e.Coverage)
	v.that(saltText.MatchString(e.Salt), "salt", "must be 32 hexadecimal digits")
	v.that(e.HashVersion == HashVersion, "hash_version", "is %d, must be %d", e.HashVersion, HashVersion)
	if n := e.Namespace; n != nil {
		v.identifier("namespace.name", n.Name)
		v.share("namespace.from", n.From)
		v.share("namespace.to", n.To)
		v.that(n.From < n.To, "namespace", "must not be empty")
	}
	v.that(len(e.Audience) <= MaxAttributes, "audience", "names more than %d attributes", MaxAttributes)
	for name, values := range e.Audience {
		v.that(attributeName.MatchString(name), "audience", "%q is no name of an attribute", name)
		v.that(len(values) >= 1 && len(values) <= maxAudience, "audience."+name,
			"must list between 1 and %d values", maxAudience)
	}
}

func (v *validation) ramp(e Experiment) {
	v.that(len(e.Ramp) <= maxRamp, "ramp", "has more than %d steps", maxRamp)
	last := PPM(0)
	for i, s := range e.Ramp {
		field := fmt.Sprintf("ramp[%d].", i)
		v.share(field+"coverage", s.Coverage)
		v.that(s.Coverage > last, field+"coverage", "is %d, must be above the step before", s.Coverage)
		v.that(s.MinTime >= 0, field+"min_time", "must not be negative")
		v.that(s.MinUnits >= 0, field+"min_units", "must not be negative")
		last = s.Coverage
	}
}

func (v *validation) automation(e Experiment) {
	oneOf(v, "auto", e.Auto, AutoOff, AutoRecommend, AutoAct)
	v.that(len(e.Guardrails) <= 2*len(GuardrailKinds()), "guardrails", "has too many")
	for i, g := range e.Guardrails {
		field := fmt.Sprintf("guardrails[%d].", i)
		oneOf(v, field+"kind", g.Kind, GuardrailKinds()...)
		oneOf(v, field+"action", g.Action, "", ActWarn, ActHold, ActRollback)
		v.number(field+"limit", g.Limit, g.Limit >= 0, "0 or more")
	}
}

// GuardrailKinds lists every kind, in the order of their declaration.
func GuardrailKinds() []GuardrailKind {
	return []GuardrailKind{
		GuardErrors, GuardLatency, GuardDrift, GuardSaturation, GuardConstant, GuardSRM,
		GuardExposure, GuardTraffic, GuardStore,
	}
}

// CheckOthers refuses to start an experiment whose namespace overlaps that of
// another one that runs or is paused. Drafts hold nothing.
func (e Experiment) CheckOthers(others []Experiment) error {
	if e.Namespace == nil {
		return nil
	}
	for _, o := range others {
		if o.ID == e.ID || o.Namespace == nil || o.Namespace.Name != e.Namespace.Name || !o.State.Open() {
			continue
		}
		if e.Namespace.From < o.Namespace.To && o.Namespace.From < e.Namespace.To {
			return quality.Errorf(quality.KindConflict, "experiment %s, which is %s, has %s of namespace %s, and %s asks "+
				"for %s", o.ID, o.State, o.Namespace, o.Namespace.Name, e.ID, e.Namespace)
		}
	}
	return nil
}

// CheckEncoders refuses arms of another encoder than the experiment's:
// encoder_mismatch. encoders has that of each arm, in their order.
func (e Experiment) CheckEncoders(encoders []quality.Digest) error {
	for i, a := range e.Arms {
		if encoders[i] != e.Encoder {
			return quality.Errorf(quality.KindEncoderMismatch,
				"arms[%d] (%s): checkpoint %s was trained on another encoder; all arms judge one embedding", i, a.ID, a.Checkpoint)
		}
	}
	return nil
}
