package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

// The bundle formats, which are all read. A bundle is written in its own.
const (
	// FormatV1 says nothing of a score but its scale: its task is quality, its
	// view the one that the encoder was trained on, and no score is cut.
	FormatV1 = "agiqa-checkpoint/1"
	// FormatV2 adds task, views, recipe, clamp, interval, reference and evaluation.
	FormatV2 = "agiqa-checkpoint/2"
)

// Names of the two files of a bundle.
const (
	ManifestFile = "manifest.json"
	WeightsFile  = "weights.safetensors"
)

// Manifest is manifest.json: what the numbers in weights.safetensors are.
type Manifest struct {
	Format             string          `json:"format"`
	Name               string          `json:"name"`
	Digest             quality.Digest  `json:"digest"`
	Categories         []string        `json:"categories"`
	ClassTokenPosition clip.Position   `json:"class_token_position"`
	ContextLength      int             `json:"context_length"`
	ClassSpecific      bool            `json:"class_specific_context"`
	Score              ManifestScore   `json:"score"`
	Encoder            ManifestEncoder `json:"encoder"`

	// Of format 2 alone. A manifest of format 1 has Task quality, one view and no
	// more, and is written without these keys.
	Task       quality.Task       `json:"task,omitzero"`
	Views      []string           `json:"views,omitzero"`    // 1 to 16, distinct, without a recipe
	Recipe     string             `json:"recipe,omitzero"`   // optional: how training resized pictures; absent: pillow12
	Interval   *ManifestInterval  `json:"interval,omitzero"` // optional
	Reference  *ManifestReference `json:"reference,omitzero"`
	Prompt     bool               `json:"prompt,omitzero"` // optional: the head also reads a picture's prompt
	Evaluation []Evaluation       `json:"evaluation,omitzero"`

	Training json.RawMessage `json:"training"` // an object, for people: data, split, seed, protocol
	Metrics  json.RawMessage `json:"metrics"`  // an object, for people
	Licence  string          `json:"licence"`
	Golden   []GoldenCase    `json:"golden"`
}

// ManifestScore is the scale on which the checkpoint was trained.
type ManifestScore struct {
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	Unit string  `json:"unit"`
	// Clamp says that scores beyond the scale are cut to it. Format 1 has no
	// such key.
	Clamp bool `json:"clamp"`
}

// ManifestInterval is a [quality.Calibration].
type ManifestInterval struct {
	Coverage   float64   `json:"coverage"`
	Edges      []float64 `json:"edges"`
	HalfWidths []float64 `json:"half_widths"`
}

// ManifestReference is what the manifest says of a [quality.Reference], whose
// rows are a tensor.
type ManifestReference struct {
	Threshold float64 `json:"threshold"`
}

// Evaluation is how well a checkpoint's scores agreed with people's opinions of
// a data set that it wasn't trained on. It's for people, and no score depends
// on it.
type Evaluation struct {
	Dataset string       `json:"dataset"`
	Task    quality.Task `json:"task"`   // what people were asked for
	Images  int          `json:"images"` // how many
	SRCC    float64      `json:"srcc"`   // Spearman correlation
	Low     float64      `json:"low"`    // its confidence interval
	High    float64      `json:"high"`
}

// ManifestEncoder names the CLIP on which the checkpoint was trained.
type ManifestEncoder struct {
	Name   string         `json:"name"`
	Digest quality.Digest `json:"digest"`
}

// GoldenCase is an image embedding and the score that training computed for
// it. A server replays the cases before it trusts a checkpoint.
type GoldenCase struct {
	ImageEmbedding  quality.Embedding `json:"image_embedding"`
	PromptEmbedding quality.Embedding `json:"prompt_embedding,omitempty"` // where the manifest's prompt is true
	Score           float64           `json:"score"`
}

// manifestDepth is the deepest nesting of a manifest. What the server reads
// needs three levels; the rest is for training and metrics.
const manifestDepth = 16

