package gateway_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// TestNotImages: every answer is decided by the first bytes, whatever the
// Content-Type says.
func TestNotImages(t *testing.T) {
	r := newRig(t)
	for name, data := range map[string]string{
		"nothing": "", "one byte": "\xff", "text": "hello", "html": "<!doctype html><title>502</title>",
		"svg": `<svg xmlns="http://www.w3.org/2000/svg"/>`, "xml bomb": `<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>`,
		"pdf": "%PDF-1.7\n", "elf": "\x7fELF\x02\x01\x01", "exe": "MZ\x90\x00",
		"zip": "PK\x03\x04", "gzip": "\x1f\x8b\x08\x00",
		"avif": "\x00\x00\x00\x20ftypavif\x00\x00\x00\x00", "heic": "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00",
		"jpeg xl": "\x00\x00\x00\x0cJXL \r\n\x87\n", "tiff": "II*\x00\x08\x00\x00\x00", "bmp": "BM\x36\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			for _, contentType := range []string{"image/png", "application/octet-stream", "image/svg+xml"} {
				r.post("/v1/score", []byte(data), contentType).wantProblem(t, quality.KindUnsupportedImageFormat)
			}
		})
	}
}

func TestHostileImagesHaveTheirOwnCodes(t *testing.T) {
	r := newRig(t)
	png := testimages.PNG(64, 64)
	for _, test := range []struct {
		name string
		data []byte
		kind quality.Kind
	}{
		{"40,000 x 40,000 in 66 bytes", testimages.PNGHeader(40000, 40000, 8, 6), quality.KindImageTooManyPixels},
		{"no pixels", testimages.PNGHeader(0, 10, 8, 6), quality.KindImageZeroDimension},
		{"scan flood", testimages.ScanFlood(64, 64, 100), quality.KindImageTooManyScans},
		{"cut short", png[:len(png)/2], quality.KindImageTruncated},
		{"too many bytes", append(png, make([]byte, 256<<10)...), quality.KindPayloadTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			r.post("/v1/score", test.data, "image/png").wantProblem(t, test.kind)
			r.post("/v1/preprocess", test.data, "image/png").wantProblem(t, test.kind)
		})
	}
}

// TestPolyglots: what is behind an image is not looked at, and never comes back.
func TestPolyglots(t *testing.T) {
	r := newRig(t)
	for name, tail := range map[string]string{"zip": "PK\x03\x04 secret tail", "html": "<script>secret tail</script>"} {
		t.Run(name, func(t *testing.T) {
			answer := r.post("/v1/score", append(testimages.PNG(64, 64), tail...), "text/html; charset=utf-8")
			answer.wantProblem(t, quality.KindUnsupportedMediaType)
			answer = r.post("/v1/score", append(testimages.PNG(64, 64), tail...), "image/svg+xml")
			answer.scores(t)
			if bytes.Contains(answer.body, []byte("secret")) {
				t.Errorf("the answer repeats the file: %s", answer.body)
			}
		})
	}
}

func TestContentTypes(t *testing.T) {
	r := newRig(t)
	for _, contentType := range []string{
		"text/plain", "application/xml", "multipart/mixed; boundary=x", "image",
		"multipart/form-data; boundary", ";", "image/png; a=b; a=c",
		"application/x-www-form-urlencoded", strings.Repeat("a", 10000), "\"",
	} {
		r.post("/v1/score", []byte("x"), contentType).wantProblem(t, quality.KindUnsupportedMediaType)
	}
	for _, encoding := range []string{"gzip", "br", "deflate", "gzip, gzip", "x"} {
		r.post("/v1/score", testimages.PNG(8, 8), "image/png", header("Content-Encoding", encoding)).
			wantProblem(t, quality.KindUnsupportedMediaType)
	}
	r.post("/v1/score", testimages.PNG(8, 8), "image/png", header("Content-Encoding", "Identity")).scores(t)
}

