package main

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/agiqa/agiqa/benchmarks/stubtriton"
)

// stubTriton runs a stub of the project's models until the test ends.
func stubTriton(t *testing.T) (address string) {
	t.Helper()
	cfg := stubtriton.DefaultConfig()
	cfg.Repository = filepath.Join(repository, "model_repository")
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

func TestBenchTriton(t *testing.T) {
	t.Parallel()
	address := stubTriton(t)
	for _, model := range []string{"image-encoder", "head", "ensemble"} {
		out, errs, status := runCommand(t, nil, nil, "bench", "triton", "--triton", address, "--model", model, "--batch", "2",
			"--rate", "50", "--duration", "200ms", "--connections", "4", "--json")
		if status != 0 || errs != "" {
			t.Fatalf("%s: status %d, %s", model, status, errs)
		}
		doc := jsonLines(t, out)[0]
		items := 0.0
		for _, u := range doc["triton"].([]any) {
			if n := u.(map[string]any)["items"].(float64); n == 20 {
				items = n
			}
		}
		if doc["scheduled"] != 10.0 || doc["completed"] != 10.0 || items != 20 {
			t.Errorf("%s: %s", model, out)
		}
	}
	for _, args := range [][]string{
		{}, {"--triton", "192.0.2.1:8001"}, {"--triton", address, "--model", "oracle"}, {"--triton", address, "--batch", "0"},
		{"--triton", address, "--checkpoint", "../demo"}, {"--triton", address, "--checkpoint", "nobody"},
	} {
		if _, errs, status := runCommand(t, nil, nil, append([]string{"bench", "triton"}, args...)...); status != 1 || errs == "" {
			t.Errorf("%v: status %d, %q", args, status, errs)
		}
	}
}
