package gateway

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/agiqa/agiqa/quality"
)

// maxJSONDepth is far above what a valid body needs (4).
const maxJSONDepth = 16

// maxFaults bounds how many faults of one body are told.
const maxFaults = 20

// jsonText checks the text of JSON bodies, on every route, before any value of
// them is built: UTF-8, syntax, no name twice in an object, nothing after the
// value, and bounds. The names that a body may have, in their exact case, are
// the schema's.
type jsonText struct {
	// maxTokens is well above what any body needs. Three bytes of text can cost a
	// hundred in memory.
	maxTokens int
}

func newJSONText(maxImages int) jsonText { return jsonText{maxTokens: 1024 + 16*maxImages} }

// format is JSON for huma. It writes answers as huma does.
func (t jsonText) format() huma.Format {
	return huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: func(body []byte, v any) error {
		if err := t.check(body); err != nil {
			return err // huma keeps the text alone; see invalidBody
		}
		err := json.Unmarshal(bytes.TrimPrefix(body, byteOrderMark), v)
		if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
			return errors.New("the value at " + location(semantic.JSONPointer) + " is out of range or malformed")
		}
		return err
	}}
}

// check reports what is wrong with a text: invalid_utf8, json_too_deep,
// payload_too_large, bad_request.
func (t jsonText) check(body []byte) error {
	return t.checkAt(bytes.TrimPrefix(body, byteOrderMark), func(at int64) int64 { return at })
}

// checkAt is check for a text of which position says where a place in it is in
// the body.
func (t jsonText) checkAt(body []byte, position func(at int64) int64) error {
	notUTF8 := !utf8.Valid(body)
	dec := jsontext.NewDecoder(bytes.NewBuffer(body)) // of which it makes no copy
	for n := 0; ; n++ {
		_, err := dec.ReadToken()
		var syntax *jsontext.SyntacticError
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case n >= t.maxTokens:
			return quality.Errorf(quality.KindPayloadTooLarge, "the JSON body has more than %d values", t.maxTokens)
		case errors.As(err, &syntax) && errors.Is(err, jsontext.ErrDuplicateName):
			return invalidAt(quality.KindBadRequest, syntax.JSONPointer,
				"the name %s appears twice in a JSON object", quality.Quote(syntax.JSONPointer.LastToken()))
		case err != nil && notUTF8:
			return invalidAt(quality.KindInvalidUTF8, place(dec, syntax), "the JSON body is not UTF-8 (byte %d)",
				firstInvalid(body))
		case err != nil:
			return invalidAt(quality.KindBadRequest, place(dec, syntax), "the body is not valid JSON (byte %d)",
				position(dec.InputOffset()))
		case dec.StackDepth() > maxJSONDepth:
			return quality.Errorf(quality.KindJSONTooDeep, "the JSON body is nested deeper than %d", maxJSONDepth)
		case dec.StackDepth() == 0 && dec.InputOffset() < int64(len(bytes.TrimRight(body, " \t\r\n"))):
			return quality.Errorf(quality.KindBadRequest, "unexpected data after the JSON value (byte %d)",
				position(dec.InputOffset()))
		}
	}
}

// place returns where a fault is, as closely as the decoder knows.
func place(dec *jsontext.Decoder, fault *jsontext.SyntacticError) jsontext.Pointer {
	if fault != nil {
		return fault.JSONPointer
	}
	return dec.StackPointer()
}

// firstInvalid returns where a text stops being UTF-8.
func firstInvalid(text []byte) int {
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// invalidAt is a fault at one place of a body.
func invalidAt(kind quality.Kind, at jsontext.Pointer, format string, args ...any) error {
	where, message := location(at), fmt.Sprintf(format, args...)
	if where == "body" {
		return quality.Errorf(kind, "%s", message)
	}
	return &InvalidRequest{Kind: kind, Detail: message + ", at " + where,
		Fields: []ProblemField{{Location: where, Message: message}}}
}

// location writes a JSON pointer as huma writes places: body.images[0].data.
func location(p jsontext.Pointer) string {
	var b strings.Builder
	b.WriteString("body")
	for token := range p.Tokens() {
		if _, err := strconv.ParseUint(token, 10, 32); err == nil {
			b.WriteString("[" + token + "]")
		} else {
			b.WriteString("." + token)
		}
		if b.Len() > 128 {
			break
		}
	}
	return clip(b.String(), 128)
}

// invalidBody turns what huma found in a body into an error of the request. The
// text of a body that couldn't be read at all is checked again, since huma keeps
// no more than words of its fault.
func (t jsonText) invalidBody(registry huma.Registry, schema *huma.Schema, faults []error) error {
	invalid := &InvalidRequest{Kind: quality.KindBadRequest}
	details := make([]*huma.ErrorDetail, 0, len(faults))
	for _, err := range faults {
		d, ok := errors.AsType[*huma.ErrorDetail](err)
		if !ok {
			d = &huma.ErrorDetail{Location: "body", Message: "does not fit the schema"}
		}
		if text, ok := d.Value.(string); ok && d.Location == "body" {
			if err := t.check([]byte(text)); err != nil {
				return err
			}
		}
		details = append(details, d)
	}
	// Of an object's unknown names huma keeps no order.
	slices.SortStableFunc(details, func(a, b *huma.ErrorDetail) int { return cmp.Compare(a.Location, b.Location) })
	for _, d := range details[:min(len(details), maxFaults)] {
		message := d.Message
		switch message {
		case validation.MsgUnexpectedProperty:
			invalid.Kind = quality.KindUnknownField
			name, known := unknownMember(registry, schema, d.Location)
			parent := strings.TrimSuffix(strings.TrimSuffix(d.Location, name), ".")
			message = "unknown member " + quality.Quote(name) + " of " + clip(parent, 128) + "; " + suggestion(name, known)
			if invalid.Detail == "" {
				invalid.Detail = message
			}
		case validation.MsgExpectedMatchExactlyOneSchema: // only CheckpointNames has two
			message = namesExpected
		}
		invalid.Fields = append(invalid.Fields, ProblemField{Location: clip(d.Location, 128), Message: clip(message, 256)})
	}
	return invalid
}

// unknownMember returns the name at a place that a schema doesn't have, and the
// names that it has there.
func unknownMember(registry huma.Registry, schema *huma.Schema, place string) (name string, known []string) {
	_, rest, _ := strings.Cut(place, ".")
	for {
		for schema != nil && schema.Ref != "" {
			schema = registry.SchemaFromRef(schema.Ref)
		}
		if schema == nil {
			return rest, nil
		}
		if digits, after, ok := strings.Cut(rest, "]"); ok && strings.HasPrefix(digits, "[") && schema.Items != nil {
			schema, rest = schema.Items, strings.TrimPrefix(after, ".")
			continue
		}
		property := longestPrefix(schema.Properties, rest)
		if property == "" {
			return rest, slices.Sorted(maps.Keys(schema.Properties))
		}
		schema, rest = schema.Properties[property], strings.TrimPrefix(rest[len(property):], ".")
	}
}

// longestPrefix returns the property whose name place begins with and goes on
// after, or "".
func longestPrefix(properties map[string]*huma.Schema, place string) string {
	longest := ""
	for name := range properties {
		rest, ok := strings.CutPrefix(place, name)
		if ok && len(name) > len(longest) && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "[")) {
			longest = name
		}
	}
	return longest
}