func TestMultipart(t *testing.T) {
	r := newRig(t)
	file := string(testimages.PNG(16, 16))
	part := func(disposition, content string) string {
		return "--x\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + content + "\r\n"
	}
	image := part(`name="image"; filename="a.png"`, file)
	longBoundary := strings.ReplaceAll(image+"--x--\r\n", "--x", "--"+strings.Repeat("x", 71))
	for _, test := range []struct {
		name, contentType, body string
		kind                    quality.Kind
	}{
		{"no boundary", "multipart/form-data", "image=x", quality.KindBadRequest},
		{"no boundary, and a first line without end", "multipart/form-data", "--x", quality.KindBadRequest},
		{"no boundary, and an empty one in the body", "multipart/form-data", "--\r\n", quality.KindBadRequest},
		{"no boundary, and one too long in the body", "multipart/form-data", longBoundary, quality.KindBadRequest},
		{"boundary not in the body", "multipart/form-data; boundary=y", image + "--x--\r\n", quality.KindBadRequest},
		{"empty", "multipart/form-data; boundary=x", "", quality.KindBadRequest},
		{"no parts", "multipart/form-data; boundary=x", "--x--\r\n", quality.KindBadRequest},
		{"no end", "multipart/form-data; boundary=x", image[:len(image)-20], quality.KindBadRequest},
		{"no image", "multipart/form-data; boundary=x", part(`name="checkpoint"`, "demo") +
			"--x--\r\n", quality.KindBadRequest},
		{"unknown field", "multipart/form-data; boundary=x", image + part(`name="caption"`, "x") +
			"--x--\r\n", quality.KindUnknownField},
		{"empty prompt", "multipart/form-data; boundary=x", image + part(`name="prompt"`, "") +
			"--x--\r\n", quality.KindBadRequest},
		{"prompts for other images", "multipart/form-data; boundary=x", image + strings.Repeat(part(`name="prompt"`, "x"), 2) +
			"--x--\r\n", quality.KindBadRequest},
		{"prompt that nobody reads", "multipart/form-data; boundary=x", image + part(`name="prompt"`, "x") +
			"--x--\r\n", quality.KindBadRequest},
		{"no name", "multipart/form-data; boundary=x", image + part(`filename="a"`, "x") +
			"--x--\r\n", quality.KindUnknownField},
		{"no disposition", "multipart/form-data; boundary=x", image + "--x\r\n\r\nx\r\n--x--\r\n", quality.KindUnknownField},
		{"field that is not text", "multipart/form-data; boundary=x", image + part(`name="checkpoint"`, "\xff\xfe") +
			"--x--\r\n", quality.KindInvalidUTF8},
		{"huge field", "multipart/form-data; boundary=x", image + part(`name="checkpoint"`, strings.Repeat("a", 5000)) +
			"--x--\r\n", quality.KindPayloadTooLarge},
		{"huge image", "multipart/form-data; boundary=x", part(`name="image"`, strings.Repeat("a", 257<<10)) + "--x--\r\n",
			quality.KindPayloadTooLarge},
		{"10,000 images", "multipart/form-data; boundary=x", strings.Repeat(part(`name="image"`, "x"), 10000) + "--x--\r\n",
			quality.KindPayloadTooLarge},
		{"10,000 fields", "multipart/form-data; boundary=x", image +
			strings.Repeat(part(`name="checkpoint"`, "demo"), 10000) + "--x--\r\n", quality.KindPayloadTooLarge},
		{"many checkpoints in a field", "multipart/form-data; boundary=x", image +
			part(`name="checkpoints"`, strings.Repeat("demo,", 100)) + "--x--\r\n", quality.KindBadRequest},
		{"unknown include", "multipart/form-data; boundary=x", image + part(`name="include"`, "weights") +
			"--x--\r\n", quality.KindBadRequest},
		{"unknown checkpoint", "multipart/form-data; boundary=x", image + part(`name="checkpoint"`, "nobody") + "--x--\r\n",
			quality.KindCheckpointNotFound},
		{"nested", "multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: form-data; name=image\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n" +
				file + "\r\n--y--\r\n--x--\r\n", quality.KindUnsupportedImageFormat},
		{"quoted-printable is refused", "multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: form-data; name=image\r\nContent-Transfer-Encoding: " +
				"quoted-printable\r\n\r\n=89PNG\r\n--x--\r\n", quality.KindBadRequest},
		{"zero byte in a header", "multipart/form-data; boundary=x", part("name=\"image\"; filename=\"nul\x00.png\"", file) +
			"--x--\r\n", quality.KindBadRequest},
		{"header of a part without end", "multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: form-data; name=image; filename=" +
				strings.Repeat("a", 200<<10), quality.KindBadRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			r.post("/v1/score", []byte(test.body), test.contentType).wantProblem(t, test.kind)
		})
	}
	for name, want := range map[string]string{
		`filename="../../etc/passwd"`:                 "passwd",
		`filename="a\"b.png"`:                         `a"b.png`,
		"filename*=UTF-8''%0d%0aX-Evil%3a%201":        "0",
		"filename*=UTF-8''%ff%fe":                     "0",
		"filename*=UTF-8''%e5%9b%be.png":              "图.png",
		`filename="` + strings.Repeat("a", 300) + `"`: "0",
		`filename=""`:                                 "0",
	} {
		body := part(`name="image"; `+name, file) + part(`name="image"; filename="b"`, file) + "--x--\r\n"
		got := r.post("/v1/score", []byte(body), "multipart/form-data; boundary=x").scores(t)
		if got.Results[0].ID != want {
			t.Errorf("%.60s: id %q, want %q", name, got.Results[0].ID, want)
		}
	}
}

