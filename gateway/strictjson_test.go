package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// member is one name of a JSON object with its value: a []member, a dictionary,
// an []any, or the text of anything else.
type member struct {
	name  string
	value any
}

// dictionary is an object whose names are its sender's.
type dictionary []member

// sample builds a value with every member that a schema has.
func sample(t *testing.T, doc, schema object) any {
	t.Helper()
	for schema["$ref"] != nil {
		path := strings.Split(strings.TrimPrefix(schema["$ref"].(string), "#/"), "/")
		schema = at(t, doc, path...).(object)
	}
	if options, ok := schema["oneOf"].([]any); ok {
		schema = options[0].(object)
	}
	if values, ok := schema["enum"].([]any); ok {
		return text(t, values[0])
	}
	kind := schema["type"]
	if kinds, ok := kind.([]any); ok { // as in ["string", "null"]
		kind = kinds[0]
	}
	switch kind {
	case "object":
		properties, _ := schema["properties"].(object)
		if values, ok := schema["additionalProperties"].(object); ok {
			return dictionary{{"x", sample(t, doc, values)}}
		}
		names := make([]string, 0, len(properties))
		for name := range properties {
			names = append(names, name)
		}
		slices.Sort(names)
		members := []member{}
		for _, name := range names {
			members = append(members, member{name, sample(t, doc, properties[name].(object))})
		}
		return members
	case "array":
		return []any{sample(t, doc, schema["items"].(object))}
	case "integer", "number":
		if least := schema["minimum"]; least != nil {
			return text(t, least)
		}
		return "1"
	case "boolean":
		return "true"
	}
	return `"x"`
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return string(data)
}

// change is a copy of a body with something wrong in one of its objects.
type change struct {
	name  string // what is wrong
	body  string
	kind  quality.Kind
	place string   // of the fault; "": of the text as a whole
	says  []string // what the answer must name
}

