package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// filePart makes a multipart body with one file.
func filePart(t *testing.T, name, fileName string, content []byte, fields ...string) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	h := textproto.MIMEHeader{}
	h.Set("Content-Disposition", fmt.Sprintf(`form-data; name="%s"; filename="%s"`, name, fileName))
	part, err := w.CreatePart(h)
	must(t, err)
	_, err = part.Write(content)
	must(t, err)
	for i := 0; i < len(fields); i += 2 {
		must(t, w.WriteField(fields[i], fields[i+1]))
	}
	must(t, w.Close())
	return b.Bytes(), w.FormDataContentType()
}

// TestNamesOfFiles: the names that clients give a file by habit are understood,
// and any other is named, however large the file is.
func TestNamesOfFiles(t *testing.T) {
	r := newRig(t)
	file := append(testimages.PNG(64, 64), make([]byte, 8000)...)
	for _, name := range []string{"image", "images", "image[]", "images[]", "file", "files", "file[]"} {
		for _, route := range []string{"/v1/score", "/v1/compare", "/v1/preprocess"} {
			body, contentType := filePart(t, name, "a.png", file)
			if a := r.post(route, body, contentType); a.status != http.StatusOK {
				t.Errorf("%s with %s: status %d: %s", route, name, a.status, a.body)
			}
		}
	}
	for name, want := range map[string]string{
		"photo": `unknown multipart file "photo"; name the images image`,
		"Image": `unknown multipart file "Image"; name the images image`,
		"":      `a multipart part has no name; name the images image`,
	} {
		body, contentType := filePart(t, name, "a.png", file)
		if p := r.post("/v1/score", body, contentType).wantProblem(t, quality.KindUnknownField); p.Detail != want {
			t.Errorf("file named %q: detail %q, want %q", name, p.Detail, want)
		}
	}
	for name, want := range map[string]string{
		"chekpoint": `unknown multipart field "chekpoint"; did you mean checkpoint?`,
		"model":     `unknown multipart field "model"; known: aspects, checkpoint, checkpoints, image, include, omit, preprocess, prompt`,
	} {
		body, contentType := form(t, "image", string(file), name, strings.Repeat("x", 5000))
		if p := r.post("/v1/score", body, contentType).wantProblem(t, quality.KindUnknownField); p.Detail != want {
			t.Errorf("field named %q: detail %q, want %q", name, p.Detail, want)
		}
	}
	body, contentType := form(t, "image", string(file), "checkpoint", strings.Repeat("x", 5000))
	if p := r.post("/v1/score", body, contentType).wantProblem(t, quality.KindPayloadTooLarge); !strings.Contains(p.Detail,
		"field checkpoint is longer") {
		t.Errorf("detail %q does not name the field", p.Detail)
	}
}