// DecodeManifest reads and checks a manifest. Its own keys are exact: none may
// be unknown, missing or repeated; inside training and metrics anything goes.
// The errors are for whoever wrote the file.
func DecodeManifest(b []byte, limits Limits) (Manifest, error) {
	if int64(len(b)) > limits.ManifestBytes {
		return Manifest{}, fmt.Errorf("has more than %d bytes", limits.ManifestBytes)
	}
	if err := checkJSON(b); err != nil {
		return Manifest{}, err
	}
	var m Manifest
	var score, encoder json.RawMessage
	var golden []json.RawMessage
	fields := map[string]any{
		"format": &m.Format, "name": &m.Name, "digest": &m.Digest,
		"categories": &m.Categories, "class_token_position": &m.ClassTokenPosition,
		"context_length": &m.ContextLength, "class_specific_context": &m.ClassSpecific,
		"score": &score, "encoder": &encoder, "golden": &golden,
		"training": &m.Training, "metrics": &m.Metrics, "licence": &m.Licence,
	}
	scale := map[string]any{"min": &m.Score.Min, "max": &m.Score.Max, "unit": &m.Score.Unit}
	optional := map[string]any{}
	var interval, reference json.RawMessage
	var evaluation []json.RawMessage
	switch format := formatOf(b); format {
	case "", FormatV1: // a missing key is reported below
	case FormatV2:
		fields["task"], fields["views"], fields["evaluation"] = &m.Task, &m.Views, &evaluation
		optional["interval"], optional["reference"], optional["prompt"] = &interval, &reference, &m.Prompt
		optional["recipe"] = &m.Recipe
		scale["clamp"] = &m.Score.Clamp
	default:
		return Manifest{}, fmt.Errorf("format is %.40q, want %q or %q", format, FormatV1, FormatV2)
	}
	if err := decodeObject(b, fields, optional); err != nil {
		return Manifest{}, err
	}
	m.Recipe = manifestRecipe(m.Recipe)
	if err := decodeObject(score, scale, nil); err != nil {
		return Manifest{}, fmt.Errorf("score: %w", err)
	}
	encoderFields := map[string]any{"name": &m.Encoder.Name, "digest": &m.Encoder.Digest}
	if err := decodeObject(encoder, encoderFields, nil); err != nil {
		return Manifest{}, fmt.Errorf("encoder: %w", err)
	}
	if err := m.decodeMeaning(interval, reference, evaluation); err != nil {
		return Manifest{}, err
	}
	if len(golden) > limits.GoldenCases {
		return Manifest{}, fmt.Errorf("golden: %d cases, at most %d are allowed", len(golden), limits.GoldenCases)
	}
	m.Golden = make([]GoldenCase, len(golden))
	for i, raw := range golden {
		c := &m.Golden[i]
		caseFields := map[string]any{"image_embedding": &c.ImageEmbedding, "score": &c.Score}
		if m.Prompt {
			caseFields["prompt_embedding"] = &c.PromptEmbedding
		}
		if err := decodeObject(raw, caseFields, nil); err != nil {
			return Manifest{}, fmt.Errorf("golden[%d]: %w", i, err)
		}
	}
	if m.Format == FormatV1 {
		m.Task, m.Views, m.Evaluation = quality.TaskQuality, quality.Views{}.Squares(), []Evaluation{}
	}
	err := m.check()
	if len(m.Golden) == 0 && !limits.NoGolden {
		err = errors.Join(err, errNoGolden)
	}
	return m, err
}

// formatOf returns the format that a document says it has, which decides which
// keys it may have.
func formatOf(document []byte) string {
	var keys map[string]json.RawMessage // exact keys: a struct would take "FORMAT" for "format"
	var format string
	if json.Unmarshal(document, &keys) != nil || json.Unmarshal(keys["format"], &format) != nil {
		return ""
	}
	return format
}

