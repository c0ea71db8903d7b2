package experiment_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

const minimal = `
id: sharper
arms:
  - checkpoint: demo
  - {id: new, checkpoint: demo-shared}
`

func TestParseDefaults(t *testing.T) {
	e, err := experiment.Parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Salt) != 32 {
		t.Errorf("salt %q", e.Salt)
	}
	e.Salt = ""
	want := experiment.Experiment{
		ID: "sharper", Name: "sharper", State: experiment.Draft, Phase: 1, Revision: 1,
		Primary: experiment.PrimaryCalibrated, MDE: 0.05, Alpha: 0.05, Horizon: 1000,
		Arms: []experiment.Arm{
			{ID: "demo", Checkpoint: "demo", Role: experiment.Control, Mode: experiment.Live, Weight: 500_000},
			{ID: "new", Checkpoint: "demo-shared", Role: experiment.Treatment, Mode: experiment.Live, Weight: 500_000},
		},
		Unit: experiment.UnitHeader, Header: "X-Agiqa-Unit", Coverage: experiment.Whole, HashVersion: 1,
		Slots:     []experiment.Slot{{Arm: "demo", To: 500_000}, {Arm: "new", From: 500_000, To: experiment.Whole}},
		BlindOnly: true, LabelsAnswerTasks: true, MinLabels: 300, MinRaters: 3, MinDuration: 24 * time.Hour,
		MaxDuration: 60 * 24 * time.Hour,
		Auto:        experiment.AutoRecommend,
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	again, err := experiment.Parse([]byte(minimal))
	if err != nil || again.Salt == "" || again.Salt == e.Salt {
		t.Errorf("two experiments share their salt")
	}
}

func TestParseWhole(t *testing.T) {
	e, err := experiment.Parse([]byte(`{"id": "x", "arms": [
		{"id": "c", "checkpoint": "a", "weight": "87.5%"}, {"id": "t", "checkpoint": "b", "weight": 125000},
		{"id": "s", "checkpoint": "d", "mode": "shadow"}],
		"unit": "api_key", "fallback_unit": "image_sha256", "namespace": {"name": "n", "from": "0%", "to": "50%"},
		"ramp": [{"coverage": "1%", "min_time": "30m", "min_units": 100}, {"coverage": "50%"}],
		"audience": {"style": ["anime"]}, "blind_feedback_required": false, "min_duration": "0s",
		"guardrails": [{"kind": "error_rate", "limit": 0.02, "action": "hold"}], "auto": "act"}`))
	if err != nil {
		t.Fatal(err)
	}
	if e.Arms[0].Weight != 875_000 || e.Arms[2].Weight != 0 || e.Coverage != 10_000 ||
		e.Ramp[0].MinTime != 30*time.Minute ||
		e.Namespace.To != 500_000 || e.BlindOnly || e.MinDuration != 0 || e.Header != "" || e.Auto != experiment.AutoAct {
		t.Errorf("%+v", e)
	}
}

// Every fault is told at once, with its field.
func TestParseFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"unknown fields": {minimal + "colour: red\nsize: 3\n",
			[]string{"there is no field colour", "there is no field size"}},
		"several": {`
id: Upper
primary: happiness
alpha: 0.9
horizon: 3
min_labels: -1
arms: [{id: a, checkpoint: x, role: treatment, weight: 60%}, {id: a, checkpoint: y, mode: shadow, weight: 50%}]
unit: header
header: Cookie
namespace: {name: n, from: 50%, to: 50%}
ramp: [{coverage: 5%}, {coverage: 5%}]
guardrails: [{kind: luck}]
auto: always
`, []string{"id: ", "primary: ", "alpha: ", "horizon: ", "min_labels: ", "arms[1].id: a is there twice", "arms[1].weight: ", "has 0 controls", "sum to 110 %",
			"header: Cookie", "namespace: must not be empty", "ramp[1].coverage: ", "guardrails[0].kind: ", "auto: "}},
		"one arm":         {"id: x\narms: [{checkpoint: a}]\n", []string{"arms: has 1"}},
		"a share":         {minimal + "coverage: 200%\n", []string{`"200%" where a share`}},
		"no number":       {minimal + "coverage: nan%\n", []string{`"nan%" where a share`}},
		"not a mapping":   {"- 1\n", []string{"definition: "}},
		"no YAML":         {"{", []string{"definition: "}},
		"two documents":   {minimal + "---\nid: y\n", []string{"one document"}},
		"too long":        {strings.Repeat("#", 1<<20), []string{"longer"}},
		"one interleaved": {"id: x\narms: [{checkpoint: a, mode: interleave}, {checkpoint: b}]\n", []string{"interleaved"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := experiment.Parse([]byte(tc.text))
			if quality.KindOf(err) != quality.KindExperimentInvalid {
				t.Fatalf("error %v", err)
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is missing in: %v", w, err)
				}
			}
		})
	}
}