// TestMultipartBoundaryInTheBodyOnly: whoever sets the Content-Type of a form by
// hand leaves the boundary out.
func TestMultipartBoundaryInTheBodyOnly(t *testing.T) {
	r := newRig(t)
	file := string(testimages.PNG(16, 16))
	for _, boundary := range []string{"x", strings.Repeat("x", 70), "a b+c", "-----7"} {
		for _, newline := range []string{"\r\n", "\n"} {
			var body string
			for _, name := range []string{"a", "b"} {
				body += "--" + boundary + newline + `Content-Disposition: form-data; name="image"; filename="` + name + `"` +
					newline + newline + file + newline
			}
			got := r.post("/v1/score", []byte(body+"--"+boundary+"--"+newline), "multipart/form-data").scores(t)
			if len(got.Results) != 2 || got.Results[1].ID != "b" {
				t.Errorf("boundary %q, newline %q: %+v", boundary, newline, got.Results)
			}
		}
	}
}

func TestJSONBodies(t *testing.T) {
	r := newRig(t)
	data := base64Of(testimages.PNG(16, 16))
	many := func(n int, item string) string {
		return `{"images":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + `]}`
	}
	for _, test := range []struct {
		name, body string
		kind       quality.Kind
	}{
		{"nothing", "", quality.KindBadRequest},
		{"only space", " \n", quality.KindBadRequest},
		{"cut", `{"images":[`, quality.KindBadRequest},
		{"not an object", `[]`, quality.KindBadRequest},
		{"null", `null`, quality.KindBadRequest},
		{"no images", `{}`, quality.KindBadRequest},
		{"null images", `{"images":null}`, quality.KindBadRequest},
		{"no image", `{"images":[]}`, quality.KindBadRequest},
		{"null image", `{"images":[null]}`, quality.KindBadRequest},
		{"image is a string", `{"images":["x"]}`, quality.KindBadRequest},
		{"100,000 deep", strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), quality.KindJSONTooDeep},
		{"100,000 objects deep", strings.Repeat(`{"a":`, 100_000), quality.KindJSONTooDeep},
		{"1e400", `{"images":[{"data":"` + data + `"}],"checkpoint":1e400}`, quality.KindBadRequest},
		{"name twice", `{"images":[],"images":[{"data":"` + data + `"}]}`, quality.KindBadRequest},
		{"name twice in an image", `{"images":[{"data":"` + data + `","data":"` + data + `"}]}`, quality.KindBadRequest},
		{"lone surrogate", `{"images":[{"id":"\ud800","data":"` + data + `"}]}`, quality.KindBadRequest},
		{"not UTF-8", "{\"images\":[{\"id\":\"\xff\",\"data\":\"" + data + "\"}]}", quality.KindInvalidUTF8},
		{"two byte order marks", "\xef\xbb\xbf\xef\xbb\xbf" + many(1, `{"data":"`+data+`"}`), quality.KindBadRequest},
		{"only a byte order mark", "\xef\xbb\xbf", quality.KindBadRequest},
		{"trailing value", many(1, `{"data":"`+data+`"}`) + `{}`, quality.KindBadRequest},
		{"trailing text", many(1, `{"data":"`+data+`"}`) + `x`, quality.KindBadRequest},
		{"unknown field", `{"images":[{"data":"` + data + `"}],"prompt":"x"}`, quality.KindUnknownField},
		{"empty prompt", `{"images":[{"data":"` + data + `","prompt":""}]}`, quality.KindBadRequest},
		{"prompt that nobody reads", `{"images":[{"data":"` + data + `","prompt":"a cat"}]}`, quality.KindBadRequest},
		{"prompt of 5,000 characters", `{"images":[{"data":"` + data + `","prompt":"` + strings.Repeat("x", 5000) + `"}]}`,
			quality.KindBadRequest},
		{"unknown field in an image", `{"images":[{"data":"` + data + `","path":"/etc/passwd"}]}`, quality.KindUnknownField},
		{"other case", `{"Images":[{"data":"` + data + `"}]}`, quality.KindUnknownField},
		{"unknown include", `{"images":[{"data":"` + data + `"}],"include":["weights"]}`, quality.KindBadRequest},
		{"images above the limit", many(9, `{"data":"`+data+`"}`), quality.KindPayloadTooLarge},
		{"100,000 empty images", many(100_000, `{}`), quality.KindPayloadTooLarge},
		{"100,000 numbers", many(100_000, `1`), quality.KindPayloadTooLarge},
		{"65 checkpoints", `{"images":[{"data":"` + data + `"}],"checkpoints":[` +
			strings.TrimSuffix(strings.Repeat(`"demo",`, 65), ",") + `]}`, quality.KindBadRequest},
		{"string of 900 kB", `{"images":[{"id":"` + strings.Repeat("a", 900_000) + `","data":"` + data +
			`"}]}`, quality.KindBadRequest},
		{"url", many(1, `{"url":"http://169.254.169.254/"}`), quality.KindImageURLForbidden},
		{"url and data", many(1, `{"url":"http://a/","data":"`+data+`"}`), quality.KindBadRequest},
		{"neither", many(1, `{}`), quality.KindBadRequest},
		{"unknown checkpoint", `{"images":[{"data":"` + data + `"}],"checkpoint":"nobody"}`, quality.KindCheckpointNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := r.post("/v1/score", []byte(test.body), "application/json").wantProblem(t, test.kind)
			if len(p.Errors) > gateway.MaxFaults {
				t.Errorf("%d faults told, want at most %d", len(p.Errors), gateway.MaxFaults)
			}
		})
	}
	t.Run("every fault at once", func(t *testing.T) {
		p := r.post("/v1/score", []byte(`{"images":[{"id":1},{"data":2}],"checkpoint":3}`),
			"application/json").wantProblem(t, quality.KindBadRequest)
		if len(p.Errors) != 3 {
			t.Errorf("errors %+v, want 3", p.Errors)
		}
		for i, want := range []string{"body.checkpoint", "body.images[0].id", "body.images[1].data"} {
			if !strings.Contains(fmt.Sprint(p.Errors), want) {
				t.Errorf("fault %d: %s is not named in %+v", i, want, p.Errors)
			}
		}
	})
}

func TestBase64(t *testing.T) {
	file := testimages.PNG(15, 16)
	for len(file)%3 != 1 { // so that padding is needed, and url characters appear
		file = append(file, 0xff)
	}
	good := base64Of(file)
	rest := append(bytes.Clone(file), 0xff, 0xff, 0xff, 0xfe) // in digits of the end of each alphabet
	lines := func(s string, n int) string {
		var b strings.Builder
		for chunk := range slices.Chunk([]byte(s), n) {
			b.Write(append(chunk[:len(chunk):len(chunk)], "\r\n"...))
		}
		return b.String()
	}
	r := newRig(t)
	for _, test := range []struct {
		name, data string
		kind       quality.Kind // empty: it is accepted
	}{
		{"plain", good, ""},
		{"in lines", good[:40] + "\r\n" + good[40:], ""},
		{"no padding", strings.TrimRight(good, "="), ""},
		{"in lines of 76", lines(good, 76), ""},
		{"too much padding", good + "==", quality.KindBadBase64},
		{"url alphabet", base64.URLEncoding.EncodeToString(rest), ""},
		{"url alphabet without padding", base64.RawURLEncoding.EncodeToString(rest), ""},
		{"url alphabet without padding in lines", lines(base64.RawURLEncoding.EncodeToString(rest), 64), ""},
		{"both alphabets", "_" + base64Of(rest), quality.KindBadBase64},
		{"data URL", "data:image/png;base64," + good, ""},
		{"data URL in capitals", "DATA:image/png;BASE64," + good, ""},
		{"data URL with a parameter", "data:image/png;name=a.png;base64," + good, ""},
		{"data URL without a type", "data:;base64," + good, ""},
		{"data URL in the url alphabet", "data:image/png;base64," + base64.RawURLEncoding.EncodeToString(rest), ""},
		{"data URL with percent-encoding", "data:image/png;base64," +
			strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(base64Of(rest)), ""},
		{"data URL that is not base64", "data:image/png," + good, quality.KindBadBase64},
		{"data URL without data", "data:image/png;base64", quality.KindBadBase64},
		{"data URL with a bad percent-encoding", "data:image/png;base64,%zz" + good, quality.KindBadBase64},
		{"data URL of a data URL", "data:image/png;base64,data:image/png;base64," + good, quality.KindBadBase64},
		{"empty data URL", "data:image/png;base64,", quality.KindUnsupportedImageFormat},
		{"only padding", "====", quality.KindBadBase64},
		{"padding inside", good[:40] + "=" + good[40:], quality.KindBadBase64},
		{"one character too few", strings.TrimRight(good, "=")[1:][:5], quality.KindBadBase64},
		{"space", good[:40] + " " + good[40:], quality.KindBadBase64},
		{"bits after the end", good[:len(good)-3] + "x==", quality.KindBadBase64},
		{"not base64", "!!!!", quality.KindBadBase64},
		{"too long to be decoded", strings.Repeat("!", 400_000), quality.KindPayloadTooLarge},
		{"decoded size above the limit", base64Of(make([]byte, 256<<10+1)), quality.KindPayloadTooLarge},
		{"decoded size at the limit", base64Of(make([]byte, 256<<10)), quality.KindUnsupportedImageFormat},
		{"decoded size at the limit, in lines", lines(base64Of(make([]byte, 256<<10)), 76),
			quality.KindUnsupportedImageFormat},
		{"decoded size above the limit, in lines", lines(base64Of(make([]byte, 256<<10+1)), 76), quality.KindPayloadTooLarge},
		{"decoded size above the limit, data URL", "data:;base64," + base64Of(make([]byte, 256<<10+1)),
			quality.KindPayloadTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := r.postJSON("/v1/score", jsonOf(map[string]string{"data": test.data}))
			if test.kind == "" {
				answer.scores(t)
				return
			}
			answer.wantProblem(t, test.kind)
		})
	}
	for data, want := range map[string]string{
		good[:40] + " " + good[40:]: `data is not base64: character 41 is " "`,
		good + "==":                 `data is not base64: it ends with 4 of the character =, where 2 belong`,
		"data:image/svg+xml,<svg/>": `the data URL is not base64: its head is "data:image/svg+xml"`,
		"AAA\x07":                   `data is not base64: its last character does not end a byte`,
		"A\x07AA":                   `data is not base64: character 2 is "\a"`,
		"AAAAA":                     `data is not base64: 5 characters are one too many or some too few`,
	} {
		if p := r.postJSON("/v1/score", jsonOf(map[string]string{"data": data})).wantProblem(t,
			quality.KindBadBase64); p.Detail != want {
			t.Errorf("%.60q: detail %q, want %q", data, p.Detail, want)
		}
	}
}

// TestBodyAtItsLimit: the limit itself is allowed, and one byte more is
// refused before it is read when its length is announced.
func TestBodyAtItsLimit(t *testing.T) {
	r := newRig(t)
	r.post("/v1/score", make([]byte, 1<<20), "text/plain").wantProblem(t, quality.KindUnsupportedMediaType)
	p := r.post("/v1/score", make([]byte, 1<<20+1), "image/png").wantProblem(t, quality.KindPayloadTooLarge)
	if !strings.Contains(p.Detail, "1048576") {
		t.Errorf("detail %q does not say the limit", p.Detail)
	}
}

// FuzzReadBody: whatever a stranger sends, the reader answers with items
// within its bounds or with a fault of the request.
func FuzzReadBody(f *testing.F) {
	data := base64Of(testimages.PNG(4, 4))
	f.Add("application/json", "",
		[]byte(`{"images":[{"id":"a","data":"`+data+`"}],"checkpoints":["a","b"],"include":["embedding"]}`))
	f.Add("application/json", "",
		[]byte(`{"images":[{"url":"http://a/"},{"data":"!"},null,1,"",{"x":1}],"checkpoint":null}`))
	f.Add("application/json", "", []byte(`{"images":{"a":[[[[[[[[[[[[[[[[[1e400]]]]]]]]]]]]]]]]]},"images":1}`))
	f.Add("multipart/form-data; boundary=x", "",
		[]byte("--x\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n123\r\n--x\r\nContent-Disposition: "+
			"form-data; name=include\r\n\r\nembedding, ,\r\n--x--\r\n"))
	f.Add("multipart/form-data", "", []byte("--\r\n\r\n\r\n--"))
	f.Add("image/png", "identity", []byte("\x89PNG"))
	f.Add("", "gzip", []byte{})
	f.Add("text/plain", "", []byte("x"))
	f.Add("application/x-www-form-urlencoded", "", []byte("\x89PNG\r\n\x1a\n"))
	f.Add("", "", []byte("\xef\xbb\xbf{}"))
	f.Add("application/json", "",
		[]byte("\xef\xbb\xbf"+`{"images":[{"data":"data:image/png;base64,_-8"},{"data":"AA%3D="}],"checkpoint":["a,b"],"checkpoints":"c"}`))
	f.Add("multipart/form-data; boundary=x", "",
		[]byte("--x\r\nContent-Disposition: form-data; name=\"file[]\"; "+
			"filename=a\r\n\r\n123\r\n--x\r\nContent-Disposition: form-data; name=model\r\n\r\na\r\n--x--\r\n"))
	const maxImages, maxBytes = 3, 64
	read := gateway.ReadBody(maxImages, maxBytes)
	f.Fuzz(func(t *testing.T, contentType, contentEncoding string, body []byte) {
		items, checkpoints, include, err := read(contentType, contentEncoding, body)
		if err != nil {
			wantFaultOfRequest(t, err)
			if len(items)+len(checkpoints)+len(include) != 0 {
				t.Errorf("%d items beside the error %v", len(items), err)
			}
			return
		}
		if len(items) == 0 || len(items) > maxImages {
			t.Errorf("%d items, want 1 to %d", len(items), maxImages)
		}
		if len(checkpoints) > len(body)+1 {
			t.Errorf("%d checkpoints from %d bytes", len(checkpoints), len(body))
		}
		for _, name := range include {
			if name != "embedding" && name != "all_arms" {
				t.Errorf("include %q", name)
			}
		}
		for _, item := range items {
			if item.ID == "" || len(item.ID) > 4*256 || item.Err != nil && item.Data != nil {
				t.Errorf("item %+v", item)
			}
			if len(item.Data) > maxBytes {
				t.Errorf("item of %d bytes, limit %d", len(item.Data), maxBytes)
			}
			if item.Err != nil {
				wantFaultOfRequest(t, item.Err)
			}
		}
	})
}

// chosen keeps the names of the checkpoints that the use case was asked for.
type chosen struct {
	gateway.Scorer
	names []string
}

func (c *chosen) Score(_ context.Context, req scoring.Request) (scoring.Response, error) {
	for _, checkpoint := range req.Checkpoints {
		c.names = append(c.names, checkpoint.Name)
	}
	return scoring.Response{}, quality.Errorf(quality.KindConflict, "this test scores nothing")
}

// FuzzNamesOfCheckpoints: in whatever place and under whatever name a value
// stands, either it is a parameter that has nothing to do with checkpoints, or
// the use case gets the checkpoints that it names, or the request is refused by
// a status below 500. It is never the default that scores instead.
func FuzzNamesOfCheckpoints(f *testing.F) {
	for _, seed := range [][2]string{
		{"checkpoint", "other"}, {"checkpoints", "other,demo"}, {"checkpoint", ""},
		{"Checkpoint", "other"}, {"chekpoint", "other"},
		{"model", "x"}, {"checkpoint[]", "other"}, {"checkpoint", "other;"}, {"checkpoint;", "other"}, {"checkpoint", "%zz"},
		{"checkpoint", "nobody"}, {"checkpoint", " other , "}, {"checkpoint", "other\x00"},
		{"preprocess", "fast"}, {"include", "embedding"},
		{"checkpoint", `other","checkpoint":"demo`}, {"checkpoint\"; filename=\"a", "other"},
	} {
		for form := range byte(4) {
			f.Add(form, seed[0], seed[1])
		}
	}
	file := testimages.PNG(4, 4)
	c := &chosen{}
	handler := bareGateway(f, c).Handler()
	f.Fuzz(func(t *testing.T, where byte, name, value string) {
		c.names = nil
		target, contentType, body := "/v1/score", "image/png", file
		switch where % 4 {
		case 0: // as it is
			target += "?" + name + "=" + value
		case 1:
			target += "?" + url.Values{name: {value}}.Encode()
		case 2:
			data, err := json.Marshal(map[string]any{"images": []any{map[string]string{"data": base64Of(file)}}, name: value})
			must(t, err)
			contentType, body = "application/json", data
		case 3:
			body, contentType = filePart(t, "image", "a.png", file, name, value)
		}
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return // net/http refuses that by itself
		}
		req := httptest.NewRequest(http.MethodPost, "/v1/score", bytes.NewReader(body)).WithContext(t.Context())
		req.URL = u
		req.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		if w.Code >= 500 {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if len(c.names) == 0 { // refused
			return
		}
		var want []string
		if where%4 == 0 {
			query, err := url.ParseQuery(u.RawQuery)
			if err != nil {
				t.Fatalf("scored by %v, and the query is malformed: %v", c.names, err)
			}
			for key, values := range query {
				want = append(want, wanted(t, key, strings.Join(values, ","))...)
			}
		} else {
			want = wanted(t, name, value)
		}
		slices.Sort(want)
		want = slices.Compact(want)
		if len(want) == 0 {
			want = []string{first}
		}
		if got := slices.Sorted(slices.Values(c.names)); !slices.Equal(got, want) {
			t.Errorf("scored by %v, want %v", got, want)
		}
	})
}

// wanted are the checkpoints that an accepted parameter names.
func wanted(t *testing.T, name, value string) []string {
	t.Helper()
	switch name {
	case "image", "images", "image[]", "images[]", "file", "files", "file[]", "include", "preprocess":
		return nil
	case "checkpoint", "checkpoints":
	default:
		t.Fatalf("%q was accepted", name)
	}
	var names []string
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part != "" {
			names = append(names, part)
		}
	}
	if len(names) == 0 {
		t.Fatalf("%q was accepted as the value of %s", value, name)
	}
	return names
}

