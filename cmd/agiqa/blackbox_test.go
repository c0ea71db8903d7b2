package main

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agiqa/agiqa/cache/redistest"
	"github.com/agiqa/agiqa/experiment/postgrestest"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/quality"
)

// blackBox holds what answers at p.url against what clients are promised: one
// server, or several behind a balancer. score is harbour.jpg's.
func blackBox(t *testing.T, p *process, score float32) {
	t.Helper()
	harbour := example(t, "harbour.jpg")

	t.Run("three body forms, one score", func(t *testing.T) {
		contentType, form := multipartBody(t, harbour)
		for _, body := range []struct {
			contentType string
			data        []byte
		}{{"image/jpeg", harbour}, {contentType, form}, {"application/json", jsonBody(t, harbour)}} {
			a := post(t, p.url+"/v1/score", body.contentType, body.data)
			if a.status != http.StatusOK || *a.score.Results[0].Score != score ||
				a.score.Results[0].Cache.ImageEmbedding != "hit" {
				t.Errorf("%s: status %d, %+v, want the score %v from the cache", body.contentType, a.status, a.score.Results, score)
			}
		}
	})

	t.Run("the document is served, and its examples are scored", func(t *testing.T) {
		wantServesItsDocument(t, p)
	})

	t.Run("the head alone agrees with the ensemble", func(t *testing.T) {
		a := post(t, p.url+"/v1/compare", "image/jpeg", harbour)
		if a.status != http.StatusOK || len(a.score.Results[0].Scores) != 2 {
			t.Fatalf("status %d: %+v, want both demo checkpoints", a.status, a.score)
		}
		demo, shared := a.score.Results[0].Scores[0], a.score.Results[0].Scores[1]
		if demo.Error != nil || shared.Error != nil {
			t.Fatalf("scores %+v and %+v", demo, shared)
		}
		if got := *demo.Score; demo.Checkpoint.Name != "demo" || math.Abs(float64(got-score)) > 1e-5 {
			t.Errorf("score by the head of %s is %v, by the ensemble of demo %v", demo.Checkpoint.Name, got, score)
		}
		if shared.Checkpoint.Name != "demo-shared" || *shared.Score == *demo.Score {
			t.Errorf("%s scores %v, demo %v", shared.Checkpoint.Name, *shared.Score, *demo.Score)
		}
	})

	t.Run("a strong blur lowers the score", func(t *testing.T) {
		if blurred := scoreOf(t, p, example(t, "harbour-blurred.jpg")); blurred >= score {
			t.Errorf("blurred %v, clean %v", blurred, score)
		}
	})

	t.Run("what can't be scored is said", func(t *testing.T) {
		for _, c := range []struct {
			query, contentType string
			body               []byte
			status             int
			code               quality.Kind
		}{
			{"?checkpoint=absent", "image/jpeg", harbour, http.StatusNotFound, quality.KindCheckpointNotFound},
			{"?checkpont=demo", "image/jpeg", harbour, http.StatusBadRequest, quality.KindUnknownField},
			{"", "image/jpeg", harbour[:len(harbour)/2], http.StatusUnprocessableEntity, quality.KindImageTruncated},
			{"", "text/html", []byte("<html>"), http.StatusUnsupportedMediaType, quality.KindUnsupportedMediaType},
		} {
			a := post(t, p.url+"/v1/score"+c.query, c.contentType, c.body)
			if a.status != c.status || a.problem.Code != c.code {
				t.Errorf("%s, %s: %d %s, want %d %s", c.query, c.contentType, a.status, a.problem.Code, c.status, c.code)
			}
		}
	})

	t.Run("scores do not depend on who answers", func(t *testing.T) {
		seen := map[float32]bool{}
		for range 12 {
			seen[scoreOf(t, p, harbour)] = true
		}
		if len(seen) != 1 || !seen[score] {
			t.Errorf("scores %v, want %v", seen, score)
		}
	})
}

