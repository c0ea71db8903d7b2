package main

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/agiqa/agiqa/tritonclient"
)

// startServe starts a gateway alone, against the Tritons at addresses.
func startServe(t *testing.T, env []string, addresses ...string) *process {
	t.Helper()
	p := startListening(t, env, addresses...)
	eventually(t, "serve is ready", func() bool { return len(p.records("ready")) > 0 })
	return p
}

// startListening is startServe where there need be no Triton.
func startListening(t *testing.T, env []string, addresses ...string) *process {
	t.Helper()
	p := &process{done: make(chan struct{})}
	env = append([]string{"AGIQA_DRAIN_DELAY=0s"}, env...)
	p.cmd = command(t, env, "serve", "--listen", "127.0.0.1:0", "--triton", strings.Join(addresses, ","))
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var streams sync.WaitGroup
	streams.Go(func() { p.readLog(stderr) })
	go func() { streams.Wait(); _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() { p.stop(t, syscall.SIGTERM) })
	eventually(t, "serve listens", func() bool { return len(p.records("listening")) > 0 })
	p.url = p.records("listening")[0]["address"].(string)
	return p
}

// TestCheckpointsOnTwoTritons: a gateway that shares no disk with its two real
// Tritons imports into both; one of them dies and gets back what it had.
func TestCheckpointsOnTwoTritons(t *testing.T) {
	needsTriton(t)
	a := startUp(t, []string{"AGIQA_IMAGE_CACHE_BYTES=0"})
	b := startUp(t, []string{"AGIQA_IMAGE_CACHE_BYTES=0"})
	env := []string{"AGIQA_DATA_DIR=" + t.TempDir(), "AGIQA_ADMIN_KEY=a-key-for-this-test", "AGIQA_IMAGE_CACHE_BYTES=0"}
	p := startServe(t, env, a.grpc, b.grpc)
	one := newSpecimen(t, a, "one", 1, 2)
	report := agiqa(t, append(env, "AGIQA_URL="+p.url), "checkpoint", "import", one.dir, "--activate")
	if report["default"] != "one" || report["golden"] != 2.0 {
		t.Errorf("report %v", report)
	}
	head := one.bundle.Checkpoint().HeadModel()
	clients := map[*process]*tritonclient.Client{a: tritonOf(t, a), b: tritonOf(t, b)}
	for q, client := range clients {
		if err := client.ModelReady(t.Context(), head); err != nil {
			t.Errorf("%s: %v", q.grpc, err)
		}
	}
	harbour := example(t, "harbour.jpg")
	for range 4 { // two for each
		if got := scoreAs(t, p, "", harbour); got.name != "one" || !near(got.score, one.score(t, got.embedding)) {
			t.Errorf("%s scored %v", got.name, got.score)
		}
	}
	if err := syscall.Kill(b.tritonPID(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// From the moment that it is dead the other one answers.
	eventually(t, "an answer by the other", func() bool {
		return post(t, p.url+"/v1/score", "image/jpeg", harbour).status == http.StatusOK
	})
	eventually(t, "the head is back",
		func() bool { return clients[b].ModelReady(t.Context(), head) == nil })
	eventually(t, "the log says so", func() bool { return len(p.records("checkpoint loaded again")) > 0 })
}
