package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// Every value of a list counts, in their order, and what is no list is refused
// where it comes twice.
func TestRepeatedParameters(t *testing.T) {
	r := newRig(t)
	file := testimages.PNG(32, 32)
	var names []string
	got := r.post("/v1/score?checkpoint=other&include=embedding&checkpoint=demo,other", file,
		"image/png").scores(t).Results[0]
	for _, v := range got.Scores {
		names = append(names, v.Checkpoint.Name)
	}
	if strings.Join(names, " ") != "other demo" || len(got.Embedding) == 0 {
		t.Errorf("scores of %v and %d numbers of an embedding, want other and demo, and some", names, len(got.Embedding))
	}
	const arms = "/v1/score?include=embedding&include=all_arms" // the second one wants a key
	r.post(arms, file, "image/png").wantProblem(t, quality.KindUnauthenticated)

	for _, target := range []string{"/v1/score?preprocess=exact&preprocess=fast", "/v1/preprocess?format=png&format=png"} {
		calls := len(r.calls())
		p := r.post(target, file, "image/png").wantProblem(t, quality.KindBadRequest)
		name := target[strings.Index(target, "?")+1 : strings.Index(target, "=")]
		if want := (gateway.ProblemField{Location: "query." + name, Message: p.Detail}); len(p.Errors) != 1 ||
			p.Errors[0] != want || !strings.Contains(p.Detail, name) {
			t.Errorf("%s: detail %q, errors %v, want %v", target, p.Detail, p.Errors, want)
		}
		if len(r.calls()) != calls {
			t.Errorf("%s reached Triton", target)
		}
	}
	for _, name := range []string{"X-Agiqa-Unit", "X-Agiqa-Blind", "X-Agiqa-Slices"} {
		p := r.post("/v1/score", file, "image/png", header(name, "true"),
			func(req *http.Request) { req.Header.Add(name, "false") }).
			wantProblem(t, quality.KindBadRequest)
		if !strings.Contains(p.Detail, name) {
			t.Errorf("%s twice: detail %q does not name it", name, p.Detail)
		}
	}
	r.post("/v1/score", file, "image/png", func(req *http.Request) { req.Header.Add("Content-Type", "application/json") }).
		wantProblem(t, quality.KindUnsupportedMediaType)
	for where, answer := range map[string]reply{
		"query and body": r.post("/v1/score?preprocess=exact",
			[]byte(`{"images":[{"data":"`+base64Of(file)+`"}],"preprocess":"fast"}`), "application/json"),
		"body": func() reply {
			body, contentType := form(t, "image", string(file), "preprocess", "exact", "preprocess", "fast")
			return r.post("/v1/score", body, contentType)
		}(),
	} {
		if p := answer.wantProblem(t, quality.KindBadRequest); !strings.Contains(p.Detail, "preprocess is") ||
			!strings.Contains(p.Detail, "exact") {
			t.Errorf("two values of preprocess in the %s: %q", where, p.Detail)
		}
	}
}

