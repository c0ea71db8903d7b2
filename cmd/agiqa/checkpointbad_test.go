package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/cache/redistest"
	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
)

// world is everything that an import may change.
type world struct {
	Models, Keys, Files []string
	Default             string
	Names               []string
}

func look(t *testing.T, p *process, redis *redistest.Server, data string) world {
	t.Helper()
	w := world{Keys: redis.Keys(), Files: slices.Concat(leftovers(t, data), panels(t, data))}
	states, err := tritonOf(t, p).Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		w.Models = append(w.Models, s.Name+" "+s.State)
	}
	var list cli.CheckpointList
	if err := cli.NewClient(p.url).Get(t.Context(), "/v1/checkpoints", &list); err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Checkpoints {
		w.Names = append(w.Names, c.Name)
	}
	w.Default = list.Default
	slices.Sort(w.Models)
	slices.Sort(w.Keys)
	return w
}

// TestBadCheckpointsChangeNothing sends what is wrong in every way that was
// imagined to the real server: each is refused by an error of its own, and
// disk, Redis and Triton are as before.
func TestBadCheckpointsChangeNothing(t *testing.T) {
	needsTriton(t)
	redis := redistest.Start(t)
	data := t.TempDir()
	p := startUp(t, []string{"AGIQA_DATA_DIR=" + data, "AGIQA_REDIS_URL=" + redis.URL(), "AGIQA_MAX_BUNDLE_BYTES=2MiB"})
	key := strings.TrimSpace(string(mustRead(t, filepath.Join(data, "admin.key"))))
	triton := tritonOf(t, p)
	enc, err := triton.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sound := func(edit func(*checkpointtest.Draft)) (manifest, weights []byte) {
		d := checkpointtest.New(enc, "bad", 3)
		embeddings, err := triton.EncodePrompts(t.Context(), enc, d.Prompts(t))
		if err != nil {
			t.Fatal(err)
		}
		d.AddGolden(t, 2, quality.TextEmbeddings(embeddings))
		if edit != nil {
			edit(d)
		}
		return d.Files(t)
	}
	reshape := func(name string, shape ...int) func(*checkpointtest.Draft) {
		return func(d *checkpointtest.Draft) {
			n := 1
			for _, s := range shape {
				n *= s
			}
			d.Tensors[name] = safetensors.Tensor{Name: name, Shape: shape, Data: make([]float32, n)}
		}
	}
	awaitTexts(t, p, redis)
	eventually(t, "the panel of the shipped checkpoints", func() bool {
		states, err := triton.Index(t.Context())
		return err == nil && slices.ContainsFunc(states, func(s tritonclient.ModelState) bool {
			return strings.HasPrefix(s.Name, "prompt_panel_") && s.State == "READY"
		})
	})
	before := look(t, p, redis, data)
	seen := map[string]string{}
	for _, test := range []struct {
		name   string
		kind   quality.Kind
		detail string
		form   func(manifest, weights []byte) (m, w []byte, name string)
		edit   func(*checkpointtest.Draft)
	}{
		{name: "truncated weights", kind: quality.KindCheckpointInvalid, detail: "weights.safetensors",
			form: func(m, w []byte) ([]byte, []byte, string) { return m, w[:len(w)-7], "" }},
		{name: "weights of a few bytes", kind: quality.KindCheckpointInvalid, detail: "weights.safetensors",
			form: func(m, w []byte) ([]byte, []byte, string) { return m, w[:5], "" }},
		{name: "header length 2^63", kind: quality.KindCheckpointInvalid, detail: "header",
			form: func(m, w []byte) ([]byte, []byte, string) {
				w = bytes.Clone(w)
				binary.LittleEndian.PutUint64(w, 1<<63)
				return m, w, ""
			}},
		{name: "truncated manifest", kind: quality.KindCheckpointInvalid, detail: "manifest.json: is not JSON",
			form: func(m, w []byte) ([]byte, []byte, string) { return m[:len(m)/2], w, "" }},
		{name: "a pickle for weights", kind: quality.KindCheckpointInvalid, detail: "weights.safetensors",
			form: func(m, w []byte) ([]byte, []byte, string) {
				return m, []byte("\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R."), ""
			}},
		{name: "oversized", kind: quality.KindPayloadTooLarge, detail: "",
			form: func(m, w []byte) ([]byte, []byte, string) { return m, make([]byte, 3<<20), "" }},
		{name: "a path for a name", kind: quality.KindCheckpointInvalid, detail: "does not match",
			form: func(m, w []byte) ([]byte, []byte, string) { return m, w, "../../../tmp/x" }},
		{name: "a path for a name in the manifest", kind: quality.KindCheckpointInvalid, detail: "manifest.json: name",
			edit: func(d *checkpointtest.Draft) { d.Manifest.Name = "../x" }},
		{name: "a name that is taken", kind: quality.KindConflict, detail: `named "demo"`,
			form: func(m, w []byte) ([]byte, []byte, string) { return m, w, "demo" }},
		{name: "not a number", kind: quality.KindCheckpointInvalid, detail: "NaN",
			edit: func(d *checkpointtest.Draft) { d.Tensors["head.0.bias"].Data[1] = float32(math.NaN()) }},
		{name: "head of another shape", kind: quality.KindCheckpointInvalid, detail: `"head.0.bias" has shape`,
			edit: reshape("head.0.bias", 7)},
		{name: "head of another width", kind: quality.KindEncoderMismatch, detail: "step validate",
			edit: reshape("head.0.weight", 6, 7*(enc.Dim+1))},
		{name: "context of another width", kind: quality.KindEncoderMismatch, detail: "context vectors",
			edit: reshape("context", 2, enc.TextWidth+1)},
		{name: "another encoder", kind: quality.KindEncoderMismatch, detail: "was trained on encoder",
			edit: func(d *checkpointtest.Draft) { d.Manifest.Encoder.Digest = quality.DigestOf([]byte("another")) }},
		{name: "a digest of something else", kind: quality.KindCheckpointInvalid, detail: "digest is",
			edit: func(d *checkpointtest.Draft) { d.Manifest.Digest = quality.DigestOf([]byte("something else")) }},
		{name: "a golden score that is wrong", kind: quality.KindCheckpointInvalid, detail: "step verify: golden[1]",
			edit: func(d *checkpointtest.Draft) { d.Manifest.Golden[1].Score += 1e-3 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			edit := test.edit
			if test.name == "head of another width" { // golden embeddings have to fit the head to come so far
				edit = func(d *checkpointtest.Draft) { test.edit(d); d.Manifest.Golden = []checkpoint.GoldenCase{} }
			}
			manifest, weights := sound(edit)
			name := ""
			if test.form != nil {
				manifest, weights, name = test.form(manifest, weights)
			}
			problem := importProblem(t, p, key, manifest, weights, name)
			if problem.Code != test.kind || !strings.Contains(problem.Detail, test.detail) {
				t.Errorf("problem %+v, want kind %s and %q", problem, test.kind, test.detail)
			}
			if other, told := seen[problem.Detail]; told {
				t.Errorf("the same words as for %q: %s", other, problem.Detail)
			}
			seen[problem.Detail] = test.name
			if diff := cmp.Diff(before, look(t, p, redis, data)); diff != "" {
				t.Errorf("something changed (-before +after):\n%s", diff)
			}
		})
	}

	t.Run("a hostile pickle never leaves this machine", func(t *testing.T) {
		dir := t.TempDir()
		d := checkpointtest.New(enc, "bad", 4)
		d.WriteOriginal(t, dir, 5)
		marker := filepath.Join(dir, "executed")
		command := "touch " + marker
		code := "\x80\x02cos\nsystem\nX" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(command)))) + command +
			"\x85R."
		checkpointtest.WritePickle(t, filepath.Join(dir, "regression", "model.pth.tar-5"), code)
		env := []string{"AGIQA_DATA_DIR=" + data, "AGIQA_URL=" + p.url}
		_, errs, status := runCommand(t, env, nil, "checkpoint", "import", dir, "--name", "bad")
		if status != 1 || !strings.Contains(errs, "os.system") {
			t.Errorf("status %d, %s", status, errs)
		}
		if _, err := os.Stat(marker); err == nil {
			t.Error("the pickle was executed")
		}
		if diff := cmp.Diff(before, look(t, p, redis, data)); diff != "" {
			t.Errorf("something changed (-before +after):\n%s", diff)
		}
	})

	t.Run("a folder of the original training", func(t *testing.T) {
		dir := t.TempDir()
		d := checkpointtest.New(enc, "original", 5)
		d.WriteOriginal(t, dir, 7)
		env := []string{"AGIQA_DATA_DIR=" + data, "AGIQA_URL=" + p.url}
		report := agiqa(t, env, "checkpoint", "import", dir, "--name", "original", "--score-max", "100")
		if report["golden"] != 8.0 || report["golden_max_difference"].(float64) > 1e-4 {
			t.Errorf("report %v", report)
		}
		embeddings, err := triton.EncodePrompts(t.Context(), enc, d.Prompts(t))
		if err != nil {
			t.Fatal(err)
		}
		d.AddGolden(t, 1, quality.TextEmbeddings(embeddings))
		want := specimen{bundle: d.Bundle(t), text: quality.TextEmbeddings(embeddings)}
		got := scoreAs(t, p, "&checkpoint=original", example(t, "harbour.jpg"))
		if !near(got.score, want.score(t, got.embedding)) {
			t.Errorf("scored %v, want %v", got.score, want.score(t, got.embedding))
		}
	})
}

