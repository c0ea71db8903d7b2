package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
)

// tritonOf is a client of the Triton behind p.
func tritonOf(t *testing.T, p *process) *tritonclient.Client {
	t.Helper()
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses = []string{p.grpc}
	client, err := tritonclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// specimen is a bundle for the encoder of a running server, with what is needed
// to compute its scores here.
type specimen struct {
	bundle *checkpoint.Bundle
	text   quality.TextEmbeddings
	dir    string
}

// newSpecimen writes a bundle of random numbers; golden is how many cases it
// has.
func newSpecimen(t *testing.T, p *process, name string, seed uint64, golden int) specimen {
	t.Helper()
	return specimenFor(t, tritonOf(t, p), name, seed, golden)
}

// specimenFor is newSpecimen for the encoder that a client reaches.
func specimenFor(t *testing.T, client *tritonclient.Client, name string, seed uint64, golden int) specimen {
	t.Helper()
	enc, err := client.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	draft := checkpointtest.New(enc, name, seed)
	embeddings, err := client.EncodePrompts(t.Context(), enc, draft.Prompts(t))
	if err != nil {
		t.Fatal(err)
	}
	s := specimen{text: quality.TextEmbeddings(embeddings), dir: filepath.Join(t.TempDir(), name)}
	draft.AddGolden(t, golden, s.text)
	manifest, weights := draft.Files(t)
	limits := checkpoint.DefaultLimits()
	limits.NoGolden = true
	if s.bundle, err = checkpoint.Decode(manifest, weights, limits); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{checkpoint.ManifestFile: manifest, checkpoint.WeightsFile: weights} {
		if err := os.WriteFile(filepath.Join(s.dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// score computes what the checkpoint says of an embedding.
func (s specimen) score(t *testing.T, image quality.Embedding) float64 {
	t.Helper()
	j, err := s.bundle.Head().Score(image, s.text)
	if err != nil {
		t.Fatal(err)
	}
	return float64(j.Score)
}

// imageAnswer is one answer of a running server.
type imageAnswer struct {
	name      string
	score     float64
	embedding quality.Embedding
}

func scoreAs(t *testing.T, p *process, query string, image []byte) imageAnswer {
	t.Helper()
	a := post(t, p.url+"/v1/score?include=embedding"+query, "application/octet-stream", image)
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %+v", a.status, a.problem)
	}
	r := a.score.Results[0]
	return imageAnswer{r.Checkpoint.Name, float64(*r.Score), r.Embedding}
}

// agiqa runs a client command that must go well and prints one JSON document.
func agiqa(t *testing.T, env []string, args ...string) map[string]any {
	t.Helper()
	out, errs, status := runCommand(t, env, nil, append(args, "--json")...)
	if status != 0 {
		t.Fatalf("agiqa %v: exit status %d: %s", args, status, errs)
	}
	return jsonLines(t, out)[0]
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-4 }

// TestCheckpointsOfARunningServer takes a checkpoint through its life on the
// real Triton, in both ways to bring its head there.
func TestCheckpointsOfARunningServer(t *testing.T) {
	for _, mode := range []string{"shared", "upload"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel() // mostly waiting
			data := t.TempDir()
			env := []string{"AGIQA_DATA_DIR=" + data, "AGIQA_MODEL_UPLOAD=" + mode}
			restart := func() *process { return startUp(t, env) } // lives until the whole test ends
			p := restart()
			client := append(slices.Clone(env), "AGIQA_URL="+p.url)
			harbour, tiles := example(t, "harbour.jpg"), example(t, "tiles.png")
			before := scoreAs(t, p, "", harbour)
			one := newSpecimen(t, p, "one", 1, 4)
			two := newSpecimen(t, p, "two", 2, 0) // the server makes golden cases of its own

			report := agiqa(t, client, "checkpoint", "import", one.dir)
			if report["default"] != "demo" || report["golden"] != 4.0 || report["known"] != false {
				t.Errorf("report %v", report)
			}
			if again := agiqa(t, client, "checkpoint", "import", one.dir); again["known"] != true {
				t.Errorf("report of a second import %v", again)
			}
			if got := scoreAs(t, p, "", harbour); got.name != "demo" || got.score != before.score {
				t.Errorf("the default gave %v by %s, %v by demo before", got.score, got.name, before.score)
			}
			for _, image := range [][]byte{harbour, tiles} { // a cached embedding, and a fresh image
				got := scoreAs(t, p, "&checkpoint=one", image)
				if want := one.score(t, got.embedding); got.name != "one" || !near(got.score, want) {
					t.Errorf("%s scored %v, want %v by one", got.name, got.score, want)
				}
			}
			if report := agiqa(t, client, "checkpoint", "import", two.dir, "--name", "second",
				"--activate"); report["default"] != "second" || report["previous"] != "demo" {
				t.Errorf("report %v", report)
			}
			if got := scoreAs(t, p, "", harbour); got.name != "second" || !near(got.score, two.score(t, got.embedding)) {
				t.Errorf("the new default is %s and scored %v", got.name, got.score)
			}
			if d := agiqa(t, client, "checkpoint", "diff", "one", "second"); d["same"] != false ||
				len(d["tensors"].([]any)) != 5 {
				t.Errorf("diff %v", d)
			}

			t.Run("a Triton that died gets them back", func(t *testing.T) {
				if err := syscall.Kill(p.tritonPID(t), syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				for _, s := range []struct {
					name string
					specimen
				}{{"one", one}, {"second", two}} {
					eventually(t, s.name+" scores again", func() bool {
						a := post(t, p.url+"/v1/score?include=embedding&checkpoint="+s.name, "image/jpeg", harbour)
						return a.status == http.StatusOK &&
							near(float64(*a.score.Results[0].Score), s.score(t, a.score.Results[0].Embedding))
					})
				}
			})

			t.Run("a restart keeps them and the default", func(t *testing.T) {
				p.stop(t, syscall.SIGTERM)
				p = restart()
				client = append(slices.Clone(env), "AGIQA_URL="+p.url)
				if got := scoreAs(t, p, "", harbour); got.name != "second" || !near(got.score, two.score(t, got.embedding)) {
					t.Errorf("the default is %s and scored %v", got.name, got.score)
				}
				eventually(t, "one scores", func() bool {
					return post(t, p.url+"/v1/score?checkpoint=one", "image/jpeg", harbour).status == http.StatusOK
				})
			})

			t.Run("back, and out", func(t *testing.T) {
				if _, errs, status := runCommand(t, client, nil, "checkpoint", "remove", "--yes", "second"); status == 0 ||
					!strings.Contains(errs, "is the default") {
					t.Errorf("removal of the default: status %d, %s", status, errs)
				}
				if _, errs, status := runCommand(t, client, nil, "checkpoint", "remove", "--yes", "demo"); status == 0 ||
					!strings.Contains(errs, "shipped") {
					t.Errorf("removal of a shipped one: status %d, %s", status, errs)
				}
				if c := agiqa(t, client, "checkpoint", "deactivate"); c["default"] != "demo" || c["default_before"] != "second" {
					t.Errorf("change %v", c)
				}
				if got := scoreAs(t, p, "", harbour); got.name != "demo" || got.score != before.score {
					t.Errorf("%s scored %v, want %v by demo", got.name, got.score, before.score)
				}
				for _, name := range []string{"one", "second"} {
					agiqa(t, client, "checkpoint", "remove", "--yes", name)
				}
				if a := post(t, p.url+"/v1/score?checkpoint=one", "image/jpeg",
					harbour); a.problem.Code != quality.KindCheckpointNotFound {
					t.Errorf("a removed checkpoint: %d %+v", a.status, a.problem)
				}
				triton := tritonOf(t, p)
				for _, s := range []specimen{one, two} {
					if err := triton.ModelReady(t.Context(), s.bundle.Checkpoint().HeadModel()); err == nil {
						t.Errorf("%s is still loaded", s.bundle.Checkpoint().HeadModel())
					}
				}
				if left := leftovers(t, data); len(left) > 0 {
					t.Errorf("left in the data folder: %v", left)
				}
				eventually(t, "no panel but that of the shipped checkpoints",
					func() bool { return len(panels(t, data)) <= 1 })
			})
		})
	}
}

// panels lists the panels on the disk, which come and go beside the changes.
func panels(t *testing.T, data string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(data, "model_repository", "prompt_panel_*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// leftovers lists what imports keep on the disk.
func leftovers(t *testing.T, data string) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"checkpoints/*/*", "checkpoints/.work/*",
		"model_repository/*", "model_repository/.*"} {
		names, err := filepath.Glob(filepath.Join(data, pattern))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, names...)
	}
	made := panels(t, data)
	return slices.DeleteFunc(found, func(name string) bool { return slices.Contains(made, name) })
}

// TestActivationsUnderLoad switches the default fifty times while clients
// score: no request fails, and no answer names one checkpoint and carries
// another's score.
func TestActivationsUnderLoad(t *testing.T) {
	data := t.TempDir()
	env := []string{"AGIQA_DATA_DIR=" + data}
	p := startUp(t, env)
	one := newSpecimen(t, p, "one", 1, 2)
	agiqa(t, append(env, "AGIQA_URL="+p.url), "checkpoint", "import", one.dir)
	harbour := example(t, "harbour.jpg")
	want := map[string]float64{"demo": scoreAs(t, p, "&checkpoint=demo", harbour).score,
		"one": scoreAs(t, p, "&checkpoint=one", harbour).score}
	if near(want["demo"], want["one"]) {
		t.Fatalf("both checkpoints score %v", want)
	}
	key, err := os.ReadFile(filepath.Join(data, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	stop := make(chan struct{})
	counts := make([]map[string]int, 4)
	for i := range counts {
		counts[i] = map[string]int{}
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := http.Post(p.url+"/v1/score", "image/jpeg", strings.NewReader(string(harbour)))
				if err != nil {
					t.Errorf("request: %v", err)
					return
				}
				var body gateway.ScoreResponse
				err = json.NewDecoder(res.Body).Decode(&body)
				res.Body.Close()
				if err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("status %d, %v", res.StatusCode, err)
					return
				}
				name, score := body.Results[0].Checkpoint.Name, float64(*body.Results[0].Score)
				if !near(score, want[name]) {
					t.Errorf("an answer names %s, which scores %v, and carries %v", name, want[name], score)
				}
				counts[i][name]++
			}
		})
	}
	for i := range 50 {
		name := []string{"one", "demo"}[i%2]
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/v1/checkpoints/"+name+"/activate", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("activation %d: status %d", i, res.StatusCode)
		}
	}
	close(stop)
	clients.Wait()
	total := map[string]int{}
	for _, c := range counts {
		for name, n := range c {
			total[name] += n
		}
	}
	if total["one"] == 0 || total["demo"] == 0 {
		t.Errorf("answers by checkpoint: %v, want some of each", total)
	}
	if got := len(p.records("checkpoints changed")); got != 51 {
		t.Errorf("%d audit lines, want one import and fifty activations", got)
	}
}

