package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agiqa/agiqa/cache/redistest"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/otlptest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/server"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

func example(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(repository, "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// answered is an answer of the server, whatever it was.
type answered struct {
	status  int
	header  http.Header
	score   gateway.ScoreResponse
	problem gateway.Problem
}

func post(t *testing.T, url, contentType string, body []byte) answered {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answered{status: res.StatusCode, header: res.Header}
	into := any(&a.score)
	if res.StatusCode != http.StatusOK {
		into = &a.problem
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("status %d: %v: %.200s", res.StatusCode, err, data)
	}
	return a
}

func scoreOf(t *testing.T, p *process, image []byte) float32 {
	t.Helper()
	a := post(t, p.url+"/v1/score", "application/octet-stream", image)
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %+v", a.status, a.problem)
	}
	score := *a.score.Results[0].Score
	if f := float64(score); math.IsNaN(f) || math.IsInf(f, 0) {
		t.Fatalf("score is %v", score)
	}
	return score
}

func multipartBody(t *testing.T, image []byte) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile("image", "harbour.jpg")
	if err == nil {
		_, err = part.Write(image)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

func jsonBody(t *testing.T, image []byte) []byte {
	t.Helper()
	body, err := json.Marshal(gateway.ScoreRequest{Images: []gateway.ImageInput{{ID: "a",
		Data: base64.StdEncoding.EncodeToString(image)}}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// textRequests is how many requests Triton's text encoder has answered.
func textRequests(t *testing.T, p *process) uint64 {
	t.Helper()
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses = []string{p.grpc}
	client, err := tritonclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	stats, err := client.Statistics(t.Context(), cfg.Models.TextEncoder)
	if err != nil || len(stats) != 1 {
		t.Fatalf("statistics %v, %v", stats, err)
	}
	return stats[0].Requests
}

// TestUp runs the whole product: the real tritonserver, a real Redis, an OTLP
// receiver, and the program as a person starts it.
func TestUp(t *testing.T) {
	needsTriton(t)
	needsWholeTraces(t)
	redis := redistest.Start(t)
	receiver := otlptest.Start(t)
	env := []string{
		"AGIQA_REDIS_URL=" + redis.URL(), "AGIQA_OTLP_ENDPOINT=" + receiver.URL(),
		"AGIQA_CACHE_KEY=0123456789abcdef", // each start has a data folder of its own
	}
	p := startUp(t, env)
	restart := func() *process { return startUp(t, env) } // lives until the whole test ends
	harbour := example(t, "harbour.jpg")
	var score float32

	t.Run("first request computes everything and is traced down to compute", func(t *testing.T) {
		a := post(t, p.url+"/v1/score", "image/jpeg", harbour)
		if a.status != http.StatusOK {
			t.Fatalf("status %d: %+v", a.status, a.problem)
		}
		r := a.score.Results[0]
		score = *r.Score
		if r.Cache.ImageEmbedding != "miss" || r.Image.Width != 640 || r.Image.Format != "jpeg" {
			t.Errorf("result %+v, image %+v, cache %+v", r, r.Image, r.Cache)
		}
		if a.header.Get("X-Request-ID") != a.score.RequestID || a.header.Get("X-Trace-ID") != a.score.TraceID {
			t.Errorf("ids in headers %v differ from those in the body, %s and %s", a.header, a.score.RequestID, a.score.TraceID)
		}
		checkTree(t, p, receiver, a.score.TraceID)
	})

	blackBox(t, p, score)

	t.Run("the client agrees with the protocol of this server", func(t *testing.T) {
		conformance(t, p)
	})

	t.Run("Redis holds the text embeddings", func(t *testing.T) {
		awaitTexts(t, p, redis)
		for _, key := range redis.Keys() {
			if !strings.HasPrefix(key, "agiqa:") {
				t.Errorf("key %q", key)
			}
		}
	})

	t.Run("a restart does not call the text encoder", func(t *testing.T) {
		if textRequests(t, p) == 0 {
			t.Error("the text encoder was never called before")
		}
		p.stop(t, syscall.SIGINT)
		p = restart()
		if got := scoreOf(t, p, harbour); got != score {
			t.Errorf("score %v after the restart, %v before", got, score)
		}
		if n := textRequests(t, p); n != 0 {
			t.Errorf("the text encoder answered %d requests", n)
		}
	})

	t.Run("without Redis nothing changes but speed", func(t *testing.T) {
		redis.Kill()
		for _, name := range []string{"harbour.jpg", "tiles.png"} {
			scoreOf(t, p, example(t, name))
		}
		if got := scoreOf(t, p, harbour); got != score {
			t.Errorf("score %v without Redis, %v with it", got, score)
		}
		eventually(t, "readiness says degraded", func() bool {
			var report gateway.ReadinessReport
			return cli.NewClient(p.url).Get(t.Context(), "/readyz", &report) == nil && report.Status == "degraded"
		})
	})

	t.Run("SIGINT ends all of it", func(t *testing.T) {
		p.stop(t, syscall.SIGINT)
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("exit status %d:\n%s", code, p.stderr())
		}
		checkNothingLeft(t, p)
	})
}

// checkTree asserts the spans of one request that found nothing cached but its
// texts: from the socket to Triton's compute.
func checkTree(t *testing.T, p *process, receiver *otlptest.Receiver, trace string) {
	t.Helper()
	demo := demoCheckpoint(t)
	want := []string{
		"POST /v1/score",
		"POST /v1/score > admission",
		"POST /v1/score > lookup",
		"POST /v1/score > prepare > decode",
		"POST /v1/score > prepare > resize",
		"POST /v1/score > read",
		"POST /v1/score > inspect",
		"POST /v1/score > texts",
		"POST /v1/score > ensemble > inference.GRPCInferenceService/ModelInfer > InferRequest > " + demo.EnsembleModel() +
			" > clip_image_encoder > compute",
		"POST /v1/score > ensemble > inference.GRPCInferenceService/ModelInfer > InferRequest > " + demo.EnsembleModel() +
			" > " + demo.HeadModel() + " > compute",
	}
	missing := func(spans []otlptest.Span) []string {
		var have []string
		for _, s := range spans {
			have = append(have, strings.Join(otlptest.Path(spans, s), " > "))
		}
		return slices.DeleteFunc(slices.Clone(want), func(w string) bool { return slices.Contains(have, w) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	spans, complete := receiver.Await(ctx, trace, func(spans []otlptest.Span) bool { return len(missing(spans)) == 0 })
	if tree := otlptest.Tree(spans); !complete || strings.Contains(tree, "orphan") {
		t.Errorf("trace %s: missing %q in\n%s", trace, missing(spans), tree)
	}
	roots := 0
	for _, s := range spans {
		if s.Parent == "" {
			roots++
		}
		for k, v := range s.Attributes {
			if len(v) > 1024 {
				t.Errorf("span %s: attribute %s is %d bytes long", s.Name, k, len(v))
			}
		}
	}
	if roots != 1 {
		t.Errorf("%d roots:\n%s", roots, otlptest.Tree(spans))
	}
}

func demoCheckpoint(t *testing.T) quality.Checkpoint {
	t.Helper()
	s := testSettings(t)
	lib, err := server.OpenLibrary(s)
	if err != nil {
		t.Fatal(err)
	}
	c, err := lib.Snapshot().Default()
	if err != nil {
		t.Fatal(err)
	}
	return c.Checkpoint
}

// conformance runs the suite that the fake Triton passes against the real one.
func conformance(t *testing.T, p *process) {
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses = []string{p.grpc}
	client, err := tritonclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	encoder, err := client.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Check(t.Context(), encoder); err != nil {
		t.Fatal(err)
	}
	tritontest.Conformance(t, client, encoder, demoCheckpoint(t))
	panel, texts := demoPanel(t, client, encoder)
	tritontest.PanelConformance(t, client, encoder, panel, texts)
}

// demoPanel is the panel of the checkpoints that are shipped for demo's encoder,
// which the server under test makes by itself.
func demoPanel(
	t *testing.T, client *tritonclient.Client, served quality.Encoder,
) (quality.Panel, []quality.TextEmbeddings) {
	t.Helper()
	lib, err := server.OpenLibrary(testSettings(t))
	if err != nil {
		t.Fatal(err)
	}
	var all []quality.Checkpoint
	encoder := demoCheckpoint(t).Encoder
	for _, e := range lib.Snapshot().List() {
		if e.Checkpoint.Encoder == encoder {
			all = append(all, e.Checkpoint)
		}
	}
	slices.SortFunc(all, func(a, b quality.Checkpoint) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	panel, err := quality.NewPanel(scoring.PromptRecipe, all)
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]quality.TextEmbeddings, len(all))
	prompts := scoring.PromptEncoder{Assembler: lib, Encoder: client}
	for i, c := range all {
		if texts[i], err = prompts.EmbedPrompts(t.Context(), served, c); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the panel of all checkpoints",
		func() bool { return client.ReadyEverywhere(t.Context(), panel.Model()) == nil })
	return panel, texts
}

// checkNothingLeft looks for processes and shared memory of p.
func checkNothingLeft(t *testing.T, p *process) {
	t.Helper()
	dir := ""
	for _, e := range p.cmd.Env {
		if v, ok := strings.CutPrefix(e, "AGIQA_DATA_DIR="); ok {
			dir = v
		}
	}
	eventually(t, "no process left: "+strings.Join(family(t, dir), "\n"),
		func() bool { return len(family(t, dir)) == 0 })
	eventually(t, "no shared memory left",
		func() bool { return len(sharedMemory(t, p.cmd.Process.Pid)) == 0 })
}

func TestTritonIsKilledUnderLoad(t *testing.T) {
	p := startUp(t, nil)
	want := scoreOf(t, p, example(t, "tiles.png"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var (
		mu       sync.Mutex
		statuses = map[int]int{}
		bad      []string
		load     sync.WaitGroup
	)
	image := example(t, "tiles.png")
	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				a := post(t, p.url+"/v1/score", "image/png", image)
				mu.Lock()
				statuses[a.status]++
				switch {
				case a.status == http.StatusOK && *a.score.Results[0].Score != want:
					bad = append(bad, "another score")
				case a.status == http.StatusServiceUnavailable &&
					(a.header.Get("Retry-After") == "" || a.problem.Code != quality.KindModelUnavailable || !a.problem.Retryable):
					bad = append(bad, "503 without advice: "+a.problem.Detail)
				case a.status != http.StatusOK && a.status != http.StatusServiceUnavailable:
					bad = append(bad, a.problem.Error())
				}
				mu.Unlock()
			}
		})
	}
	count := func(status int) int {
		mu.Lock()
		defer mu.Unlock()
		return statuses[status]
	}
	eventually(t, "answers before the kill", func() bool { return count(200) > 20 })
	if err := syscall.Kill(p.tritonPID(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "503 while Triton is gone", func() bool { return count(503) > 0 })
	before := count(200)
	eventually(t, "200 again", func() bool { return count(200) > before+20 })
	cancel()
	load.Wait()
	if len(bad) > 0 {
		t.Errorf("%d bad answers, the first: %s (statuses %v)", len(bad), bad[0], statuses)
	}
}

func TestNothingOutlivesAKilledProgram(t *testing.T) {
	p := startUp(t, nil)
	scoreOf(t, p, example(t, "tiles.png"))
	if len(sharedMemory(t, p.cmd.Process.Pid)) == 0 || len(runProcesses(t, p)) < 3 {
		t.Error("no shared memory, or fewer than three processes, while it runs: the checks below would prove nothing")
	}
	p.stop(t, syscall.SIGKILL)
	eventually(t, "no tritonserver or stub left", func() bool { return len(runProcesses(t, p)) == 0 })
	startUp(t, nil)
	if left := sharedMemory(t, p.cmd.Process.Pid); len(left) > 0 {
		t.Errorf("shared memory %v is left after the next start", left)
	}
}

// runProcesses returns the processes of p's embedded Triton. Their command
// lines name the run.
func runProcesses(t *testing.T, p *process) []string {
	t.Helper()
	return family(t, fmt.Sprintf("/agiqa_%d_", p.cmd.Process.Pid))
}