// bareGateway is a gateway with checkpoints and no more behind it than scorer.
func bareGateway(t testing.TB, scorer gateway.Scorer) *gateway.Gateway {
	t.Helper()
	g, err := gateway.New(gateway.Config{
		Version: "test", RequestTimeout: time.Minute, MaxBodyBytes: 1 << 20, MaxImages: 8, MaxImageBytes: 256 << 10,
	}, gateway.Deps{
		Scorer: scorer, Checkpoints: newShelf([]string{first, second}),
		Readiness: gateway.NewReadiness(time.Minute, time.Minute),
		Metrics:   http.NotFoundHandler(), Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(),
		Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	return g
}

func wantFaultOfRequest(t *testing.T, err error) {
	t.Helper()
	kind := quality.KindOf(err)
	if status := gateway.StatusOf(kind); status < 400 || status >= 500 || kind == quality.KindClientClosedRequest {
		t.Errorf("error %v is %s (%d), want a fault of the request", err, kind, status)
	}
	if !gateway.TableKinds()[kind] {
		t.Errorf("kind %s has no row", kind)
	}
	if invalid, ok := errors.AsType[*gateway.InvalidRequest](err); ok {
		if _, jsonErr := json.Marshal(invalid.Fields); jsonErr != nil || len(invalid.Fields) == 0 ||
			len(invalid.Fields) > gateway.MaxFaults {
			t.Errorf("fields %+v: %v", invalid.Fields, jsonErr)
		}
	}
}

func quote(t *testing.T, s string) string {
	t.Helper()
	data, err := json.Marshal(s)
	must(t, err)
	return string(data)
}