// FuzzParse: whatever a definition says, it is an experiment that holds
// together and is the same again, or experiment_invalid.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		minimal, minimal + "coverage: NaN%\n", minimal + "coverage: nan\n", minimal + "mde: .nan\nalpha: .inf\n",
		minimal + "ramp: [{coverage: 1%, min_time: 30m, min_units: 100}, {coverage: 0x10}]\n",
		minimal + "namespace: {name: n, from: 0%, to: 5e1%}\naudience: {style: [anime]}\n",
		`{"id":"x","arms":[{"checkpoint":"a","weight":"12.5%"},{"checkpoint":"b","weight":875000},` +
			`{"checkpoint":"c","mode":"shadow"}],"min_duration":"0s","auto":"act"}`,
		"a: &a [*a]\n", "horizon: 1.5\nalpha: 0\nmin_duration: 1w2d\n",
		"id: x\narms: &a [{checkpoint: a, mode: interleave}, {checkpoint: b, mode: interleave}]\nramp: *a\n",
		"&a id: *a\n<<: {id: y}\n", "\xef\xbb\xbf{}", "---\n...\n---\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := experiment.Parse(text)
		if definition, jsonErr := experiment.DefinitionOfJSON(text); jsonErr == nil {
			_, _ = experiment.Parse(definition)
		} else if quality.KindOf(jsonErr) != quality.KindExperimentInvalid {
			t.Fatalf("as JSON: %v", jsonErr)
		}
		if err != nil {
			if quality.KindOf(err) != quality.KindExperimentInvalid || !utf8.ValidString(err.Error()) {
				t.Fatalf("error %q", err)
			}
			return
		}
		at := experiment.PPM(0)
		for _, s := range e.Slots {
			if s.From != at || s.To <= s.From {
				t.Fatalf("slots %+v", e.Slots)
			}
			at = s.To
		}
		if at != experiment.Whole {
			t.Fatalf("slots %+v", e.Slots)
		}
		again, err := experiment.Parse(text)
		if again.Salt = e.Salt; err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("%+v, then %+v, error %v", e, again, err)
		}
	})
}

