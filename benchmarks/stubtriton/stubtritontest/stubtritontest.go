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
	address, stop, ended := Serve(t, cfg)
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return address
}

// Serve is Start for tests of how a stub ends: after stop, at the latest when the
// test does, or by itself. What Serve returned then is in ended.
func Serve(t testing.TB, cfg stubtriton.Config) (address string, stop func(), ended <-chan error) {
	t.Helper()
	s, err := stubtriton.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	result := make(chan error, 1)
	go func() { result <- s.Serve(ctx, l) }()
	return l.Addr().String(), cancel, result
}
