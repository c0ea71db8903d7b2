package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/encoder"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// newProject returns a checkout as make run finds it, without anything in
// .cache.
func newProject(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	project := t.TempDir()
	links := map[string]string{"bin/agiqa": self}
	for _, name := range []string{"model_repository", "encoders", "encoder", "demo", "examples", ".venv"} {
		links[name] = filepath.Join(root, name)
	}
	for name, target := range links {
		path := filepath.Join(project, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path)); err != nil {
			t.Fatal(err)
		}
	}
	return project
}

// runIn runs a program in a project, with the choice of models left to agiqa.
func runIn(t *testing.T, project string, env []string, args ...string) (output string, err error) {
	t.Helper()
	cmd := command(t, append([]string{"AGIQA_MODEL_REPOSITORY=auto"}, env...), args[1:]...)
	if args[0] != "agiqa" {
		cmd.Path, cmd.Args = args[0], args
	}
	cmd.Dir = project
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// encoderCheck returns what /readyz says of the encoder.
func encoderCheck(t *testing.T, p *process) (status, detail string) {
	t.Helper()
	res, err := http.Get(p.url + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var report gateway.ReadinessReport
	if err := json.NewDecoder(res.Body).Decode(&report); err != nil {
		t.Fatal(err)
	}
	if report.Status != "ready" {
		t.Logf("readiness: %+v", report)
	}
	for _, c := range report.Checks {
		if c.Name == "encoder" {
			return report.Status, c.Detail
		}
	}
	t.Fatalf("no check of the encoder in %+v", report)
	return "", ""
}

// TestOfflineStart is make run without a network: the step that fetches the
// default encoder says in a line what failed and lets the server start, which
// serves the small encoder and says so wherever somebody may look.
func TestOfflineStart(t *testing.T) {
	t.Parallel()
	needsTriton(t)
	project := newProject(t)
	offline := []string{"PIP_NO_INDEX=1"}
	out, err := runIn(t, project, offline, "/usr/bin/env", "bash", "encoder/models.sh", "optional")
	if err != nil || !strings.Contains(out, "models: starting with the small encoder of the repository") {
		t.Errorf("optional: %v\n%s", err, out)
	}
	out, err = runIn(t, project, offline, "/usr/bin/env", "bash", "encoder/models.sh")
	if err == nil || !strings.Contains(out, "models: the default encoder can't be downloaded") {
		t.Errorf("make models: %v\n%s", err, out)
	}
	const reason = "small encoder of the repository, because"
	if out, _ = runIn(t, project, nil, "agiqa", "doctor"); !strings.Contains(out, reason) ||
		!strings.Contains(out, "fix: make models") {
		t.Errorf("doctor doesn't say why the small encoder serves:\n%s", out)
	}
	p := startUpIn(t, project, []string{"AGIQA_MODEL_REPOSITORY=auto"})
	if status, detail := encoderCheck(t, p); status != "ready" || !strings.Contains(detail, reason) {
		t.Errorf("status %s, encoder: %s", status, detail)
	}
	if got := post(t, p.url+"/v1/score", "image/jpeg",
		example(t, "harbour.jpg")); got.score.Encoder.Name != "agiqa-demo-vit-16" {
		t.Errorf("encoder of the answer is %+v, %+v", got.score.Encoder, got.problem)
	}
}

// TestDefaultEncoder builds the default encoder's models, serves them with a
// real Triton beside checkpoints of two encoders, and compares embeddings with
// those of another implementation of CLIP (encoder/testdata).
func TestDefaultEncoder(t *testing.T) {
	t.Parallel()
	needsTriton(t)
	e, err := encoder.Open(filepath.Join(repository, "encoders", "clip-vit-b-16"))
	if err != nil {
		t.Fatal(err)
	}
	weights, err := filepath.Abs(filepath.Join(repository, ".cache", "weights", e.Weights.Archive.Name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(weights); err != nil {
		t.Fatalf("%v; download the weights with: make models", err)
	}
	project, checkpoints := newProject(t), t.TempDir()
	described := quality.Encoder{
		Name: e.Name, Digest: e.Digest, Dim: e.EmbeddingDim, TextWidth: e.TextWidth, ContextLength: e.ContextLength,
	}
	draft := checkpointtest.New(described, "own", 1)
	draft.AddGolden(t, 1, quality.TextEmbeddings(tritontest.TextEmbeddings(described, draft.Prompts(t))))
	checkpointtest.WriteBundle(t, draft.Bundle(t), filepath.Join(checkpoints, "own"))
	other, err := checkpoint.Open(filepath.Join(repository, "demo", "checkpoints", "demo"), checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	checkpointtest.WriteBundle(t, other, filepath.Join(checkpoints, "demo"))
	env := []string{"AGIQA_CHECKPOINTS=" + checkpoints}

	out, err := runIn(t, project, env, "agiqa", "models", "--weights", weights)
	if err != nil || !strings.Contains(out, "written") {
		t.Fatalf("agiqa models: %v\n%s", err, out)
	}
	if out, err := runIn(t, project, env, "agiqa", "models", "--check"); err != nil {
		t.Errorf("agiqa models --check: %v\n%s", err, out)
	}
	checkNamesFields(t, project, env)
	p := startUpIn(t, project, append(env, "AGIQA_MODEL_REPOSITORY=auto"))
	if status, detail := encoderCheck(t, p); status != "ready" ||
		!strings.HasPrefix(detail, e.Name+", int8 (default encoder") {
		t.Errorf("status %s, encoder: %s", status, detail)
	}
	got := post(t, p.url+"/v1/score", "image/jpeg", example(t, "harbour.jpg"))
	if want := (gateway.EncoderRef{Name: e.Name, Digest: e.Digest, Precision: "int8"}); got.status != http.StatusOK ||
		got.score.Encoder != want || got.score.Results[0].Checkpoint.Name != "own" {
		t.Errorf("status %d, encoder %+v, results %+v", got.status, got.score.Encoder, got.score.Results)
	}
	got = post(t, p.url+"/v1/score?checkpoint=demo", "image/jpeg", example(t, "harbour.jpg"))
	if got.status != http.StatusConflict || got.problem.Code != "encoder_mismatch" {
		t.Errorf("a checkpoint of the small encoder: status %d, %+v", got.status, got.problem)
	}
	if out, err := runIn(t, project, env, "agiqa", "models", "--check", "--served", p.grpc); err != nil {
		t.Errorf("agiqa models --check --served: %v\n%s", err, out)
	}
	checkServedNamesFields(t, project, env)
	compareEmbeddings(t, p)
}

// checkNamesFields spoils a configuration at a time. agiqa models --check must
// name file and field, and agiqa models mend it without the weights.
func checkNamesFields(t *testing.T, project string, env []string) {
	t.Helper()
	models := filepath.Join(project, ".cache", "models")
	ensembles, err := filepath.Glob(filepath.Join(models, "clip_agiqa_*"))
	if err != nil || len(ensembles) != 1 {
		t.Fatalf("ensembles %q (error %v)", ensembles, err)
	}
	ensemble := filepath.Base(ensembles[0])
	for _, tt := range []struct{ file, from, to, want string }{
		{"clip_image_encoder/configs/cpu.pbtxt", "max_batch_size: 32", "max_batch_size: 64", "max_batch_size is 64, want 32"},
		{"clip_image_encoder/configs/cpu.pbtxt", "model.int8.onnx", "model.onnx",
			`default_model_filename is "model.onnx", want "model.int8.onnx"`},
		{"clip_image_encoder/configs/gpu.pbtxt", "KIND_GPU", "KIND_CPU", "instance_group[0].kind is KIND_CPU, want KIND_GPU"},
		{"clip_text_encoder/configs/embedded.pbtxt", "TYPE_INT32", "TYPE_INT64",
			"input[0].data_type is TYPE_INT64, want TYPE_INT32"},
		{"clip_text_encoder/configs/gpu.pbtxt", `"use_tf32" value: "0"`, `"use_tf32" value: "1"`,
			`[use_tf32] is "1", want "0"`},
		{ensemble + "/configs/cpu.pbtxt", "dims: [ 224, 224, 3 ]", "dims: [ 3, 224, 224 ]",
			"input[0].dims is [3 224 224], want [224 224 3]"},
		{strings.Replace(ensemble, "clip_agiqa", "prompt_head", 1) + "/configs/cpu.pbtxt", "name:", "nmae:", "unknown field"},
	} {
		file := filepath.Join(models, tt.file)
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		spoilt := strings.Replace(string(whole), tt.from, tt.to, 1)
		if spoilt == string(whole) {
			t.Fatalf("%s has no %s", file, tt.from)
		}
		if err := os.WriteFile(file, []byte(spoilt), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := runIn(t, project, env, "agiqa", "models", "--check")
		if err == nil || !strings.Contains(out, tt.file+": ") || !strings.Contains(out, tt.want) {
			t.Errorf("%s with %s: %v, %s; want %s", tt.file, tt.to, err, out, tt.want)
		}
		if out, err := runIn(t, project, env, "agiqa", "models", "--weights", "nowhere"); err != nil {
			t.Errorf("agiqa models: %v\n%s", err, out)
		}
		if mended, err := os.ReadFile(file); err != nil || string(mended) != string(whole) {
			t.Errorf("%s wasn't mended (%v)", tt.file, err)
		}
	}
	if out, err := runIn(t, project, env, "agiqa", "models", "--served", "127.0.0.1:1"); err == nil ||
		!strings.Contains(out, "--served needs --check") {
		t.Errorf("agiqa models --served: %v\n%s", err, out)
	}
}

// checkServedNamesFields serves the project's models with one configuration
// spoilt, and none of them.
func checkServedNamesFields(t *testing.T, project string, env []string) {
	t.Helper()
	models, served := filepath.Join(project, ".cache", "models"), t.TempDir()
	configs, err := filepath.Glob(filepath.Join(models, "*", "configs", "embedded.pbtxt"))
	if err != nil || len(configs) != 4 {
		t.Fatalf("configurations %q (error %v)", configs, err)
	}
	for _, config := range configs {
		text, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(config, "clip_text_encoder") {
			text = bytes.Replace(text, []byte("max_batch_size: 64"), []byte("max_batch_size: 8"), 1)
		}
		file := filepath.Join(served, strings.TrimPrefix(config, models))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, text, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for address, want := range map[string]string{
		stubTritonOf(t, served): "clip_text_encoder: max_batch_size is 8, want 64",
		stubTriton(t):           "clip_agiqa_", // of the small encoder: the models of others aren't there
		"127.0.0.1:1":           "--served: ",
	} {
		out, err := runIn(t, project, env, "agiqa", "models", "--check", "--served", address)
		if err == nil || !strings.Contains(out, want) || strings.Count(out, "\n") != 1 {
			t.Errorf("agiqa models --check --served: %v, %swant one line with %q", err, out, want)
		}
	}
}

// compareEmbeddings asks Triton for embeddings of the golden pictures, of each
// alone and of one among 32.
func compareEmbeddings(t *testing.T, p *process) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(repository, "encoder", "testdata", "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	golden := map[string]quality.Embedding{}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses, cfg.RequestTimeout = []string{p.grpc}, time.Minute // 32 pictures on a busy machine
	client, err := tritonclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	encoder, err := client.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []quality.Pixels
	var alone []quality.Embedding
	for name, want := range golden {
		pixels := pixelsOf(t, example(t, filepath.Base(name)))
		got, err := client.EncodeImages(t.Context(), encoder, []quality.Pixels{pixels})
		if err != nil {
			t.Fatal(err)
		}
		var cosine float64
		for i, v := range got[0] {
			cosine += float64(v) * float64(want[i])
		}
		if cosine < 0.98 {
			t.Errorf("%s: cosine %.4f with the embedding of another implementation, want at least 0.98", name, cosine)
		}
		all, alone = append(all, pixels), append(alone, got[0])
	}
	for len(all) < 32 {
		all = append(all, all[len(all)-len(alone)])
	}
	together, err := client.EncodeImages(t.Context(), encoder, all)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range together {
		for j, v := range got {
			if math.Abs(float64(v-alone[i%len(alone)][j])) > 1e-5 {
				t.Fatalf("picture %d among 32: number %d is %v, alone it is %v", i, j, v, alone[i%len(alone)][j])
			}
		}
	}
}

// pixelsOf prepares a picture as the server does.
func pixelsOf(t *testing.T, data []byte) quality.Pixels {
	t.Helper()
	preparer, err := imageprep.New(imageprep.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	image, err := preparer.Prepare(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return image.Pixels
}