// TestUnknownParameters: no operation of the document takes a parameter that it
// does not describe, and none refuses one that it does. Links to a page may
// carry any.
func TestUnknownParameters(t *testing.T) {
	r := newWholeRig(t)
	tried := 0
	for path, item := range at(t, document(t, r), "paths").(object) {
		if path == "/" || path == "/favicon.ico" || strings.HasPrefix(path, "/docs") {
			continue
		}
		for method, op := range item.(object) {
			method, target := strings.ToUpper(method), strings.NewReplacer("{", "", "}", "").Replace(path)
			p := r.ask(method, target+"?zzzz=1", []byte("x"), asAdmin).wantProblem(t, quality.KindUnknownField)
			if !strings.Contains(p.Detail, `"zzzz"`) || len(p.Errors) != 1 || p.Errors[0].Location != "query.zzzz" {
				t.Errorf("%s %s: %q, %v; want zzzz named", method, path, p.Detail, p.Errors)
			}
			for _, param := range asList(op.(object)["parameters"]) {
				if at(t, param, "in") != "query" {
					continue
				}
				name := at(t, param, "name").(string)
				if a := r.ask(method, target+"?"+name+"=1", []byte("x"), asAdmin); strings.Contains(string(a.body),
					string(quality.KindUnknownField)) {
					t.Errorf("%s %s: parameter %s is described and refused: %s", method, path, name, a.body)
				}
			}
			tried++
		}
	}
	if tried < 20 {
		t.Errorf("only %d operations tried", tried)
	}
	r.ask(http.MethodGet, "/openapi.json?v=1", nil).wantProblem(t, quality.KindUnknownField)
	for _, page := range []string{"/?utm_source=x", "/docs?x", "/docs/?x=1"} {
		if a := r.ask(http.MethodGet, page, nil); a.status != http.StatusOK {
			t.Errorf("%s: status %d, want 200", page, a.status)
		}
	}
	r.ask(http.MethodGet, "/nothing?x=1", nil).wantProblem(t, quality.KindNotFound)
	r.ask(http.MethodGet, "/v1/score?x=1", nil).wantProblem(t, quality.KindMethodNotAllowed)
}

// TestQueriesThatAreNotUnderstood: what names a checkpoint, or was meant to, is
// never dropped, since the default would score then.
func TestQueriesThatAreNotUnderstood(t *testing.T) {
	r := newRig(t)
	file := testimages.PNG(8, 8)
	for _, test := range []struct {
		query string
		kind  quality.Kind
		want  string // in the detail
	}{
		{"chekpoint=other", quality.KindUnknownField, `"chekpoint"; did you mean checkpoint?`},
		{"Checkpoint=other", quality.KindUnknownField, `"Checkpoint"; did you mean checkpoint?`},
		{"checkpoints[]=other", quality.KindUnknownField, `"checkpoints[]"; did you mean checkpoints?`},
		{"preproces=fast", quality.KindUnknownField, `did you mean preprocess?`},
		{"model=other", quality.KindUnknownField,
			`"model"; known: aspects, checkpoint, checkpoints, include, omit, preprocess, prompt`},
		{"=other", quality.KindUnknownField, `""; known:`},
		{"other", quality.KindUnknownField, `"other"; known:`},
		{strings.Repeat("x", 5000) + "=1", quality.KindUnknownField, strings.Repeat("x", 64) + `"...; known:`},
		{"a%0d%0aSet-Cookie:x=1", quality.KindUnknownField, `"a\r\nSet-Cookie:x"`},
		{"checkpoint=", quality.KindBadRequest, "checkpoint is empty"},
		{"checkpoints=,+,", quality.KindBadRequest, "checkpoints is empty"},
		{"checkpoint", quality.KindBadRequest, "checkpoint is empty"},
		{"preprocess=", quality.KindBadRequest, "preprocess is empty"},
		{"include=", quality.KindBadRequest, "include is empty"},
		{"checkpoint=%zz", quality.KindBadRequest, `invalid URL escape "%zz"`},
		{"include=embedding;checkpoint=other", quality.KindBadRequest, "semicolon"},
		{"checkpoint=other;", quality.KindBadRequest, "semicolon"},
		{"checkpoint=nobody", quality.KindCheckpointNotFound, `checkpoint "nobody" not found; available: demo, other`},
		{"checkpoints=demo&checkpoint=nobody", quality.KindCheckpointNotFound, `"nobody"`},
	} {
		calls := len(r.calls())
		for _, route := range []string{"/v1/score?", "/v1/compare?"} {
			if p := r.post(route+test.query, file, "image/png").wantProblem(t, test.kind); !strings.Contains(p.Detail,
				test.want) || len(p.Detail) > 500 {
				t.Errorf("%s%.80s: detail %q, want %q in it", route, test.query, p.Detail, test.want)
			}
		}
		if len(r.calls()) != calls {
			t.Errorf("%.80s reached Triton", test.query)
		}
	}
	p := r.post("/v1/score?"+strings.Repeat("a", 30)+"=1&b=2&model=3", file,
		"image/png").wantProblem(t, quality.KindUnknownField)
	if len(p.Errors) != 3 {
		t.Errorf("errors %v, want each unknown parameter", p.Errors)
	}
}

