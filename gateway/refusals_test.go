package gateway_test

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// Refusals by the thousand are a few lines in the log; metrics have them all.
func TestRefusalsAreLoggedBySample(t *testing.T) {
	r := newRig(t, func(p *plan) {
		p.pressure = func() bool { return true }
		p.gateway.AdminKey = adminKey
	})
	const each = 100
	onFakeTime(t, r, func(t *testing.T, dial func() net.Conn) {
		for range each {
			for path, kind := range map[string]quality.Kind{
				"/v1/score": quality.KindOverloaded, "/v1/checkpoints/-/rollback": quality.KindUnauthenticated,
			} {
				replies, _, _ := exchange(t, dial(), "POST "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				replies[0].wantProblem(t, kind)
			}
			time.Sleep(25 * time.Millisecond) // 2.5 s in all
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
	})
	lines, counted := map[any]int{}, map[any]float64{}
	for _, l := range r.logs.lines(t) {
		if l["level"] != "WARN" {
			t.Errorf("level %v, want WARN: %v", l["level"], l)
		}
		if l["msg"] == "request" {
			lines[l["code"]]++
			counted[l["code"]]++
		} else {
			counted[l["code"]] += l["count"].(float64)
		}
	}
	for _, kind := range []string{"overloaded", "unauthenticated"} {
		if lines[kind] != 3 || counted[kind] != each {
			t.Errorf("%s: %d lines that tell of %v requests, want 3 and %d", kind, lines[kind], counted[kind], each)
		}
		if got := r.values("agiqa.problems")["reason="+kind]; got != each {
			t.Errorf("agiqa.problems{%s} is %d, want %d", kind, got, each)
		}
	}
}
