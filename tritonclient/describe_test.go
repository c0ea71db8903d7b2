package tritonclient_test

import (
	"testing"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

func setParameter(name, value string) func(*pb.ModelConfig) {
	return func(cfg *pb.ModelConfig) { cfg.Parameters[name] = &pb.ModelParameter{StringValue: value} }
}

var otherDigest = quality.DigestOf([]byte("another")).String()

func TestDescribe(t *testing.T) {
	enc := quality.Encoder{
		Name: "ViT-B-16", Digest: quality.DigestOf([]byte("b16")), Dim: 512, TextWidth: 512, ContextLength: 77,
	}
	full := enc
	full.Precision, full.TextCapability, full.DefaultCheckpoint = "int8", "quality-words", "quick"
	for _, served := range []quality.Encoder{enc, full} {
		want := served
		if want.TextCapability == "" {
			want.TextCapability = "general" // what a text encoder knows that doesn't say
		}
		s := tritontest.New(t, tritontest.WithEncoder(served))
		got, err := newClient(t, nil, s).Describe(t.Context())
		if err != nil || got != want {
			t.Errorf("Describe = %+v, %v, want %+v", got, err, want)
		}
	}
}

// Each fault is reported with model, tensor or parameter, got and want.
func TestDescribeRefuses(t *testing.T) {
	const image, text = tritontest.ImageEncoder, tritontest.TextEncoder
	for _, test := range []struct {
		name, model string
		edit        func(*pb.ModelConfig)
		want        string
	}{
		{"no digest", image, setParameter("encoder_digest", ""),
			"clip_image_encoder: config.pbtxt has no parameter encoder_digest"},
		{"no digest of the text encoder", text, setParameter("encoder_digest", ""),
			"clip_text_encoder: config.pbtxt has no parameter encoder_digest"},
		{"not a digest", image, setParameter("encoder_digest", "md5:1"),
			`clip_image_encoder: parameter encoder_digest: digest "md5:1"`},
		{"two exports", text, setParameter("encoder_digest", otherDigest),
			"clip_text_encoder: parameter encoder_digest is " + otherDigest},
		{"a precision that is no word", image, setParameter("encoder_precision", "int8\n"), "parameter encoder_precision is"},
		{"a default that is a path", image, setParameter("default_checkpoint", "../demo"), "parameter default_checkpoint is"},
		{"a capability that is no word", text, setParameter("text_capability", "all languages"),
			"clip_text_encoder: parameter text_capability is"},
		{"no name", image, setParameter("encoder_name", ""), "no parameter encoder_name"},
		{"no width", text, setParameter("text_width", ""), "clip_text_encoder: config.pbtxt has no parameter text_width"},
		{"width not a number", text, setParameter("text_width", "wide"), `parameter text_width is "wide", want a number`},
		{"negative length", text, setParameter("context_length", "-77"), `parameter context_length is "-77"`},
		{"huge length", text, setParameter("context_length", "1000000"), `parameter context_length is "1000000"`},
		{"another width than the tensor", text, setParameter("text_width", "512"),
			"input context is FP32 [-1 77 4], want FP32 [-1 77 512]"},
		{"no batching", image, func(c *pb.ModelConfig) { c.MaxBatchSize = 0 }, "clip_image_encoder: max_batch_size is 0"},
		{"float pixels", image, func(c *pb.ModelConfig) { c.Input[0].DataType = pb.DataType_TYPE_FP32 },
			"clip_image_encoder: input pixels is FP32 [-1 224 224 3], want UINT8 [-1 224 224 3]"},
		{"channels first", image, func(c *pb.ModelConfig) { c.Input[0].Dims = []int64{3, 224, 224} },
			"input pixels is UINT8 [-1 3 224 224]"},
		{"another input name", image, func(c *pb.ModelConfig) { c.Input[0].Name = "image" },
			"clip_image_encoder: no input pixels"},
		{"an input too many", image, func(c *pb.ModelConfig) { c.Input = append(c.Input, &pb.ModelInput{Name: "x"}) },
			"clip_image_encoder: 2 input tensors, want 1"},
		{"no embedding", image, func(c *pb.ModelConfig) { c.Output[0].Name = "features" },
			"clip_image_encoder: no output image_embedding"},
		{"embedding of unknown size", image, func(c *pb.ModelConfig) { c.Output[0].Dims = []int64{-1} },
			"output image_embedding has dims [-1], want one positive number"},
		{"embedding of absurd size", image, func(c *pb.ModelConfig) { c.Output[0].Dims = []int64{1 << 40} },
			"output image_embedding has dims [1099511627776]"},
		{"embedding of many dimensions", image, func(c *pb.ModelConfig) { c.Output[0].Dims = make([]int64, 100) },
			"(100 dimensions)"},
		{"half-precision embedding", text, func(c *pb.ModelConfig) { c.Output[0].DataType = pb.DataType_TYPE_INT32 },
			"clip_text_encoder: output text_embedding is INT32"},
		{"text of another dimension", text, func(c *pb.ModelConfig) { c.Output[0].Dims = []int64{16} },
			"output text_embedding is FP32 [-1 16], want FP32 [-1 8]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := tritontest.New(t)
			s.EditConfig(test.model, test.edit)
			c := newClient(t, nil, s)
			_, err := c.Describe(t.Context())
			wantError(t, err, quality.KindModelBadOutput, test.want)
		})
	}
}

