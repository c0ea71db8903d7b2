package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// ledger is a CheckpointChanges that notes what it is asked for.
type ledger struct {
	calls []string
	last  importFiles
	known bool
	err   error
}

// importFiles are the arguments of an import.
type importFiles struct {
	Manifest, Weights []byte
	In                lifecycle.Import
}

func (l *ledger) note(format string, args ...any) (lifecycle.Change, error) {
	l.calls = append(l.calls, fmt.Sprintf(format, args...))
	return lifecycle.Change{Checkpoint: tritontest.Checkpoint("new"), Default: "new", Before: first, Previous: first},
		l.err
}

func (l *ledger) ImportFiles(_ context.Context, manifest, weights []byte,
	in lifecycle.Import) (lifecycle.Report, error) {
	l.last = importFiles{manifest, weights, in}
	change, err := l.note("import %s %t by %s", in.Name, in.Activate, in.By)
	steps := []lifecycle.StepTime{{Name: lifecycle.StepLoad, Took: 2 * time.Millisecond}}
	return lifecycle.Report{Change: change, Known: l.known, Steps: steps}, err
}

func (l *ledger) Activate(_ context.Context, name, by string) (lifecycle.Change, error) {
	return l.note("activate %s by %s", name, by)
}

func (l *ledger) Rollback(_ context.Context, by string) (lifecycle.Change, error) {
	return l.note("rollback by %s", by)
}

func (l *ledger) Remove(_ context.Context, name, by string) (lifecycle.Change, error) {
	return l.note("remove %s by %s", name, by)
}

func (l *ledger) Encoders(context.Context) (lifecycle.Encoders, error) {
	e := tritontest.Encoder()
	return lifecycle.Encoders{InUse: e, Held: []lifecycle.HeldEncoder{{Encoder: e, Servers: 2}}, Revision: 7}, l.err
}

func (l *ledger) UseEncoder(ctx context.Context, digest quality.Digest, precision *string,
	by string) (lifecycle.Encoders, error) {
	text := "any precision"
	if precision != nil {
		text = fmt.Sprintf("precision %q", *precision)
	}
	_, _ = l.note("encoder %s of %s by %s", digest.Short(), text, by)
	out, err := l.Encoders(ctx)
	out.Chosen = desired.Encoder{Digest: digest}
	return out, err
}

func (l *ledger) Standing() lifecycle.Standing { return lifecycle.Standing{Wanted: 8} }

func (l *ledger) Diff(a, b string) (lifecycle.Diff, error) {
	_, err := l.note("diff %s %s", a, b)
	return lifecycle.Diff{}, err
}

const adminKey = "an-admin-key-for-tests"

func newAdminRig(t *testing.T, l *ledger, edits ...func(*plan)) *rig {
	t.Helper()
	return newRig(t, append([]func(*plan){func(p *plan) {
		p.changes = l
		p.gateway.AdminKey = adminKey
		p.gateway.MaxBundleBytes = 64 << 10
	}}, edits...)...)
}

// admin sends a request with headers given as pairs, and returns the answer.
func (r *rig) admin(method, path string, body io.Reader, headers ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), method, path, body)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	r.checked.ServeHTTP(w, req)
	return w
}

func bearer(key string) []string { return []string{"Authorization", "Bearer " + key} }

