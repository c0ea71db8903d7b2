package load_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/benchmarks/load"
)

// counted is a backend that did so much, whatever was asked.
type counted struct {
	behind    load.Behind
	err, late error
}

func (c counted) Watch(context.Context) (func(context.Context) (load.Behind, error), error) {
	return func(ctx context.Context) (load.Behind, error) { return c.behind, errors.Join(c.late, ctx.Err()) }, c.err
}

// TestSplit has answers that spent 4 ms in encode and 2 ms in head, every
// second one only the latter.
func TestSplit(t *testing.T) {
	t.Parallel()
	behind := load.Behind{
		Models: []load.Use{{Model: "encoder", Requests: 50, QueueMS: 0.5, ComputeMS: 2, InputMS: 0.25,
			InferMS: 1.5, OutputMS: 0.25}},
		Calls: 150, QueueMS: 50, ComputeMS: 150, Stages: []string{"encode", "head", "panel"},
	}
	measured := func(t *testing.T, b load.Backend) (load.Run, error) {
		t.Helper()
		p := &pipes{serve: func(n int, conn net.Conn) bool {
			body := `{"timing_ms":{"prepare":9,"encode":4,"head":2}}`
			if n%2 == 1 {
				body = `{"timing_ms":{"prepare":9,"head":2}}`
			}
			return say(conn, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		}}
		defer p.close()
		h, err := load.NewHTTP(load.HTTPConfig{URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, Workload: load.Fixed{},
			Dial: p.dial, Timings: true})
		if err != nil {
			t.Fatal(err)
		}
		o := options(1)
		o.Backend = b
		return o.Open(t.Context(), h, schedule(t, 50, 2*time.Second, load.Even))
	}
	synctest.Test(t, func(t *testing.T) {
		run, err := measured(t, counted{behind: behind})
		if err != nil {
			t.Fatal(err)
		}
		r := load.Summarise(run)
		if r.Split == nil {
			t.Fatalf("no split: %q", r.Warnings)
		}
		got := *r.Split
		if len(got.Stages) != 2 { // in the order in which they were met
			t.Errorf("stages %q", got.Stages)
		}
		got.Stages = nil
		// 50 times 4 and 100 times 2 are 400 ms; Triton tells of 200.
		if diff := cmp.Diff(load.Split{Requests: 100, StagesMS: 4, QueueMS: 0.5, ComputeMS: 1.5, TransferMS: 2},
			got); diff != "" {
			t.Errorf("split (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(behind.Models, r.Triton); diff != "" {
			t.Errorf("models (-want +got):\n%s", diff)
		}
		dir := t.TempDir()
		if err := load.Save(dir, load.Manifest{}, nil, run); err != nil {
			t.Fatal(err)
		}
		m, err := load.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		var text, page strings.Builder
		if err := errors.Join(r.Text(&text), load.Summary{Measurements: []load.Measurement{m}}.HTML(&page)); err != nil {
			t.Fatal(err)
		}
		line := "mean of 100 requests: 4.000 ms = Triton's queue 0.500 + compute 1.500 + transfer (what is left) 2.000"
		for name, out := range map[string]string{"text": text.String(),
			"page": strings.ReplaceAll(strings.ReplaceAll(page.String(), "&#39;", "'"), "&#43;", "+")} {
			if !strings.Contains(out, line) || !strings.Contains(out, "encoder") {
				t.Errorf("the %s lacks the split:\n%s", name, out)
			}
		}

		// Two calls for three: the means are not of the same.
		batched := behind
		batched.Calls = 100
		if run, err = measured(t, counted{behind: batched}); err != nil {
			t.Fatal(err)
		}
		r = load.Summarise(run)
		if r.Split != nil || !strings.Contains(strings.Join(r.Warnings, "\n"), "150 calls to the server behind it, which "+
			"counted 100") || len(r.Triton) != 1 {
			t.Errorf("split %v, %q", r.Split, r.Warnings)
		}

		gone := errors.New("gone")
		if _, err := measured(t, counted{err: gone}); !errors.Is(err, gone) {
			t.Errorf("no statistics before: %v", err)
		}
		if run, err = measured(t, counted{late: gone}); err != nil || !errors.Is(run.Err(), gone) ||
			load.Summarise(run).Completed != 100 {
			t.Errorf("no statistics after: %v, %v", err, run.Err())
		}
	})
}

// TestMergeAddsWhatStoodBehind joins two runs, of which the second asked one
// model more, and one that was not watched.
func TestMergeAddsWhatStoodBehind(t *testing.T) {
	t.Parallel()
	first := &load.Behind{
		Models: []load.Use{{Model: "encoder", Requests: 10, Failures: 1, Items: 20, Executions: 10, MeanBatch: 2, QueueMS: 1,
			ComputeMS: 6, InputMS: 1, InferMS: 4, OutputMS: 1}},
		Calls: 10, QueueMS: 10, ComputeMS: 60, Stages: []string{"encode"},
	}
	second := &load.Behind{
		Models: []load.Use{
			{Model: "head", Requests: 5, Items: 5, Executions: 5, MeanBatch: 1},
			{Model: "encoder", Requests: 30, Items: 100, Executions: 20, MeanBatch: 5, QueueMS: 3, ComputeMS: 2, InputMS: 1,
				InferMS: 0.5, OutputMS: 0.5},
		},
		Calls: 35, QueueMS: 90, ComputeMS: 60, Stages: []string{"encode"},
	}
	want := &load.Behind{
		Models: []load.Use{
			{Model: "encoder", Requests: 40, Failures: 1, Items: 120, Executions: 30, MeanBatch: 4, QueueMS: 2.5, ComputeMS: 3,
				InputMS: 1, InferMS: 1.375, OutputMS: 0.625},
			{Model: "head", Requests: 5, Items: 5, Executions: 5, MeanBatch: 1},
		},
		Calls: 45, QueueMS: 100, ComputeMS: 120, Stages: []string{"encode"},
	}
	got := load.Merge(load.Run{Behind: first}, load.Run{}, load.Run{Behind: second}).Behind
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if first.Models[0].Requests != 10 || len(first.Models) != 1 {
		t.Errorf("the first run's own figures became %+v", first.Models)
	}
	if got := load.Merge(load.Run{}, load.Run{}).Behind; got != nil {
		t.Errorf("of nothing: %+v", got)
	}
}
