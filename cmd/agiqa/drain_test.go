package main

import (
	"net/http"
	"syscall"
	"testing"
	"time"
)

// TestDrainDelay: until load balancers have noticed that /readyz is red, what
// they send is answered.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	p := startUp(t, nil, "--drain-delay", "5s")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ready := func() int {
		res, err := http.Get(p.url + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ready() != http.StatusServiceUnavailable {
		<-tick.C
	}
	if a := post(t, p.url+"/v1/score", "image/jpeg", example(t, "harbour.jpg")); a.status != http.StatusOK {
		t.Errorf("status %d, %+v", a.status, a.problem)
	}
	<-p.done
	if status := p.cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("exit status %d: %s", status, p.stderr())
	}
}