// TestFaultsSpeakOfDefinitions: what the YAML reader says of Go types is said in
// the words of a definition.
func TestFaultsSpeakOfDefinitions(t *testing.T) {
	for text, want := range map[string]string{
		"id: {}":                                "id: a mapping where text belongs",
		"id: x\narms: a":                        `line 2: "a" where a list belongs`,
		"id: x\narms: [3]":                      `line 2: "3" where a mapping belongs`,
		"id: x\nmde: soon":                      `line 2: "soon" where a number belongs`,
		"id: x\nhorizon: all":                   `line 2: "all" where a whole number belongs`,
		"id: x\nmin_duration: 3":                `line 2: "3" where a duration, such as "36h" or "3d", belongs`,
		"id: x\nblind_feedback_required: maybe": `line 2: "maybe" where true or false belongs`,
		"id: x\naudience: [a]":                  "line 2: a list where a mapping belongs",
		"id: x\nnamespace: 1":                   `line 2: "1" where a mapping belongs`,
		"id: x\nid: y":                          "line 2: id is there twice, first in line 1",
		"Id: x":                                 "definition: there is no field Id; did you mean id?",
		"id: x\nmin-labels: 3":                  "line 2: there is no field min-labels; did you mean min_labels?",
		"id: x\narms: [{checkpoint: a, Weight: 1%}]":    "there is no field Weight; did you mean weight?",
		"id: x\narms: [{checkpoint: a, checkpoint: b}]": "arms[0]: line 2: checkpoint is there twice",
		"id: x\naudience: {a: [b], a: [c]}":             "audience: line 2: a is there twice",
		"id: x\nname: \xff":                             "definition: is not UTF-8",
		"\xff\xfei\x00d\x00:\x00 \x00x\x00":             "definition: is not UTF-8",
		"id: x\nhorizon: 1.5":                           `horizon: line 2: "1.5" where a whole number belongs`,
		"id: x\nhorizon: 1e300":                         `"1e300" where a whole number belongs`,
		"id: x\nhorizon: 99999999999999999999":          "where a whole number belongs",
		"id: x\nhorizon: '20'":                          `"20" where a whole number belongs`,
		"id: x\nalpha: '0.1'":                           `"0.1" where a number belongs`,
		"id: x\nalpha: ~":                               "alpha: line 2: has no value",
		"id: x\nname: ''":                               "name: line 2: has no value",
		"id: x\nramp: [{coverage: }]":                   "ramp[0].coverage: line 2: has no value",
		"id: x\n? [a]\n: b":                             "the name of a field must be text",
		"id: &a [*a]":                                   "id: a list where text belongs",
		"id: x\naudience: &a {b: *a}":                   "audience.b: line 2: a mapping where a list belongs",
		"id: [x":                                        "line 1: did not find expected",
		"":                                              "definition: is empty",
	} {
		_, err := experiment.Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// What YAML can say twice, it can say by an alias and by a merge too.
func TestAliasesAndMerges(t *testing.T) {
	e, err := experiment.Parse([]byte("id: x\narms:\n- &base {checkpoint: a, weight: 50%}\n- {<<: *base, id: new, " +
		"checkpoint: b}\n" +
		"min_duration: &d 2d\nmax_duration: *d\nhorizon: 1e3\n"))
	if err != nil || e.Arms[1].Weight != 500_000 || e.Arms[1].Checkpoint != "b" || e.MaxDuration != 48*time.Hour ||
		e.Horizon != 1000 {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"36h": 36 * time.Hour, "3d": 72 * time.Hour, "2w": 14 * 24 * time.Hour, "1w2d3h4m": 219*time.Hour + 4*time.Minute,
		"0.5d": 12 * time.Hour, "1.5w": 252 * time.Hour, "0": 0, "0s": 0, "0d": 0, "-1h": -time.Hour,
		"1500ms": 1500 * time.Millisecond,
	} {
		if got, err := experiment.ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "d", "3", "3 d", "3D", "-3d", "3d-1h", "1e9d", "99999999w", "2d1w", "3dd", "NaNd", "300y",
		"+1d", "1d1000000000h1000000000h",
	} {
		if got, err := experiment.ParseDuration(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}

// TestDefinitionOfJSON: JSON comes to the same as YAML, whatever escapes and
// white space it has, and is as strict.
func TestDefinitionOfJSON(t *testing.T) {
	read := func(text string) (experiment.Experiment, error) {
		definition, err := experiment.DefinitionOfJSON([]byte(text))
		if err != nil {
			return experiment.Experiment{}, err
		}
		return experiment.Parse(definition)
	}
	e, err := read("{\t\"id\":\"x\",\r\n\t\"hypothesis\":\"a\\/b \\ud83d\\ude00\\n\\u2028\"," +
		"\"arms\":[{\"checkpoint\":\"a\",\"weight\":\"12.5%\"},{\"checkpoint\":\"b\",\"weight\":875000}],\"min_duration\":\"36h\"}")
	if err != nil {
		t.Fatal(err)
	}
	if e.Hypothesis != "a/b \U0001F600\n\u2028" || e.Arms[0].Weight != 125_000 || e.MinDuration != 36*time.Hour {
		t.Errorf("%+v", e)
	}
	for text, want := range map[string]string{
		`{"id":"x","id":"y"}`:   `has the name "id" twice`,
		"id: x":                 "is not JSON: see byte 0",
		`{"id":"x"} {}`:         "is not JSON",
		"{\"id\":\"\xff\"}":     "is not JSON",
		"":                      "is not JSON",
		`{"id":"x","colour":1}`: "there is no field colour",
		`{"id":"x","arms":{}}`:  "a mapping where a list belongs",
	} {
		if _, err := read(text); quality.KindOf(err) != quality.KindExperimentInvalid ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestEncodersAndNamespaces(t *testing.T) {
	e, err := experiment.Parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	e.Encoder = quality.DigestOf([]byte("e"))
	if err := e.CheckEncoders([]quality.Digest{e.Encoder, e.Encoder}); err != nil {
		t.Error(err)
	}
	if err := e.CheckEncoders([]quality.Digest{e.Encoder, {}}); quality.KindOf(err) != quality.KindEncoderMismatch {
		t.Errorf("error %v", err)
	}
	other := e
	other.ID, other.State = "other", experiment.Running
	e.Namespace, other.Namespace = &experiment.Namespace{Name: "n", To: 500_000},
		&experiment.Namespace{Name: "n", From: 499_999, To: 600_000}
	if err := e.CheckOthers([]experiment.Experiment{e, other}); quality.KindOf(err) != quality.KindConflict {
		t.Errorf("an overlap: %v", err)
	}
	other.State = experiment.Stopped
	if err := e.CheckOthers([]experiment.Experiment{other}); err != nil {
		t.Errorf("with one that has ended: %v", err)
	}
	other.State, other.Namespace.From = experiment.Running, 500_000
	if err := e.CheckOthers([]experiment.Experiment{other}); err != nil {
		t.Errorf("side by side: %v", err)
	}
}

func TestAttributes(t *testing.T) {
	got, err := experiment.ParseAttributes(" style=anime , model=sd xl")
	if err != nil || got["style"] != "anime" || got["model"] != "sd xl" || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"x", "=1", "a=", "A=1", "a=" + strings.Repeat("x", 65),
		"a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1", "a=\x01"} {
		if _, err := experiment.ParseAttributes(bad); quality.KindOf(err) != quality.KindBadRequest {
			t.Errorf("%q: %v", bad, err)
		}
	}
	a := experiment.Audience{"style": {"anime", "photo"}, "model": {"sdxl"}}
	if !a.Admits(map[string]string{"style": "photo", "model": "sdxl"}) || a.Admits(map[string]string{"style": "photo"}) ||
		!(experiment.Audience)(nil).Admits(nil) {
		t.Error("the audience")
	}
}

func TestInvalidIsOneError(t *testing.T) {
	_, err := experiment.Parse([]byte("id: X\narms: [{checkpoint: a},{checkpoint: b}]\n"))
	if invalid, ok := errors.AsType[*experiment.Invalid](err); !ok || len(invalid.Faults) != 1 ||
		invalid.Faults[0].Field != "id" {
		t.Errorf("%v", err)
	}
}
