// Package stubtritontest runs a stub Triton for a test.
package stubtritontest

import (
	"context"
	"net"
	"testing"

	"github.com/agiqa/agiqa/benchmarks/stubtriton"
)

// Start serves a stub on a free loopback port until the test ends, and returns its
// address, host:port.
func Start(t testing.TB, cfg stubtriton.Config) string {
	t.Helper()
	s, err := stubtriton.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}