func TestDescribeWithoutModels(t *testing.T) {
	for _, model := range []string{tritontest.ImageEncoder, tritontest.TextEncoder} {
		s := tritontest.New(t)
		s.Unload(model)
		_, err := newClient(t, nil, s).Describe(t.Context())
		wantError(t, err, quality.KindModelUnavailable, "model "+model+" is not loaded")
	}
}

func TestCheckCheckpoint(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	foreign := tritontest.Encoder()
	foreign.Digest = quality.DigestOf([]byte("another"))
	for _, test := range []struct {
		name    string
		prepare func(*tritontest.Server)
		enc     quality.Encoder
		kind    quality.Kind
		want    string
	}{
		{"all well", func(*tritontest.Server) {}, tritontest.Encoder(), "", ""},
		{"another encoder", func(*tritontest.Server) {}, foreign, quality.KindEncoderMismatch, cp.HeadModel()},
		{"head not loaded", func(s *tritontest.Server) { s.Unload(cp.HeadModel()) }, tritontest.Encoder(),
			quality.KindModelUnavailable, cp.HeadModel()},
		{"ensemble not loaded", func(s *tritontest.Server) { s.Unload(cp.EnsembleModel()) }, tritontest.Encoder(),
			quality.KindModelUnavailable, cp.EnsembleModel()},
		{"head of another checkpoint", func(s *tritontest.Server) {
			s.EditConfig(cp.HeadModel(), setParameter("checkpoint_digest", otherDigest))
		}, tritontest.Encoder(), quality.KindModelBadOutput, "checkpoint_digest is " + otherDigest},
		{"ensemble of another encoder", func(s *tritontest.Server) {
			s.EditConfig(cp.EnsembleModel(), setParameter("encoder_digest", otherDigest))
		}, tritontest.Encoder(), quality.KindEncoderMismatch, cp.EnsembleModel()},
		{"ensemble without the embedding", func(s *tritontest.Server) {
			s.EditConfig(cp.EnsembleModel(), func(c *pb.ModelConfig) { c.Output = c.Output[:2] })
		}, tritontest.Encoder(), quality.KindModelBadOutput, "2 output tensors, want 3"},
		{"head of another dimension", func(s *tritontest.Server) {
			s.EditConfig(cp.HeadModel(), func(c *pb.ModelConfig) { c.Input[0].Dims[0] = 512 })
		}, tritontest.Encoder(), quality.KindModelBadOutput, "input image_embedding is FP32 [-1 512], want FP32 [-1 8]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := tritontest.New(t, tritontest.WithCheckpoints(cp))
			test.prepare(s)
			err := newClient(t, nil, s).CheckCheckpoint(t.Context(), test.enc, cp)
			if test.kind == "" {
				if err != nil {
					t.Errorf("CheckCheckpoint: %v", err)
				}
				return
			}
			wantError(t, err, test.kind, test.want)
		})
	}
}