// balanced starts haproxy with the project's configuration before gateways that
// run here instead of in compose's network, and returns its address.
func balanced(t *testing.T, gateways map[string]string) string {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		program = "/usr/sbin/haproxy" // not on everybody's PATH
	}
	content, err := os.ReadFile(filepath.Join(repository, "deploy", "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	var servers strings.Builder
	for address, operations := range gateways {
		port := operations[strings.LastIndex(operations, ":")+1:]
		fmt.Fprintf(&servers, "  server %s %s check port %s\n", strings.ReplaceAll(address, ":", "-"), address, port)
	}
	address := ""
	proctest.OnFreePort(t, func(port int) error {
		address = fmt.Sprintf("127.0.0.1:%d", port)
		text := string(content)
		for pattern, with := range map[string]string{
			`(?m)^  bind :8080$`:             "  bind " + address,
			`(?m)^  bind 127.0.0.1:8404$`:    fmt.Sprintf("  bind 127.0.0.1:%d", proctest.FreePort(t)),
			`(?m)^  server-template .*\n`:    servers.String(),
			`(?ms)^resolvers docker.*?^\s*$`: "",
		} {
			line := regexp.MustCompile(pattern)
			if n := len(line.FindAllString(text, -1)); n != 1 {
				t.Fatalf("haproxy.cfg has %d lines like %s, want one", n, pattern)
			}
			text = line.ReplaceAllLiteralString(text, with)
		}
		file := filepath.Join(t.TempDir(), "haproxy.cfg")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		// Its notices say when it is there.
		process, err := proctest.Start(exec.Command(program, "-W", "-db", "-f", file), "Loading success", 20*time.Second)
		if err == nil {
			t.Cleanup(process.Kill)
		}
		return err
	})
	return address
}

// TestThreeGateways: what compose.several.yml runs, as processes: three gateways
// without a folder in common, one Triton, Redis and PostgreSQL, behind haproxy.
// Clients see one service.
func TestThreeGateways(t *testing.T) {
	needsTriton(t)
	redis, postgres := redistest.Start(t), postgrestest.Start(t)
	triton := startUp(t, nil)
	harbour := example(t, "harbour.jpg")
	want := scoreOf(t, triton, harbour)

	store := postgres.URL() // a database of its own for each call
	gateways := map[string]string{}
	var processes []*process
	for range 3 {
		operations := fmt.Sprintf("127.0.0.1:%d", proctest.FreePort(t))
		p := startServe(t, []string{
			"AGIQA_DATA_DIR=" + t.TempDir(), "AGIQA_ADMIN_KEY=" + testAdminKey, "AGIQA_CACHE_KEY=0123456789abcdef",
			"AGIQA_EXPERIMENT_KEY=fedcba9876543210", "AGIQA_REDIS_URL=" + redis.URL(),
			"AGIQA_EXPERIMENT_STORE=" + store, "AGIQA_OPERATIONS_LISTEN=" + operations,
			"AGIQA_TRUSTED_PROXIES=127.0.0.0/8", "AGIQA_SCORING_ACCESS=open", "AGIQA_ALLOWED_HOSTS=*",
			"AGIQA_DRAIN_DELAY=2s",
		}, triton.grpc)
		processes = append(processes, p)
		gateways[strings.TrimPrefix(p.url, "http://")] = operations
	}
	p := &process{url: "http://" + balanced(t, gateways)}
	eventually(t, "the balancer finds gateways", func() bool {
		return statusOf(t, p, "/healthz", "") == http.StatusOK
	})
	scoreOf(t, p, harbour) // what the first one computes, the others find in Redis
	eventually(t, "the embedding is in Redis", func() bool {
		for _, q := range processes {
			a := post(t, q.url+"/v1/score", "image/jpeg", harbour)
			if a.status != http.StatusOK || a.score.Results[0].Cache.ImageEmbedding != "hit" {
				return false
			}
		}
		return true
	})
	blackBox(t, p, want)

	client := []string{"AGIQA_DATA_DIR=" + t.TempDir(), "AGIQA_URL=" + p.url, "AGIQA_ADMIN_KEY=" + testAdminKey}
	t.Run("a key is one of all gateways", func(t *testing.T) {
		out, errs, status := runCommand(t, client, nil, "key", "create", "shop", "--scopes", "read")
		key := strings.TrimSpace(out)
		if status != 0 {
			t.Fatalf("status %d: %s", status, errs)
		}
		for _, q := range processes {
			if got := statusOf(t, q, "/v1/experiments", key); got != http.StatusOK {
				t.Errorf("%s answers %d to the new key", q.url, got)
			}
		}
		id := strings.Split(key, "_")[1]
		if _, errs, status := runCommand(t, client, nil, "key", "revoke", id, "--yes"); status != 0 {
			t.Fatalf("status %d: %s", status, errs)
		}
		eventually(t, "all of them refuse it", func() bool {
			for _, q := range processes {
				if statusOf(t, q, "/v1/experiments", key) != http.StatusUnauthorized {
					return false
				}
			}
			return true
		})
	})

	t.Run("what is imported into one is on all", func(t *testing.T) {
		one := newSpecimen(t, triton, "one", 1, 2)
		head, models := one.bundle.Checkpoint().HeadModel(), tritonOf(t, triton)
		callers := startCallers(t, p, 2)
		everywhere := func(name string) func() bool {
			return func() bool {
				return !slices.ContainsFunc(processes, func(q *process) bool { return scoreAs(t, q, "", harbour).name != name })
			}
		}
		agiqa(t, client, "checkpoint", "import", one.dir, "--activate")
		eventually(t, "all of them score by it", everywhere("one"))
		for _, q := range append(slices.Clone(processes), p) {
			if got := scoreAs(t, q, "", harbour); !near(got.score, one.score(t, got.embedding)) {
				t.Errorf("%s scores %v", q.url, got.score)
			}
		}
		agiqa(t, client, "checkpoint", "deactivate")
		eventually(t, "none of them scores by it", everywhere("demo"))
		agiqa(t, client, "checkpoint", "remove", "one", "--yes")
		eventually(t, "none of them knows it", func() bool {
			return !slices.ContainsFunc(processes, func(q *process) bool {
				return post(t, q.url+"/v1/score?checkpoint=one", "image/jpeg", harbour).status != http.StatusNotFound
			})
		})
		eventually(t, "Triton has its memory back", func() bool {
			return models.ModelReady(t.Context(), head) != nil
		})
		callers.end()
		if len(callers.failed) > 0 {
			t.Errorf("%d requests failed, the first: %s", len(callers.failed), callers.failed[0])
		}
	})

	t.Run("an experiment assigns a unit to one arm everywhere", func(t *testing.T) {
		definition := filepath.Join(t.TempDir(), "experiment.yaml")
		mustDo(t, os.WriteFile(definition, []byte("id: several\nunit: image_sha256\narms: [{checkpoint: demo}, "+
			"{checkpoint: demo-shared}]\n"), 0o600))
		for _, args := range [][]string{{"create", definition}, {"start", "several"}} {
			if _, errs, status := runCommand(t, client, nil, append([]string{"experiment"}, args...)...); status != 0 {
				t.Fatalf("experiment %s: status %d: %s", args[0], status, errs)
			}
		}
		arm := func(q *process, image []byte) string {
			a := post(t, q.url+"/v1/score", "image/png", image)
			if a.status != http.StatusOK || a.score.Results[0].Experiment == nil {
				return ""
			}
			return a.score.Results[0].Experiment.Arm
		}
		eventually(t, "all of them run it", func() bool {
			for _, q := range processes {
				if arm(q, plain(1)) == "" {
					return false
				}
			}
			return true
		})
		seen := map[string]bool{}
		for n := range 12 {
			first := arm(processes[0], plain(100+n))
			seen[first] = true
			for _, q := range processes[1:] {
				if other := arm(q, plain(100+n)); other != first {
					t.Errorf("image %d is in arm %q at one gateway, in %q at another", n, first, other)
				}
			}
		}
		if len(seen) != 2 {
			t.Errorf("arms %v, want both", seen)
		}
	})

	t.Run("one of them goes and nobody notices", func(t *testing.T) {
		callers := startCallers(t, p, 4)
		callers.more(t, 10)
		processes[0].stop(t, syscall.SIGTERM)
		callers.more(t, 10)
		callers.end()
		if len(callers.failed) > 0 {
			t.Errorf("%d requests failed, the first: %s", len(callers.failed), callers.failed[0])
		}
	})
}