// TestBodiesWithoutAType: only an image is known by its bytes, and the error of
// any other body names the header. The same holds for the type that curl sends.
func TestBodiesWithoutAType(t *testing.T) {
	r := newRig(t)
	const form = "application/x-www-form-urlencoded"
	multi, _ := filePart(t, "image", "a.png", testimages.PNG(8, 8))
	asJSON := `{"images":[{"data":"` + base64Of(testimages.PNG(8, 8)) + `"}]}`
	untyped := func(req *http.Request) { req.Header.Del("Content-Type") }
	for _, test := range []struct {
		name, contentType, body string
		kind                    quality.Kind // empty: it is scored
		want                    string       // in the detail
	}{
		{"PNG", "", string(testimages.PNG(8, 8)), "", ""},
		{"PNG from curl", form, string(testimages.PNG(8, 8)), "", ""},
		{"PNG from curl with a charset", form + "; charset=utf-8", string(testimages.PNG(8, 8)), "", ""},
		{"JSON", "", asJSON, quality.KindUnsupportedMediaType,
			"Content-Type is missing; the body looks like JSON: send it with Content-Type: application/json"},
		{"JSON behind a byte order mark", "", "\xef\xbb\xbf\n" + asJSON, quality.KindUnsupportedMediaType, "looks like JSON"},
		{"JSON from curl", form, asJSON, quality.KindUnsupportedMediaType,
			"curl sends it unless -H sets another) and the body is not an image; the body looks like JSON"},
		{"multipart", "", string(multi), quality.KindUnsupportedMediaType,
			"Content-Type is missing; the body looks like multipart/form-data"},
		{"text", "", "hello", quality.KindUnsupportedImageFormat, ""},
		{"nothing", "", "", quality.KindUnsupportedImageFormat, ""},
		{"text from curl", form, "a=b", quality.KindUnsupportedMediaType, "send image/*, application/octet-stream"},
		{"text that says so", "text/plain", "a=b", quality.KindUnsupportedMediaType,
			`unsupported Content-Type "text/plain"; send image/*`},
		{"an image that says it is text", "text/plain", string(testimages.PNG(8, 8)),
			quality.KindUnsupportedMediaType, `"text/plain"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			edit := untyped
			if test.contentType != "" {
				edit = header("Content-Type", test.contentType)
			}
			answer := r.ask(http.MethodPost, "/v1/score", []byte(test.body), edit)
			if test.kind == "" {
				answer.scores(t)
			} else if p := answer.wantProblem(t, test.kind); !strings.Contains(p.Detail, test.want) {
				t.Errorf("detail %q, want %q in it", p.Detail, test.want)
			}
		})
	}
}

// TestByteOrderMark: Windows tools write one before JSON.
func TestByteOrderMark(t *testing.T) {
	r := newRig(t)
	body := "\xef\xbb\xbf" + `{"images":[{"data":"` + base64Of(testimages.PNG(8, 8)) + `"}],"checkpoint":"other"}`
	got := r.post("/v1/score", []byte(body), "application/json").scores(t)
	if name := got.Results[0].Checkpoint.Name; name != "other" {
		t.Errorf("scored by %s, want other", name)
	}
}

// labelCounter counts the feedback that reaches the use case.
type labelCounter struct {
	gateway.Experiments
	n int
}

func (l *labelCounter) Label(context.Context, engine.Label) (engine.Receipt, error) {
	l.n++
	return engine.Receipt{Receipt: experiment.Receipt{Feedback: experiment.Feedback{ID: "1",
		State: experiment.Accepted}}}, nil
}

// TestJSONOfOtherRoutes: every route with a JSON body wants its type, and takes
// what that of scoring takes.
func TestJSONOfOtherRoutes(t *testing.T) {
	x := &labelCounter{}
	r := newRig(t, func(p *plan) { p.experiments = x })
	body := `{"idempotency_key":"1","assignment_id":"as_1","rater_id":"r","kind":"mos","value":4}`
	if p := r.ask(http.MethodPost, "/v1/feedback", []byte(body), asAdmin).wantProblem(t,
		quality.KindUnsupportedMediaType); !strings.Contains(p.Detail, "Content-Type: application/json") {
		t.Errorf("detail %q does not name the header", p.Detail)
	}
	r.post("/v1/feedback", []byte(body), "application/x-www-form-urlencoded", asAdmin).wantProblem(t,
		quality.KindUnsupportedMediaType)
	if x.n != 0 {
		t.Errorf("%d labels were stored", x.n)
	}
	if a := r.post("/v1/feedback", []byte("\xef\xbb\xbf"+body),
		"application/json; charset=utf-8", asAdmin); a.status != http.StatusCreated {
		t.Errorf("behind a byte order mark: status %d: %s", a.status, a.body)
	}
	twice := strings.Replace(body, `"value":4`, `"value":4,"value":5`, 1)
	r.post("/v1/feedback", []byte(twice), "application/json", asAdmin).wantProblem(t, quality.KindBadRequest)
	if x.n != 1 {
		t.Errorf("%d labels were stored, want 1", x.n)
	}
}

// TestCurl: the commands that people type, by curl itself.
func TestCurl(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the program curl; not run with -short")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("curl is not on PATH: install the Debian package curl, or run the tests with -short to leave this out")
	}
	r := newRig(t)
	url := r.serve().URL
	folder := t.TempDir()
	file := filepath.Join(folder, "photo.png")
	must(t, os.WriteFile(file, append(testimages.PNG(64, 64), make([]byte, 8000)...), 0o600))
	asJSON := filepath.Join(folder, "body.json")
	must(t, os.WriteFile(asJSON,
		[]byte(`{"images":[{"data":"`+base64Of(testimages.PNG(8, 8))+`"}],"checkpoints":"other"}`), 0o600))
	for _, test := range []struct {
		name  string
		route string
		args  []string
		want  string // the checkpoint that scores, or a part of the detail
		kind  quality.Kind
	}{
		{"file", "/v1/score", []string{"-F", "file=@" + file}, "demo", ""},
		{"image[]", "/v1/score", []string{"-F", "image[]=@" + file}, "demo", ""},
		{"image and checkpoints", "/v1/score", []string{"-F", "image=@" + file, "-F", "checkpoints=other"}, "other", ""},
		{"another name", "/v1/score", []string{"-F", "photo=@" + file},
			`"photo"; name the images image`, quality.KindUnknownField},
		{"no type", "/v1/score?checkpoints=other", []string{"--data-binary", "@" + file}, "other", ""},
		{"empty type", "/v1/score", []string{"-H", "Content-Type:", "--data-binary", "@" + file}, "demo", ""},
		{"JSON without a type", "/v1/score", []string{"-d", "@" + asJSON}, "send it with Content-Type: application/json",
			quality.KindUnsupportedMediaType},
		{"JSON", "/v1/score", []string{"--json", "@" + asJSON}, "other", ""},
		{"upload", "/v1/score", []string{"-X", "POST", "-T", file}, "demo", ""},
		{"misspelt", "/v1/score?chekpoint=other", []string{"--data-binary", "@" + file},
			"did you mean checkpoint?", quality.KindUnknownField},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stderr bytes.Buffer
			cmd := exec.CommandContext(t.Context(), "curl",
				append([]string{"-sS", "--noproxy", "*", "-w", "\n%{http_code}", url + test.route}, test.args...)...)
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, &stderr)
			}
			end := bytes.LastIndexByte(out, '\n')
			body, status := out[:end], string(out[end+1:])
			if test.kind != "" {
				var p gateway.Problem
				must(t, json.Unmarshal(body, &p))
				if p.Code != test.kind || !strings.Contains(p.Detail, test.want) {
					t.Errorf("status %s, %s: %q, want %s with %q", status, p.Code, p.Detail, test.kind, test.want)
				}
				return
			}
			var got gateway.ScoreResponse
			must(t, json.Unmarshal(body, &got))
			if status != "200" || len(got.Results) != 1 || got.Results[0].Checkpoint == nil ||
				got.Results[0].Checkpoint.Name != test.want {
				t.Errorf("status %s: %s, want a score by %s", status, body, test.want)
			}
		})
	}
}
