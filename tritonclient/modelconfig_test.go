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

// TestCompareModelConfig changes one field at a time.
func TestCompareModelConfig(t *testing.T) {
	const whole = `
		name: "clip_text_encoder"
		backend: "onnxruntime"
		default_model_filename: "model.onnx"
		max_batch_size: 64
		input [ { name: "pixels" data_type: TYPE_UINT8 dims: [ 224, 224, 3 ] }, { name: "mask" data_type: TYPE_UINT8 dims: 77 } ]
		output [ { name: "image_embedding" data_type: TYPE_FP32 dims: [ 512 ] } ]
		instance_group [ { kind: KIND_GPU count: 1 } ]
		dynamic_batching { default_queue_policy { default_timeout_microseconds: 30 allow_timeout_override: true } }
		optimization { execution_accelerators { gpu_execution_accelerator [
			{ name: "cuda" parameters { key: "use_tf32" value: "0" } }
		] } }
		parameters { key: "encoder_digest" value { string_value: "sha256:00" } }
	`
	want, err := parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ from, to, want string }{
		{"", "", ""},
		{"max_batch_size: 64", "max_batch_size: 32", "max_batch_size is 32, want 64"},
		{"max_batch_size: 64", "", "max_batch_size is 0, want 64"},
		{"TYPE_FP32", "TYPE_FP16", "output[0].data_type is TYPE_FP16, want TYPE_FP32"},
		{"dims: 77", "dims: 78", "input[1].dims is [78], want [77]"},
		{"[ 224, 224, 3 ]", "[ 3, 224, 224 ]", "input[0].dims is [3 224 224], want [224 224 3]"},
		{`, { name: "mask" data_type: TYPE_UINT8 dims: 77 }`, "", "input has 1 entries, want 2"},
		{"KIND_GPU", "KIND_CPU", "instance_group[0].kind is KIND_CPU, want KIND_GPU"},
		{"count: 1", "count: 2", "instance_group[0].count is 2, want 1"},
		{`name: "cuda" parameters { key: "use_tf32" value: "0" }`, `name: "tensorrt"`,
			`optimization.execution_accelerators.gpu_execution_accelerator[0].name is "tensorrt", want "cuda"`},
		{`key: "use_tf32" value: "0"`, `key: "use_tf32" value: "1"`,
			`optimization.execution_accelerators.gpu_execution_accelerator[0].parameters[use_tf32] is "1", want "0"`},
		{"allow_timeout_override: true", "",
			"dynamic_batching.default_queue_policy.allow_timeout_override is false, want true"},
		{"default_timeout_microseconds: 30", "default_timeout_microseconds: 30 max_queue_size: 1",
			"dynamic_batching.default_queue_policy.max_queue_size is 1, want 0"},
		{"dynamic_batching { default_queue_policy { default_timeout_microseconds: 30 allow_timeout_override: true } }", "",
			"dynamic_batching is missing"},
		{"sha256:00", "sha256:01", `parameters[encoder_digest].string_value is "sha256:01", want "sha256:00"`},
		{"encoder_digest", "encoder", "parameters[encoder_digest] is missing"},
		{`parameters { key: "encoder`, `parameters { key: "more" value { string_value: "x" } } parameters { key: "encoder`,
			"parameters[more] must not be set"},
		{"parameters { key: \"encoder", "version_policy { latest { num_versions: 1 } } parameters { key: \"encoder",
			"version_policy must not be set"},
		{`"model.onnx"`, `"model.int8.onnx"`, `default_model_filename is "model.int8.onnx", want "model.onnx"`},
	} {
		text := strings.Replace(whole, tt.from, tt.to, 1)
		if tt.from != "" && text == whole {
			t.Fatalf("nothing to change: %s", tt.from)
		}
		got, err := parse(text)
		if err != nil {
			t.Fatal(err)
		}
		message := ""
		if err := tritonclient.CompareModelConfig(got, want); err != nil {
			message = err.Error()
		}
		if message != tt.want {
			t.Errorf("%s for %s: %q, want %q", tt.to, tt.from, message, tt.want)
		}
	}
}