// decodeMeaning decodes the parts of format 2 that are objects.
func (m *Manifest) decodeMeaning(interval, reference json.RawMessage, evaluation []json.RawMessage) error {
	if interval != nil {
		v := &ManifestInterval{}
		err := decodeObject(interval,
			map[string]any{"coverage": &v.Coverage, "edges": &v.Edges, "half_widths": &v.HalfWidths}, nil)
		if err != nil {
			return fmt.Errorf("interval: %w", err)
		}
		m.Interval = v
	}
	if reference != nil {
		v := &ManifestReference{}
		if err := decodeObject(reference, map[string]any{"threshold": &v.Threshold}, nil); err != nil {
			return fmt.Errorf("reference: %w", err)
		}
		m.Reference = v
	}
	if len(evaluation) > maxEvaluations {
		return fmt.Errorf("evaluation: %d entries, at most %d are allowed", len(evaluation), maxEvaluations)
	}
	m.Evaluation = make([]Evaluation, len(evaluation))
	for i, raw := range evaluation {
		e := &m.Evaluation[i]
		err := decodeObject(raw, map[string]any{
			"dataset": &e.Dataset, "task": &e.Task, "images": &e.Images, "srcc": &e.SRCC, "low": &e.Low, "high": &e.High,
		}, nil)
		if err != nil {
			return fmt.Errorf("evaluation[%d]: %w", i, err)
		}
	}
	return nil
}

// MarshalJSON implements [json.Marshaler]: a manifest of format 1 has the keys
// of format 1 alone.
func (m Manifest) MarshalJSON() ([]byte, error) {
	type plain Manifest
	if m.Format != FormatV1 {
		return json.Marshal(plain(m))
	}
	m.Task, m.Views, m.Evaluation = "", nil, nil
	type scoreV1 struct {
		Min  float64 `json:"min"`
		Max  float64 `json:"max"`
		Unit string  `json:"unit"`
	}
	return json.Marshal(struct {
		plain
		Score scoreV1 `json:"score"`
	}{plain(m), scoreV1{m.Score.Min, m.Score.Max, m.Score.Unit}})
}

// errNoGolden is a bundle that cannot show whether it is served right.
var errNoGolden = errors.New("golden: no case, want at least one")

// check reports every field whose value is not allowed. That there are golden
// cases is asked of a manifest that is read or written, not of one in memory.
func (m Manifest) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if m.Format != FormatV1 && m.Format != FormatV2 {
		fault("format is %.40q, want %q or %q", m.Format, FormatV1, FormatV2)
	}
	if !quality.ValidCheckpointName(m.Name) {
		fault("name %.80q does not match [a-z0-9][a-z0-9._-]{0,63}", m.Name)
	}
	if want := quality.Categories(); !slices.Equal(m.Categories, want[:]) {
		fault("categories are %.200q, want %q", fmt.Sprint(m.Categories), fmt.Sprint(want))
	}
	if !slices.Contains([]clip.Position{clip.End, clip.Middle, clip.Front}, m.ClassTokenPosition) {
		fault("class_token_position is %.40q, want end, middle or front", m.ClassTokenPosition)
	}
	if m.ContextLength < 1 {
		fault("context_length is %d, must be positive", m.ContextLength)
	}
	if m.Score.Min >= m.Score.Max {
		fault("score: min %g is not below max %g", m.Score.Min, m.Score.Max)
	}
	if !printable(m.Score.Unit, 32) {
		fault("score: unit %.40q is not 1 to 32 printable characters", m.Score.Unit)
	}
	if !printable(m.Encoder.Name, 128) {
		fault("encoder: name %.140q is not 1 to 128 printable characters", m.Encoder.Name)
	}
	if !isObject(m.Training) {
		fault("training is not an object")
	}
	if !isObject(m.Metrics) {
		fault("metrics is not an object")
	}
	if !printable(m.Licence, 128) {
		fault("licence %.140q is not 1 to 128 printable characters", m.Licence)
	}
	return errors.Join(append(faults, m.checkMeaning())...)
}

// maxEvaluations bounds how many evaluations a manifest may list.
const maxEvaluations = 32

// checkMeaning is check for what format 2 adds.
func (m Manifest) checkMeaning() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !m.Task.Valid() {
		fault("task %.40q does not match [a-z][a-z0-9_-]{0,31}", m.Task)
	}
	if _, err := m.viewsByRecipe(); err != nil {
		faults = append(faults, err)
	}
	if m.Interval != nil {
		if _, err := m.Interval.calibration(); err != nil {
			fault("interval: %w", err)
		}
	}
	for i, e := range m.Evaluation {
		if err := e.check(); err != nil {
			fault("evaluation[%d]: %w", i, err)
		}
	}
	return errors.Join(faults...)
}

// manifestRecipe leaves out the recipe of manifests that name none, so that the
// same checkpoint has one digest.
func manifestRecipe(name string) string {
	if name == quality.Pillow12.String() {
		return ""
	}
	return name
}

