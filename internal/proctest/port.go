package proctest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
)

// portAttempts is how often another port is tried when somebody took the one that
// was free.
const portAttempts = 5

// The ports that FreePort gives. The kernel takes those of outgoing connections and
// of listeners on port 0 from 32768 on, or from 49152: a port of a server that is
// about to start, or is down for a moment, would now and then be taken by somebody who
// asked for none.
const (
	firstPort = 20_000
	ports     = 12_000
)

// given counts the ports that this process tried, from a place that is another one in
// every process.
var given atomic.Uint32

func init() { given.Store(rand.Uint32N(ports)) }

// OnFreePort calls launch with a loopback port that was free a moment ago, again with
// another one when that fails, and fails the test when nothing helps.
func OnFreePort(t testing.TB, launch func(port int) error) {
	t.Helper()
	for attempt := 1; ; attempt++ {
		err := launch(FreePort(t))
		if err == nil {
			return
		}
		if attempt == portAttempts {
			t.Fatal(err)
		}
	}
}

// FreePort returns a loopback port on which nobody listened a moment ago, another one
// each time.
func FreePort(t testing.TB) int {
	t.Helper()
	var err error
	for range ports {
		port := firstPort + int(given.Add(1)%ports)
		var l net.Listener
		if l, err = net.Listen("tcp", Loopback(port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatalf("finding a free port: %v", err)
	return 0
}

// Loopback is the address of a loopback port.
func Loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
