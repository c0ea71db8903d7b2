package main

import (
	"net/http"
	"syscall"
	"testing"
	"time"
)

// TestUpRestartsAHungTriton freezes a real tritonserver: /readyz is red within
// five seconds, requests are refused in seconds and not at their deadline, the
// process is restarted, and scores are what they were.
func TestUpRestartsAHungTriton(t *testing.T) {
	p := startUp(t, []string{"AGIQA_IMAGE_CACHE_BYTES=0"})
	image := example(t, "harbour.jpg")
	want := scoreOf(t, p, image)
	pid := p.tritonPID(t)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	type told struct {
		status int
		retry  string
		took   time.Duration
	}
	answers := make(chan told)
	go func() {
		a := post(t, p.url+"/v1/score", "image/jpeg", image)
		answers <- told{a.status, a.header.Get("Retry-After"), time.Since(frozen)}
	}()
	ready := func() bool {
		res, err := http.Get(p.url + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	}
	eventually(t, "/readyz is red", func() bool { return !ready() })
	red := time.Since(frozen)
	a := <-answers
	t.Logf("/readyz was red after %s, a request was told %d after %s", red, a.status, a.took)
	if red > 5*time.Second {
		t.Errorf("/readyz was red after %s, want at most 5s", red)
	}
	if a.status != http.StatusServiceUnavailable || a.retry == "" || a.took > 7*time.Second {
		t.Errorf("status %d with Retry-After %q after %s, want 503 in a few seconds", a.status, a.retry, a.took)
	}
	begun := time.Now()
	if a := post(t, p.url+"/v1/score", "image/jpeg", image); a.status != http.StatusServiceUnavailable {
		t.Errorf("status %d: %+v, want 503", a.status, a.problem)
	}
	if took := time.Since(begun); took > 2*time.Second { // a server has to be silent for three before it is given up
		t.Errorf("the next request was refused after %s, want at once", took)
	}
	eventually(t, "triton is restarted", func() bool { return p.tritonPID(t) != pid && ready() })
	t.Logf("restarted after %s", time.Since(frozen))
	if got := scoreOf(t, p, image); got != want {
		t.Errorf("score %v after the restart, want %v", got, want)
	}
}