// viewsByRecipe returns the views of the checkpoint by its recipe.
func (m Manifest) viewsByRecipe() (quality.Views, error) {
	recipe := quality.Pillow12
	if m.Recipe != "" {
		var err error
		if recipe, err = quality.ParseRecipe(m.Recipe); err != nil {
			return quality.Views{}, fmt.Errorf("recipe: %w", err)
		}
	}
	views, err := quality.ParseViews(m.Views)
	if err == nil && views.Recipe() != quality.Pillow12 {
		err = fmt.Errorf("views: %s names a recipe, which is a key of its own", m.Views[0])
	}
	return views.By(recipe), err
}

func (i ManifestInterval) calibration() (*quality.Calibration, error) {
	return quality.NewCalibration(i.Coverage, i.Edges, i.HalfWidths)
}

func (e Evaluation) check() error {
	var faults []error
	if !printable(e.Dataset, 128) {
		faults = append(faults, fmt.Errorf("dataset %.140q is not 1 to 128 printable characters", e.Dataset))
	}
	if !e.Task.Valid() {
		faults = append(faults, fmt.Errorf("task %.40q does not match [a-z][a-z0-9_-]{0,31}", e.Task))
	}
	if e.Images < 1 {
		faults = append(faults, fmt.Errorf("images is %d, must be positive", e.Images))
	}
	if !(-1 <= e.Low && e.Low <= e.SRCC && e.SRCC <= e.High && e.High <= 1) {
		faults = append(faults, fmt.Errorf("low %g, srcc %g and high %g are not in this order between -1 and 1",
			e.Low, e.SRCC, e.High))
	}
	return errors.Join(faults...)
}

// decodeObject decodes an object whose keys are exactly those of fields, and
// any of optional. Package json alone would take "NAME" for "name", and null
// for anything.
func decodeObject(raw []byte, fields, optional map[string]any) error {
	var values map[string]json.RawMessage
	if !isObject(raw) {
		return errors.New("is not an object")
	}
	if err := json.Unmarshal(raw, &values); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if fields[key] == nil && optional[key] == nil {
			for known := range fields {
				if strings.EqualFold(key, known) {
					return fmt.Errorf("unknown key %.80q; did you mean %q?", key, known)
				}
			}
			return fmt.Errorf("unknown key %.80q", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value, ok := values[key]
		if !ok {
			return fmt.Errorf("%s is missing", key)
		}
		if err := decodeValue(key, value, fields[key]); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(optional)) {
		if value, ok := values[key]; ok {
			if err := decodeValue(key, value, optional[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

func decodeValue(key string, value json.RawMessage, into any) error {
	if bytes.Equal(value, []byte("null")) {
		return fmt.Errorf("%s is null", key)
	}
	err := json.Unmarshal(value, into)
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		err = fmt.Errorf("%.60s where %s is wanted", mismatch.Value, inJSON(mismatch.Type))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// inJSON says what a value of type t is in JSON.
func inJSON(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a whole number"
}

func isObject(raw []byte) bool {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	return len(raw) > 0 && raw[0] == '{'
}

// checkJSON wants one JSON document in UTF-8 that repeats no key in any object
// and is not nested too deeply.
func checkJSON(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := checkValue(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("has something after the document")
	}
	return nil
}

func checkValue(dec *json.Decoder, depth int) error {
	t, err := dec.Token()
	if err != nil {
		return notJSON(err)
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth == manifestDepth {
		return fmt.Errorf("is nested more than %d deep", manifestDepth)
	}
	seen := map[string]bool{}
	for dec.More() {
		if open == '{' {
			t, err := dec.Token()
			if err != nil {
				return notJSON(err)
			}
			key, _ := t.(string) // the decoder lets nothing else be a key
			if seen[key] {
				return fmt.Errorf("duplicate key %.80q", key)
			}
			seen[key] = true
		}
		if err := checkValue(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing bracket
		return notJSON(err)
	}
	return nil
}

func notJSON(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("is not JSON: %w", err)
}

// printable reports whether s has 1 to limit characters, all of which a log
// and a terminal show as they are.
func printable(s string, limit int) bool {
	if s == "" || utf8.RuneCountInString(s) > limit {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