// TestCheckpointsAlike: either name, both, commas, lists and repetition, in each
// form of a request.
func TestCheckpointsAlike(t *testing.T) {
	r := newRig(t, func(p *plan) { p.checkpoints = []string{"demo", "other", "third"} })
	file := testimages.PNG(32, 32)
	body := func(members string) reply {
		return r.post("/v1/score", []byte(`{"images":[{"data":"`+base64Of(file)+`"}],`+members+`}`), "application/json")
	}
	parts := func(fields ...string) reply {
		data, contentType := form(t, append([]string{"image", string(file)}, fields...)...)
		return r.post("/v1/score", data, contentType)
	}
	query := func(q string) reply { return r.post("/v1/score?"+q, file, "image/png") }
	for name, test := range map[string]struct {
		answer reply
		want   string
	}{
		"query checkpoint":           {query("checkpoint=other"), "other"},
		"query checkpoints":          {query("checkpoints=other"), "other"},
		"query both":                 {query("checkpoints=third&checkpoint=other"), "other third"},
		"query both, the same":       {query("checkpoints=other&checkpoint=other"), "other"},
		"query commas":               {query("checkpoints=third,%20other,"), "third other"},
		"query repeated":             {query("checkpoints=third&checkpoints=other,demo&checkpoints="), "third other demo"},
		"JSON checkpoint":            {body(`"checkpoint":"other"`), "other"},
		"JSON checkpoints, a string": {body(`"checkpoints":"other"`), "other"},
		"JSON checkpoint, a list":    {body(`"checkpoint":["third","other"]`), "third other"},
		"JSON checkpoints":           {body(`"checkpoints":["third","other"]`), "third other"},
		"JSON commas":                {body(`"checkpoint":"third, other"`), "third other"},
		"JSON commas in a list":      {body(`"checkpoints":["third,other","demo"]`), "third other demo"},
		"JSON both":                  {body(`"checkpoints":["third"],"checkpoint":"other"`), "other third"},
		"multipart checkpoint":       {parts("checkpoint", "other"), "other"},
		"multipart checkpoints":      {parts("checkpoints", "other"), "other"},
		"multipart commas":           {parts("checkpoints", "third, other"), "third other"},
		"multipart both and repeated": {parts("checkpoints", "third", "checkpoint", "other", "checkpoints", "demo"),
			"third other demo"},
		"query and JSON": {r.post("/v1/score?checkpoints=third",
			[]byte(`{"images":[{"data":"`+base64Of(file)+`"}],"checkpoints":"other"}`), "application/json"), "third other"},
		"none":                         {body(`"checkpoints":[]`), "demo"},
		"compare by a query, one name": {r.post("/v1/compare?checkpoints=other", file, "image/png"), "other"},
	} {
		result := test.answer.scores(t).Results[0]
		var names []string
		for _, v := range result.Scores {
			names = append(names, v.Checkpoint.Name)
		}
		if len(names) == 0 {
			names = []string{result.Checkpoint.Name}
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%s: scored by %s, want %s", name, got, test.want)
		}
	}
	for name, answer := range map[string]reply{
		"JSON, empty": body(`"checkpoint":""`), "JSON, empty in a list": body(`"checkpoints":["demo",""]`),
		"JSON, null": body(`"checkpoint":null`), "JSON, number": body(`"checkpoints":3`),
		"JSON, number in a list": body(`"checkpoints":[3]`),
		"JSON, object":           body(`"checkpoints":{"name":"demo"}`),
		"multipart, empty":       parts("checkpoint", ""), "multipart, commas only": parts("checkpoints", " , "),
	} {
		if p := answer.wantProblem(t, quality.KindBadRequest); !strings.Contains(p.Detail, "checkpoint") {
			t.Errorf("%s: detail %q does not name the field", name, p.Detail)
		}
	}
}
