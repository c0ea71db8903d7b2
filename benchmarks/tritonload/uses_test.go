package tritonload_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/benchmarks/tritonload"
	"github.com/agiqa/agiqa/tritonclient"
)

// told are statistics, one list for each time that they are asked for.
type told [][]tritonclient.ModelStatistics

func (s *told) Statistics(context.Context, string) ([]tritonclient.ModelStatistics, error) {
	first := (*s)[0]
	*s = (*s)[1:]
	return first, nil
}

// model has n requests that waited 1 ms each and were computed in the parts'
// milliseconds.
func model(name string, n uint64, input, infer, output int) tritonclient.ModelStatistics {
	ms := func(of int) time.Duration { return time.Duration(of) * time.Millisecond * time.Duration(n) }
	return tritonclient.ModelStatistics{
		Model: name, Items: 2 * n, Executions: n, Requests: n,
		Queue: ms(1), Compute: ms(input + infer + output), Input: ms(input), Infer: ms(infer), Output: ms(output),
	}
}

const (
	ensemble, head, panel = "clip_agiqa_00", "prompt_head_00", "prompt_panel_00"
	images, texts         = "clip_image_encoder", "clip_text_encoder"
)

// TestCallsBehind sums up what Triton says of calls.
func TestCallsBehind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after []tritonclient.ModelStatistics
		calls         uint64
		queue, takes  float64
	}{
		"ten ensembles are counted in their steps": {
			after: []tritonclient.ModelStatistics{model(ensemble, 10, 2, 7, 2),
				model(images, 10, 1, 6, 1), model(head, 10, 1, 1, 1)},
			calls: 10, queue: 20, takes: 110,
		},
		"ten ensembles, and five images and four heads without": {
			after: []tritonclient.ModelStatistics{model(ensemble, 10, 2, 7, 2),
				model(images, 15, 1, 6, 1), model(head, 14, 1, 1, 1)},
			calls: 19, queue: 29, takes: 15*8 + 14*3,
		},
		"ten ensembles of a stub, which has no steps": {
			after: []tritonclient.ModelStatistics{model(ensemble, 10, 0, 5, 0)},
			calls: 10, queue: 10, takes: 50,
		},
		"encoder and panel, since before; texts are not asked about": {
			before: []tritonclient.ModelStatistics{model(images, 100, 1, 1, 1), model(texts, 1, 1, 1, 1)},
			after: []tritonclient.ModelStatistics{model(images, 103, 1, 1, 1),
				model(texts, 9, 1, 1, 1), model(panel, 3, 0, 4, 0)},
			calls: 6, queue: 6, takes: 9 + 12,
		},
		"a model that was loaded again": {
			before: []tritonclient.ModelStatistics{model(head, 100, 1, 1, 1)},
			after:  []tritonclient.ModelStatistics{model(head, 2, 1, 1, 1)},
			calls:  2, queue: 2, takes: 6,
		},
	} {
		stop, err := tritonload.Backend{Source: &told{c.before, c.after},
			Stages: tritonload.GatewayStages()}.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := stop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Calls != c.calls || got.QueueMS != c.queue || got.ComputeMS != c.takes {
			t.Errorf("%s: %d calls, %g ms in the queue, %g ms computed; want %d, %g, %g", name, got.Calls, got.QueueMS,
				got.ComputeMS, c.calls, c.queue, c.takes)
		}
	}
	got := tritonload.Uses(nil, []tritonclient.ModelStatistics{model(images, 10, 1, 6, 2), model(head, 0, 0, 0, 0)})
	want := []load.Use{{
		Model: images, Requests: 10, Items: 20, Executions: 10, MeanBatch: 2, QueueMS: 1, ComputeMS: 9,
		InputMS: 1, InferMS: 6, OutputMS: 2,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("uses (-want +got):\n%s", diff)
	}
}