// TestChangesWantTheKey: every route, with every way not to have the key, and
// the body is not touched.
func TestChangesWantTheKey(t *testing.T) {
	routes := []string{
		"POST /v1/checkpoints", "POST /v1/checkpoints/one/activate", "POST /v1/checkpoints/-/rollback",
		"DELETE /v1/checkpoints/one", "PUT /v1/encoder",
	}
	for _, test := range []struct {
		name    string
		key     string // of the server
		headers []string
		detail  string
	}{
		{"no header", adminKey, nil, "Authorization: Bearer"},
		{"another scheme", adminKey, []string{"Authorization", "Basic " + adminKey}, "Authorization: Bearer"},
		{"no key in the header", adminKey, []string{"Authorization", "Bearer "}, "Authorization: Bearer"},
		{"a wrong key", adminKey, bearer("an-admin-key-for-testz"), "is not valid"},
		{"a wrong key in the other header", adminKey, []string{gateway.KeyHeader, "x"}, "is not valid"},
		{"two keys", adminKey, append(bearer(adminKey), gateway.KeyHeader, "x"), "2 different API keys"},
		{"a key beyond all measure", adminKey, bearer(strings.Repeat("x", 257)), "longer than 256 bytes"},
		{"the beginning of the key", adminKey, bearer("an-admin"), "is not valid"},
		{"more than the key", adminKey, bearer(adminKey + "x"), "is not valid"},
		{"a server without a key", "", bearer(""), "set admin-key"},
		{"a server without a key, and any", "", bearer("x"), "is not valid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &ledger{}
			r := newAdminRig(t, l, func(p *plan) { p.gateway.AdminKey = test.key })
			for _, route := range routes {
				method, path, _ := strings.Cut(route, " ")
				w := r.admin(method, path, unread{t}, test.headers...)
				if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Bearer" ||
					w.Header().Get("Content-Type") != "application/problem+json" || !strings.Contains(w.Body.String(), test.detail) ||
					!strings.Contains(w.Body.String(), `"code":"unauthenticated"`) {
					t.Errorf("%s: status %d, headers %v: %s", route, w.Code, w.Header(), w.Body)
				}
			}
			if len(l.calls) != 0 {
				t.Errorf("calls %v", l.calls)
			}
		})
	}
}

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestChanges(t *testing.T) {
	by := gateway.KeyID(adminKey)
	for _, test := range []struct{ route, call string }{
		{"POST /v1/checkpoints/one/activate", "activate one by " + by},
		{"POST /v1/checkpoints/-/rollback", "rollback by " + by},
		{"POST /v1/checkpoints/rollback/activate", "activate rollback by " + by},
		{"DELETE /v1/checkpoints/one", "remove one by " + by},
		{"GET /v1/checkpoints/one/diff/two", "diff one two"},
		{"POST /v1/checkpoints/..%2Fx/activate", "activate ../x by " + by},
	} {
		t.Run(test.route, func(t *testing.T) {
			l := &ledger{}
			r := newAdminRig(t, l)
			method, path, _ := strings.Cut(test.route, " ")
			w := r.admin(method, path, nil, bearer(adminKey)...)
			if w.Code != http.StatusOK {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			if diff := cmp.Diff([]string{test.call}, l.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			kind := quality.KindConflict
			if method == http.MethodGet {
				kind = quality.KindCheckpointNotFound
			}
			l.err = quality.Errorf(kind, "not now")
			if w := r.admin(method, path, nil, bearer(adminKey)...); w.Code != gateway.StatusOf(kind) ||
				!strings.Contains(w.Body.String(), "not now") {
				t.Errorf("after %s: status %d: %s", kind, w.Code, w.Body)
			}
		})
	}
	if strings.Contains(by, adminKey) || len(by) != len("key-")+8 {
		t.Errorf("key id %q", by)
	}
}

// bundleForm writes a multipart body of pairs of part names and contents.
func bundleForm(t *testing.T, pairs ...string) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		must(t, w.WriteField(pairs[i], pairs[i+1]))
	}
	must(t, w.Close())
	return b.Bytes(), w.FormDataContentType()
}