// importProblem sends an import that must be refused.
func importProblem(t *testing.T, p *process, key string, manifest, weights []byte, name string) gateway.Problem {
	t.Helper()
	body, contentType := multipartOf(t, manifest, weights, name)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/v1/checkpoints", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var problem gateway.Problem
	if err := json.Unmarshal(raw, &problem); err != nil ||
		res.StatusCode != gateway.StatusOf(problem.Code) || res.StatusCode < 400 {
		t.Fatalf("status %d, %v: %.300s", res.StatusCode, err, raw)
	}
	return problem
}

// awaitTexts waits until Redis has the text embeddings of every checkpoint,
// whose writes no request and no start waits for.
func awaitTexts(t *testing.T, p *process, redis *redistest.Server) {
	t.Helper()
	var list cli.CheckpointList
	if err := cli.NewClient(p.url).Get(t.Context(), "/v1/checkpoints", &list); err != nil {
		t.Fatal(err)
	}
	usable := slices.DeleteFunc(list.Checkpoints, func(c gateway.CheckpointView) bool { return !c.Usable })
	eventually(t, "Redis has the text embeddings of every usable checkpoint", func() bool {
		// images are there too
		texts := slices.DeleteFunc(redis.Keys(), func(key string) bool { return !strings.Contains(key, ":text:") })
		return len(texts) == len(usable)
	})
}

func multipartOf(t *testing.T, manifest, weights []byte, name string) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	fields := map[string][]byte{"manifest": manifest, "weights": weights}
	if name != "" {
		fields["name"] = []byte(name)
	}
	for field, content := range fields {
		part, err := w.CreateFormField(field)
		if err == nil {
			_, err = part.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), w.FormDataContentType()
}