// TestAdminKey: what up makes is for this user alone, and the routes want it.
func TestAdminKey(t *testing.T) {
	data := t.TempDir()
	p := startUp(t, []string{"AGIQA_DATA_DIR=" + data})
	info, err := os.Stat(filepath.Join(data, "admin.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("admin.key: %v, %v", info, err)
	}
	res, err := http.Post(p.url+"/v1/checkpoints", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("without a key: status %d, %v", res.StatusCode, res.Header)
	}
	env := []string{"AGIQA_DATA_DIR=" + t.TempDir(), "AGIQA_URL=" + p.url}
	if _, errs, status := runCommand(t, env, nil, "checkpoint", "activate", "demo"); status != 1 ||
		!strings.Contains(errs, "AGIQA_ADMIN_KEY") {
		t.Errorf("no key anywhere: status %d, %s", status, errs)
	}
	env = append(env, "AGIQA_ADMIN_KEY=not-the-key-of-this-server")
	if _, errs, status := runCommand(t, env, nil, "checkpoint", "activate", "demo"); status != 1 ||
		!strings.Contains(errs, "doesn't know the key") {
		t.Errorf("a wrong key: status %d, %s", status, errs)
	}
	if key := strings.TrimSpace(string(mustRead(t, filepath.Join(data, "admin.key")))); strings.Contains(p.stderr(), key) {
		t.Error("the key is in the log")
	}
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", name, err))
	}
	return raw
}