// changesOf returns the bodies that are wrong in one object of root each.
func changesOf(root any) []change {
	var changes []change
	var walk func(v any, place string)
	walk = func(v any, place string) {
		switch v := v.(type) {
		case []any:
			for i, item := range v {
				walk(item, fmt.Sprintf("%s[%d]", place, i))
			}
		case dictionary:
			changes = append(changes, change{name: "a name twice in " + place, body: render(root, place, `{"x":1,"x":1}`),
				kind: quality.KindBadRequest, place: place + ".x", says: []string{"twice"}})
		case []member:
			with := func(name, members string, kind quality.Kind, at string, says ...string) {
				changes = append(changes, change{
					name + " in " + place, render(root, place, members), kind, place + "." + at, says,
				})
			}
			inside := strings.TrimSuffix(render(v, "", ""), "}")
			with("unknown member", strings.TrimSuffix(inside+`,"zzz":1}`, ","), quality.KindUnknownField, "zzz", "zzz")
			for i, m := range v {
				other := strings.ToUpper(m.name[:1]) + m.name[1:]
				renamed := slices.Clone(v)
				renamed[i].name = other
				with(m.name+" in another case", render(renamed, "", ""), quality.KindUnknownField, other,
					other, "did you mean "+m.name+"?")
				with(m.name+" twice", inside+`,"`+m.name+`":`+render(m.value, "", "")+"}", quality.KindBadRequest, m.name,
					m.name, "twice")
				if t, ok := m.value.(string); ok && strings.HasPrefix(t, `"`) {
					broken := slices.Clone(v)
					broken[i].value = "\"\xff\""
					with(m.name+" not in UTF-8", render(broken, "", ""), quality.KindInvalidUTF8, m.name, "UTF-8")
				}
				walk(m.value, place+"."+m.name)
			}
		}
	}
	walk(root, "body")
	whole := render(root, "", "")
	for _, c := range []change{
		{name: "another value behind it", body: whole + "{}", kind: quality.KindBadRequest, says: []string{"after the JSON"}},
		{name: "text behind it", body: whole + " x", kind: quality.KindBadRequest},
		{name: "cut", body: whole[:len(whole)-1], kind: quality.KindBadRequest, says: []string{"not valid JSON"}},
		{name: "half a surrogate pair", body: strings.Replace(whole, `"x"`, `"\ud800"`, 1), kind: quality.KindBadRequest},
		{name: "a comment", body: "/* */" + whole, kind: quality.KindBadRequest},
		{name: "a name not in UTF-8", body: strings.Replace(whole, "{", "{\"\xff\":1,", 1), kind: quality.KindInvalidUTF8},
		{name: "UTF-16", body: "\xff\xfe{\x00}\x00", kind: quality.KindInvalidUTF8},
		{name: "too deep", body: `{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}",
			kind: quality.KindJSONTooDeep},
	} {
		if c.body != whole {
			changes = append(changes, c)
		}
	}
	return changes
}

// render writes v as JSON, with the object at place replaced.
func render(v any, place, replacement string) string {
	var write func(v any, at string) string
	write = func(v any, at string) string {
		if at == place {
			return replacement
		}
		switch v := v.(type) {
		case []any:
			items := make([]string, len(v))
			for i, item := range v {
				items[i] = write(item, fmt.Sprintf("%s[%d]", at, i))
			}
			return "[" + strings.Join(items, ",") + "]"
		case dictionary:
			return write([]member(v), at)
		case []member:
			items := make([]string, len(v))
			for i, m := range v {
				items[i] = `"` + m.name + `":` + write(m.value, at+"."+m.name)
			}
			return "{" + strings.Join(items, ",") + "}"
		}
		return v.(string)
	}
	return write(v, "body")
}

// TestEveryJSONBodyIsReadStrictly walks over the routes of the document, so that
// a new one is read as the others are: a body that means something else to
// another reader of JSON is refused, with the place of the fault.
func TestEveryJSONBodyIsReadStrictly(t *testing.T) {
	r := newWholeRig(t)
	doc := document(t, r)
	routes := 0
	for path, item := range at(t, doc, "paths").(object) {
		for method, op := range item.(object) {
			bodies, ok := op.(object)["requestBody"].(object)
			if !ok {
				continue
			}
			media, ok := at(t, bodies, "content").(object)["application/json"].(object)
			if !ok {
				continue
			}
			routes++
			t.Run(method+" "+path, func(t *testing.T) {
				target := strings.NewReplacer("{", "", "}", "").Replace(path)
				send := func(body, contentType string) reply {
					return r.ask(strings.ToUpper(method), target, []byte(body), asAdmin, header("Content-Type", contentType))
				}
				root := sample(t, doc, media["schema"].(object))
				good := render(root, "", "")
				for _, contentType := range []string{"application/json", "application/json; charset=UTF-8"} {
					for _, body := range []string{good, "\xef\xbb\xbf" + good} {
						a := send(body, contentType)
						for _, fault := range []string{"unknown_field", "invalid_utf8", "unsupported_media_type", "twice", "valid JSON"} {
							if strings.Contains(string(a.body), fault) {
								t.Errorf("the body without a fault, as %s: status %d, %s", contentType, a.status, a.body)
							}
						}
					}
				}
				for _, contentType := range []string{"application/json; charset=latin1", "application/json; charset=utf-16"} {
					send(good, contentType).wantProblem(t, quality.KindUnsupportedMediaType)
				}
				changes := changesOf(root)
				if len(changes) < 12 {
					t.Errorf("%d changes of %s", len(changes), good)
				}
				for _, c := range changes {
					t.Run(c.name, func(t *testing.T) {
						a := send(c.body, "application/json")
						if c.place != "" {
							wantPlace(t, a, c.place)
						}
						p := a.wantProblem(t, c.kind)
						for _, want := range c.says {
							if !strings.Contains(string(a.body), want) {
								t.Errorf("the answer doesn't say %q: %s", want, p.Detail)
							}
						}
					})
				}
			})
		}
	}
	if routes < 7 {
		t.Errorf("%d routes with a JSON body", routes)
	}
	if got := r.ask(http.MethodGet, "/healthz", nil); got.status != http.StatusOK {
		t.Errorf("/healthz: %d", got.status)
	}
}

// wantPlace checks that one of the faults told is at a place.
func wantPlace(t *testing.T, a reply, place string) {
	t.Helper()
	var p gateway.Problem
	must(t, json.Unmarshal(a.body, &p))
	if !slices.ContainsFunc(p.Errors, func(f gateway.ProblemField) bool { return f.Location == place }) {
		t.Errorf("no fault at %s: %s", place, a.body)
	}
}
