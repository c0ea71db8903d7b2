package tritonload_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/benchmarks/tritonload"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

func TestEachModel(t *testing.T) {
	t.Parallel()
	cp := quality.Checkpoint{
		Name: "test", Digest: quality.DigestOf([]byte("test")), Encoder: tritontest.Encoder().Digest,
		Score: quality.ScoreRange{Min: 0, Max: 5},
	}
	triton := tritontest.New(t, tritontest.WithCheckpoints(cp))
	client, err := tritonclient.New(triton.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	enc, err := client.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for what, model := range map[tritonload.What]string{
		tritonload.ImageEncoder: tritontest.ImageEncoder, tritonload.Head: cp.HeadModel(),
		tritonload.Ensemble: cp.EnsembleModel(),
	} {
		target, err := tritonload.New(client, tritonload.Config{What: what, Batch: 2, Encoder: enc, Checkpoint: cp, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		o := load.DefaultOptions()
		o.Connections = 4
		schedule, err := load.NewSchedule(load.Constant(100, 200*time.Millisecond), load.Even, 1)
		if err != nil {
			t.Fatal(err)
		}
		o.Backend = tritonload.Backend{Source: client}
		run, err := o.Open(t.Context(), target, schedule)
		if err != nil || run.Err() != nil {
			t.Fatalf("%s: %v, %v", what, err, run.Err())
		}
		report := load.Summarise(run)
		if report.Completed != 20 || len(report.Triton) != 1 || report.Triton[0].Model != model ||
			report.Triton[0].Items != 40 || report.Triton[0].Requests != 20 {
			t.Errorf("%s: %d completed, Triton says %+v", what, report.Completed, report.Triton)
		}
	}

	triton.Fail(tritontest.ImageEncoder, codes.Unavailable, "Exceeds maximum queue size")
	target, err := tritonload.New(client, tritonload.Config{What: tritonload.ImageEncoder, Batch: 1, Encoder: enc})
	if err != nil {
		t.Fatal(err)
	}
	lane := target.Open(t.Context())
	defer lane.Close()
	if a := lane.Send(0, time.Now().Add(10*time.Second)); a.Failure != load.Busy {
		t.Errorf("a full queue is %q, want %q", a.Failure, load.Busy)
	}
}
