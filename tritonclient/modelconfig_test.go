package tritonclient_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/agiqa/agiqa/tritonclient"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

func parse(text string) (*pb.ModelConfig, error) { return tritonclient.ParseModelConfig([]byte(text)) }

func TestParseModelConfig(t *testing.T) {
	cfg, err := parse(`
		name: "clip_image_encoder"   # a comment
		backend: "onnxruntime"
		max_batch_size: 32
		input [ { name: "pixels", data_type: TYPE_UINT8, dims: [ 224, 224, 3 ] } ]
		output [ { name: "image_embedding" data_type: TYPE_FP32 dims: [ 512 ] } ]
		version_policy: { latest { num_versions: 1 } }
		instance_group [ { kind: KIND_GPU count: 2 gpus: [ 0, 1 ] } ]
		dynamic_batching {
			max_queue_delay_microseconds: 500
			default_queue_policy {
				timeout_action: REJECT
				default_timeout_microseconds: 30000000
				allow_timeout_override: true
				max_queue_size: 1024
			}
		}
		optimization { execution_accelerators { gpu_execution_accelerator [
			{ name: "tensorrt" parameters { key: "precision_mode" value: "FP16" } }
		] } }
		model_warmup [ { name: "one" batch_size: 1 inputs {
			key: "pixels" value { data_type: TYPE_UINT8 dims: [ 224, 224, 3 ] zero_data: true }
		} } ]
		parameters { key: "encoder_digest" value { string_value: "sha256:00" } }
	`)
	if err != nil {
		t.Fatalf("ParseModelConfig: %v", err)
	}
	policy := cfg.GetDynamicBatching().GetDefaultQueuePolicy()
	accelerator := cfg.GetOptimization().GetExecutionAccelerators().GetGpuExecutionAccelerator()[0]
	for _, check := range []struct {
		what      string
		got, want any
	}{
		{"backend", cfg.GetBackend(), "onnxruntime"},
		{"max_batch_size", cfg.GetMaxBatchSize(), int32(32)},
		{"input type", cfg.GetInput()[0].GetDataType(), pb.DataType_TYPE_UINT8},
		{"input dim", cfg.GetInput()[0].GetDims()[2], int64(3)},
		{"versions", cfg.GetVersionPolicy().GetLatest().GetNumVersions(), uint32(1)},
		{"kind", cfg.GetInstanceGroup()[0].GetKind(), pb.ModelInstanceGroup_KIND_GPU},
		{"gpu", cfg.GetInstanceGroup()[0].GetGpus()[1], int32(1)},
		{"action", policy.GetTimeoutAction(), pb.ModelQueuePolicy_REJECT},
		{"default timeout", policy.GetDefaultTimeoutMicroseconds(), uint64(30_000_000)},
		{"override", policy.GetAllowTimeoutOverride(), true},
		{"queue", policy.GetMaxQueueSize(), uint32(1024)},
		{"precision", accelerator.GetParameters()["precision_mode"], "FP16"},
		{"warm-up", cfg.GetModelWarmup()[0].GetInputs()["pixels"].GetZeroData(), true},
		{"parameter", cfg.GetParameters()["encoder_digest"].GetStringValue(), "sha256:00"},
	} {
		if check.got != check.want {
			t.Errorf("%s is %v, want %v", check.what, check.got, check.want)
		}
	}
}

func TestParseModelConfigRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field":     `nmae: "x"`,
		"unknown type":      `input [ { data_type: TYPE_FLOAT } ]`,
		"two schedulers":    `dynamic_batching {} ensemble_scheduling {}`,
		"not text protobuf": `{"name": "x"}`,
		"wrong type":        `max_batch_size: "32"`,
	} {
		if cfg, err := parse(text); err == nil {
			t.Errorf("%s: parsed to %v", name, cfg)
		}
	}
}

// The oldest supported server does not know this field and would not start.
func TestParseModelConfigRefusesNewFields(t *testing.T) {
	_, err := parse(`name: "x" ensemble_scheduling { max_inflight_requests: 2 }`)
	if err == nil || !strings.Contains(err.Error(), "max_inflight_requests") {
		t.Errorf("error %v, want one that names max_inflight_requests, which 24.10 does not know", err)
	}
}

// What is written can be read again, map fields and all.
func TestParseModelConfigRoundTrip(t *testing.T) {
	enc, cp := tritontest.Encoder(), tritontest.Checkpoint("demo")
	for _, want := range []*pb.ModelConfig{
		tritontest.ImageEncoderConfig(enc, 8), tritontest.TextEncoderConfig(enc, 8),
		tritontest.HeadConfig(enc, cp, 8), tritontest.EnsembleConfig(enc, cp, 8),
	} {
		text, err := prototext.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tritonclient.ParseModelConfig(text)
		if err != nil {
			t.Errorf("%s: %v", want.GetName(), err)
		} else if !proto.Equal(got, want) {
			t.Errorf("%s: read %v, wrote %v", want.GetName(), got, want)
		}
	}
}

func FuzzParseModelConfig(f *testing.F) {
	f.Add([]byte(`name: "x" max_batch_size: 8`))
	f.Add([]byte(`parameters { key: "k" value { string_value: "v" } }`))
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg, err := tritonclient.ParseModelConfig(b)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("config %v and error %v", cfg, err)
		}
	})
}