func TestImport(t *testing.T) {
	l := &ledger{}
	r := newAdminRig(t, l)
	send := func(pairs ...string) *httptest.ResponseRecorder {
		body, contentType := bundleForm(t, pairs...)
		return r.admin(http.MethodPost, "/v1/checkpoints", bytes.NewReader(body),
			append(bearer(adminKey), "Content-Type", contentType)...)
	}
	if w := send("manifest", "{}", "weights", "numbers", "name", "one", "activate", "true"); w.Code != http.StatusCreated {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	want := importFiles{[]byte("{}"), []byte("numbers"),
		lifecycle.Import{Name: "one", Activate: true, By: gateway.KeyID(adminKey)}}
	if diff := cmp.Diff(want, l.last); diff != "" {
		t.Errorf("import (-want +got):\n%s", diff)
	}
	l.known = true
	if w := send("weights", "numbers", "manifest", "{}"); w.Code != http.StatusOK ||
		l.last.In.Name != "" || l.last.In.Activate {
		t.Errorf("status %d, import %+v", w.Code, l.last)
	}
	calls := len(l.calls)
	for _, test := range []struct {
		name   string
		status int
		code   quality.Kind
		body   func() ([]byte, string)
	}{
		{"not a form", 415, quality.KindUnsupportedMediaType,
			func() ([]byte, string) { return []byte("{}"), "application/json" }},
		{"no boundary", 415, quality.KindUnsupportedMediaType,
			func() ([]byte, string) { return []byte("x"), "multipart/form-data" }},
		{"nothing", 400, quality.KindBadRequest, func() ([]byte, string) { return nil, "multipart/form-data; boundary=b" }},
		{"cut off", 400, quality.KindBadRequest, func() ([]byte, string) {
			body, contentType := bundleForm(t, "manifest", "{}", "weights", strings.Repeat("n", 100))
			return body[:len(body)-80], contentType
		}},
		{"no weights", 400, quality.KindBadRequest, func() ([]byte, string) { return bundleForm(t, "manifest", "{}") }},
		{"empty manifest", 400, quality.KindBadRequest,
			func() ([]byte, string) { return bundleForm(t, "manifest", "", "weights", "x") }},
		{"twice", 400, quality.KindBadRequest, func() ([]byte, string) {
			return bundleForm(t, "manifest", "{}", "weights", "x", "manifest", "{}")
		}},
		{"an unknown part", 400, quality.KindUnknownField, func() ([]byte, string) {
			return bundleForm(t, "manifest", "{}", "weights", "x", "model.pth", "x")
		}},
		{"neither true nor false", 400, quality.KindBadRequest, func() ([]byte, string) {
			return bundleForm(t, "manifest", "{}", "weights", "x", "activate", "yes")
		}},
		{"a path for a name", 422, quality.KindCheckpointInvalid, func() ([]byte, string) {
			return bundleForm(t, "manifest", "{}", "weights", "x", "name", "../../etc")
		}},
		{"an empty name", 422, quality.KindCheckpointInvalid, func() ([]byte, string) {
			return bundleForm(t, "manifest", "{}", "weights", "x", "name", "")
		}},
		{"too large", 413, quality.KindPayloadTooLarge, func() ([]byte, string) {
			return bundleForm(t, "manifest", "{}", "weights", strings.Repeat("n", 64<<10))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			body, contentType := test.body()
			for _, length := range []int64{int64(len(body)), -1} { // declared, and not
				req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/checkpoints", bytes.NewReader(body))
				req.ContentLength = length
				req.Header.Set("Authorization", "Bearer "+adminKey)
				req.Header.Set("Content-Type", contentType)
				w := httptest.NewRecorder()
				r.checked.ServeHTTP(w, req)
				if w.Code != test.status || !strings.Contains(w.Body.String(), `"code":"`+string(test.code)+`"`) {
					t.Errorf("length %d: status %d: %s", length, w.Code, w.Body)
				}
			}
		})
	}
	if len(l.calls) != calls {
		t.Errorf("bad bodies came through: %v", l.calls[calls:])
	}
}

// TestImportMayBeLargerThanScoring: each kind of request has its own bound.
func TestImportMayBeLargerThanScoring(t *testing.T) {
	l := &ledger{}
	r := newAdminRig(t, l, func(p *plan) { p.gateway.MaxBodyBytes = 1 << 10 })
	body, contentType := bundleForm(t, "manifest", "{}", "weights", strings.Repeat("n", 8<<10))
	if w := r.admin(http.MethodPost, "/v1/checkpoints", bytes.NewReader(body),
		append(bearer(adminKey), "Content-Type", contentType)...); w.Code != http.StatusCreated {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	if w := r.admin(http.MethodPost, "/v1/score", bytes.NewReader(body)); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("scoring: status %d: %s", w.Code, w.Body)
	}
}

func TestListNamesTheEncoder(t *testing.T) {
	r := newAdminRig(t, &ledger{})
	enc := tritontest.Encoder()
	if w := r.admin(http.MethodGet, "/v1/checkpoints", nil); !strings.Contains(w.Body.String(),
		`"encoder":{"name":"`+enc.Name+`","digest":"`+enc.Digest.String()+`"}`) {
		t.Errorf("list: %s", w.Body)
	}
}

// TestEncoderRoutes: what PUT /v1/encoder asks for and what either route answers.
func TestEncoderRoutes(t *testing.T) {
	e, by := tritontest.Encoder(), gateway.KeyID(adminKey)
	choice := fmt.Sprintf(`{"digest": %q`, e.Digest)
	for _, test := range []struct {
		route, body string
		status      int
		call        string
	}{
		{"GET /v1/encoder", "", http.StatusOK, ""},
		{"PUT /v1/encoder", choice + "}", http.StatusOK, "encoder " + e.Digest.Short() + " of any precision by " + by},
		{"PUT /v1/encoder", choice + `, "precision": ""}`, http.StatusOK,
			"encoder " + e.Digest.Short() + ` of precision "" by ` + by},
		{"PUT /v1/encoder", choice + `, "precision": "int8"}`, http.StatusOK,
			"encoder " + e.Digest.Short() + ` of precision "int8" by ` + by},
		{"PUT /v1/encoder", "{}", http.StatusBadRequest, ""},
		{"PUT /v1/encoder", `{"digest": "sha256:short"}`, http.StatusBadRequest, ""},
		{"PUT /v1/encoder", choice + `, "name": "x"}`, http.StatusBadRequest, ""},
	} {
		t.Run(test.route+" "+test.body, func(t *testing.T) {
			l := &ledger{}
			method, path, _ := strings.Cut(test.route, " ")
			w := newAdminRig(t, l).admin(method, path, strings.NewReader(test.body),
				append(bearer(adminKey), "Content-Type", "application/json")...)
			if w.Code != test.status {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			if got := strings.Join(l.calls, "; "); got != test.call {
				t.Errorf("calls %q, want %q", got, test.call)
			}
			want := fmt.Sprintf(`"held":[{"name":"tritontest","digest":%q,"servers":2}],"complete":true,"revision":7`, e.Digest)
			if w.Code == http.StatusOK && !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s, want %s", w.Body, want)
			}
		})
	}
}
