package gateway_test

import (
	"strings"
	"testing"

	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// TestPartsAreReadOneWay: a part that another reader of multipart/form-data may
// take for another one is refused, on every route that has a form.
func TestPartsAreReadOneWay(t *testing.T) {
	const plain = `Content-Disposition: form-data; name="checkpoint"`
	for _, test := range []struct {
		name, header, value string
		kind                quality.Kind // empty: it isn't refused for its form
		want                string
	}{
		{"plain", plain, "demo", "", ""},
		{"with a type", plain + "\r\nContent-Type: text/plain; charset=utf-8", "demo", "", ""},
		{"with an encoding that is none", plain + "\r\nContent-Transfer-Encoding: 8BIT", "demo", "", ""},
		{"a header twice", plain + "\r\n" + strings.Replace(plain, "checkpoint", "image", 1), "demo",
			quality.KindBadRequest, "Content-Disposition 2 times"},
		{"a header twice, in another case", plain + "\r\n" + strings.ToLower(plain), "demo", quality.KindBadRequest,
			"Content-Disposition 2 times"},
		{"a parameter twice", plain + `; name="image"`, "demo", quality.KindBadRequest, "invalid Content-Disposition"},
		{"base64", plain + "\r\nContent-Transfer-Encoding: base64", "ZGVtbw==", quality.KindBadRequest,
			`Content-Transfer-Encoding "base64"`},
		{"a name not in UTF-8", "Content-Disposition: form-data; name=\"checkpoint\xff\"", "demo", quality.KindInvalidUTF8,
			"not UTF-8"},
		{"a value not in UTF-8", plain, "demo\xff", quality.KindInvalidUTF8, "not UTF-8"},
		{"another case", `Content-Disposition: form-data; name="Checkpoint"`, "demo", quality.KindUnknownField,
			"did you mean checkpoint?"},
		{"not a form's", `Content-Disposition: attachment; name="checkpoint"`, "demo", quality.KindUnknownField, "no name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newWholeRig(t)
			body := "--b\r\n" + test.header + "\r\n\r\n" + test.value + "\r\n--b\r\n" +
				"Content-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n" +
				string(testimages.PNG(8, 8)) + "\r\n--b--\r\n"
			for _, route := range []string{"/v1/score", "/v1/compare", "/v1/preprocess"} {
				a := r.post(route, []byte(body), "multipart/form-data; boundary=b", asAdmin)
				wantRefusal(t, route, a, test.kind, test.want)
			}
			rename := strings.NewReplacer(`"checkpoint`, `"activate`, `"Checkpoint`, `"Activate`, `"image"`, `"manifest"`)
			a := r.post("/v1/checkpoints", []byte(strings.Replace(rename.Replace(body), "demo", "true", 1)),
				"multipart/form-data; boundary=b", asAdmin)
			switch test.name {
			case "a value not in UTF-8": // nor true or false
				wantRefusal(t, "import", a, quality.KindBadRequest, "")
			case "not a form's":
				wantRefusal(t, "import", a, quality.KindUnknownField, "unknown part")
			default:
				wantRefusal(t, "import", a, test.kind, strings.Replace(test.want, "checkpoint?", "activate?", 1))
			}
		})
	}
}

func wantRefusal(t *testing.T, route string, a reply, kind quality.Kind, want string) {
	t.Helper()
	if kind == "" {
		for _, fault := range []string{"multipart part", "unknown_field", "invalid_utf8"} {
			if strings.Contains(string(a.body), fault) {
				t.Errorf("%s: status %d, %s", route, a.status, a.body)
			}
		}
		return
	}
	if p := a.wantProblem(t, kind); !strings.Contains(p.Detail, want) {
		t.Errorf("%s: detail %q, want %q", route, p.Detail, want)
	}
}
