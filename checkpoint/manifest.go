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
	"unicode"
	"unicode/utf8"

	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

// Format is the bundle format that is read and written.
const Format = "agiqa-checkpoint/1"

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
	Training           json.RawMessage `json:"training"` // an object, for people: data, split, seed, protocol
	Metrics            json.RawMessage `json:"metrics"`  // an object, for people
	Licence            string          `json:"licence"`
	Golden             []GoldenCase    `json:"golden"`
}

// ManifestScore is the scale on which the checkpoint was trained.
type ManifestScore struct {
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	Unit string  `json:"unit"`
}

// ManifestEncoder names the CLIP on which the checkpoint was trained.
type ManifestEncoder struct {
	Name   string         `json:"name"`
	Digest quality.Digest `json:"digest"`
}

// GoldenCase is an image embedding and the score that training computed for
// it. A server replays the cases before it trusts a checkpoint.
type GoldenCase struct {
	ImageEmbedding quality.Embedding `json:"image_embedding"`
	Score          float64           `json:"score"`
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
	err := decodeObject(b, map[string]any{
		"format": &m.Format, "name": &m.Name, "digest": &m.Digest,
		"categories": &m.Categories, "class_token_position": &m.ClassTokenPosition,
		"context_length": &m.ContextLength, "class_specific_context": &m.ClassSpecific,
		"score": &score, "encoder": &encoder, "golden": &golden,
		"training": &m.Training, "metrics": &m.Metrics, "licence": &m.Licence,
	})
	if err != nil {
		return Manifest{}, err
	}
	if err := decodeObject(score,
		map[string]any{"min": &m.Score.Min, "max": &m.Score.Max, "unit": &m.Score.Unit}); err != nil {
		return Manifest{}, fmt.Errorf("score: %w", err)
	}
	if err := decodeObject(encoder, map[string]any{"name": &m.Encoder.Name, "digest": &m.Encoder.Digest}); err != nil {
		return Manifest{}, fmt.Errorf("encoder: %w", err)
	}
	if len(golden) > limits.GoldenCases {
		return Manifest{}, fmt.Errorf("golden: %d cases, at most %d are allowed", len(golden), limits.GoldenCases)
	}
	m.Golden = make([]GoldenCase, len(golden))
	for i, raw := range golden {
		c := &m.Golden[i]
		if err := decodeObject(raw, map[string]any{"image_embedding": &c.ImageEmbedding, "score": &c.Score}); err != nil {
			return Manifest{}, fmt.Errorf("golden[%d]: %w", i, err)
		}
	}
	err = m.check()
	if len(m.Golden) == 0 && !limits.NoGolden {
		err = errors.Join(err, errNoGolden)
	}
	return m, err
}

// errNoGolden is a bundle that cannot show whether it is served right.
var errNoGolden = errors.New("golden: no case, want at least one")

// check reports every field whose value is not allowed. That there are golden
// cases is asked of a manifest that is read or written, not of one in memory.
func (m Manifest) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if m.Format != Format {
		fault("format is %.40q, want %q", m.Format, Format)
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
	return errors.Join(faults...)
}

// decodeObject decodes an object whose keys are exactly those of fields.
// Package json alone would take "NAME" for "name", and null for anything.
func decodeObject(raw []byte, fields map[string]any) error {
	var values map[string]json.RawMessage
	if !isObject(raw) {
		return errors.New("is not an object")
	}
	if err := json.Unmarshal(raw, &values); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if _, ok := fields[key]; !ok {
			return fmt.Errorf("unknown key %.80q", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value, ok := values[key]
		if !ok {
			return fmt.Errorf("%s is missing", key)
		}
		if bytes.Equal(value, []byte("null")) {
			return fmt.Errorf("%s is null", key)
		}
		if err := json.Unmarshal(value, fields[key]); err != nil {
			if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
				err = fmt.Errorf("%.60s where %s is wanted", mismatch.Value, inJSON(mismatch.Type))
			}
			return fmt.Errorf("%s: %w", key, err)
		}
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
