package tritonclient_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/replicas"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// TestEverywhere asks two replicas for a checkpoint that one of them missing: the
// error names that one.
func TestEverywhere(t *testing.T) {
	cp, enc := tritontest.Checkpoint("a"), tritontest.Encoder()
	a, b := tritontest.New(t, tritontest.WithCheckpoints(cp)), tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, nil, a, b)
	text := tritontest.Texts(enc)
	image := tritontest.ImageEmbedding(enc, tritontest.Image(0))
	calls := map[string]func() error{
		"ReadyEverywhere":           func() error { return c.ReadyEverywhere(t.Context(), cp.HeadModel()) },
		"CheckCheckpointEverywhere": func() error { return c.CheckCheckpointEverywhere(t.Context(), enc, cp) },
		"ScoreEverywhere": func() error {
			_, err := c.ScoreEverywhere(t.Context(), tritontest.Encoder(), cp, text, []quality.Embedding{image}, nil)
			return err
		},
	}
	for name, call := range calls {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	answers, err := c.ScoreEverywhere(t.Context(), tritontest.Encoder(), cp, text, []quality.Embedding{image}, nil)
	if err != nil || len(answers) != 2 {
		t.Fatalf("ScoreEverywhere: %v, %v", answers, err)
	}
	for _, s := range []*tritontest.Server{a, b} {
		if got, want := answers[s.Addr()], tritontest.HeadScore(cp, text, image); len(got) != 1 || got[0] != want {
			t.Errorf("replica %s: %+v, want %+v", s.Addr(), got, want)
		}
		if n := s.Calls(cp.HeadModel()); n != 2 {
			t.Errorf("replica %s was asked %d times, want 2", s.Addr(), n)
		}
	}
	b.Unload(cp.HeadModel())
	for name, call := range calls {
		err := call()
		r, ok := errors.AsType[*replicas.Error](err)
		if !ok || r.Replica != b.Addr() || quality.KindOf(err) != quality.KindModelUnavailable {
			t.Errorf("%s: %v, want model_unavailable of %s", name, err, b.Addr())
		}
	}
}

// TestCheckHeadOnly: the check asks for no ensemble where there is none.
func TestCheckHeadOnly(t *testing.T) {
	cp, enc := tritontest.Checkpoint("a"), tritontest.Encoder()
	s := tritontest.New(t)
	c := newClient(t, nil, s)
	if err := c.Load(t.Context(), cp.HeadModel(), upload(t, cp)); err != nil {
		t.Fatal(err)
	}
	wantError(t, c.CheckCheckpoint(t.Context(), enc, cp), quality.KindModelUnavailable, cp.EnsembleModel())
	cp.HeadOnly = true
	if err := c.CheckCheckpoint(t.Context(), enc, cp); err != nil {
		t.Error(err)
	}
}

func TestNewUpload(t *testing.T) {
	cp := tritontest.Checkpoint("a")
	config, err := prototext.Marshal(tritontest.HeadConfig(tritontest.Encoder(), cp, 8))
	if err != nil {
		t.Fatal(err)
	}
	u, err := tritonclient.NewUpload(config, map[string][]byte{"1/model.onnx": {1}})
	if err != nil {
		t.Fatal(err)
	}
	s := tritontest.New(t)
	c := newClient(t, nil, s)
	if err := c.Load(t.Context(), cp.HeadModel(), u); err != nil {
		t.Fatal(err)
	}
	if err := scoreOne(t, c, cp); err != nil {
		t.Error(err)
	}
	if _, err := tritonclient.NewUpload([]byte("no such field: 1"), nil); err == nil {
		t.Error("a configuration that cannot be read was accepted")
	}
}

func TestRuntime(t *testing.T) {
	for _, test := range []struct {
		name string
		edit func(*pb.ModelConfig)
		want tritonclient.Runtime
	}{
		{"python", func(*pb.ModelConfig) {}, tritonclient.Runtime{Backend: "python"}},
		{"onnxruntime", func(c *pb.ModelConfig) { c.Backend = "onnxruntime" }, tritonclient.Runtime{Backend: "onnxruntime"}},
		{"onnxruntime on a GPU", func(c *pb.ModelConfig) {
			c.Backend = "onnxruntime"
			c.InstanceGroup = []*pb.ModelInstanceGroup{{Kind: pb.ModelInstanceGroup_KIND_GPU}}
		}, tritonclient.Runtime{Backend: "onnxruntime", GPU: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := tritontest.New(t)
			s.EditConfig(tritontest.ImageEncoder, test.edit)
			got, err := newClient(t, nil, s).Runtime(t.Context())
			if err != nil || got != test.want {
				t.Errorf("Runtime = %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}
