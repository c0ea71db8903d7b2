package checkpoint_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/onnxpb"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// The repository that is committed, and the bundles it is made of.
const (
	repositoryDir = "../model_repository"
	bundlesDir    = "../demo/checkpoints"
)

var update = flag.Bool("update", false,
	"write the heads and ensembles of ../demo/checkpoints into ../model_repository anew")

// tensor is an input or output, without its batch dimension.
type tensor struct {
	name string
	kind inferencepb.DataType
	dims []int64
}

func (t tensor) String() string { return fmt.Sprintf("%s %v %v", t.name, t.kind, t.dims) }

// contract is what the table of models promises of one of them. Everyone who
// sends a tensor or reads one counts on it.
type contract struct {
	inputs, outputs []tensor
	maxBatch        int32
	ensemble        bool
	files           []string // besides the configurations
	parameters      map[string]string
}

// encoderFile is the part of encoder.json that the models must agree with.
type encoderFile struct {
	Name          string         `json:"name"`
	Digest        quality.Digest `json:"digest"`
	EmbeddingDim  int64          `json:"embedding_dim"`
	TextWidth     int64          `json:"text_width"`
	ContextLength int64          `json:"context_length"`
}

// contracts returns the table, for an encoder and its checkpoints.
func contracts(e encoderFile, bundles []*checkpoint.Bundle) map[string]contract {
	const (
		u8  = inferencepb.DataType_TYPE_UINT8
		i32 = inferencepb.DataType_TYPE_INT32
		f32 = inferencepb.DataType_TYPE_FP32
		c   = quality.CategoryCount
	)
	d, w, l := e.EmbeddingDim, e.TextWidth, e.ContextLength
	pixels := tensor{"pixels", u8, []int64{quality.ImageSize, quality.ImageSize, 3}}
	image := tensor{"image_embedding", f32, []int64{d}}
	texts := tensor{"text_embeddings", f32, []int64{c, d}}
	score := tensor{"score", f32, []int64{1}}
	similarity := tensor{"category_similarity", f32, []int64{c}}
	ofEncoder := map[string]string{"encoder_digest": e.Digest.String()}

	table := map[string]contract{
		"clip_image_encoder": {
			inputs: []tensor{pixels}, outputs: []tensor{image}, maxBatch: 32,
			files: []string{"1/model.onnx", "1/model.py"}, parameters: ofEncoder,
		},
		"clip_text_encoder": {
			inputs: []tensor{
				{"token_ids", i32, []int64{l}}, {"context", f32, []int64{l, w}}, {"context_mask", u8, []int64{l}},
			},
			outputs: []tensor{{"text_embedding", f32, []int64{d}}}, maxBatch: 64,
			files: []string{"1/model.onnx", "1/model.py"}, parameters: ofEncoder,
		},
	}
	for _, b := range bundles {
		k := b.Checkpoint()
		if k.Encoder != e.Digest {
			continue // its models are in the repository of its own encoder
		}
		parameters := map[string]string{
			"encoder_digest": e.Digest.String(), "checkpoint_digest": k.Digest.String(), "checkpoint_name": k.Name,
		}
		table[k.HeadModel()] = contract{
			inputs: []tensor{image, texts}, outputs: []tensor{score, similarity}, maxBatch: 64,
			files: []string{"1/model.onnx", "1/model.py", "1/head.safetensors"}, parameters: parameters,
		}
		table[k.EnsembleModel()] = contract{
			inputs: []tensor{pixels, texts}, outputs: []tensor{score, similarity, image}, maxBatch: 32,
			ensemble: true, files: []string{"1/.gitkeep"}, parameters: parameters,
		}
	}
	return table
}

// checkRepository returns every way in which the repository breaks its
// contracts.
func checkRepository(repository fs.FS, table map[string]contract) error {
	var faults []error
	entries, err := fs.ReadDir(repository, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := table[e.Name()]; e.IsDir() && !ok {
			faults = append(faults, fmt.Errorf("model %s belongs to no encoder and no bundle", e.Name()))
		}
	}
	configs := map[string]*inferencepb.ModelConfig{} // by model/variant
	for _, model := range slices.Sorted(maps.Keys(table)) {
		for _, variant := range []string{"embedded", "cpu", "gpu"} {
			file := path.Join(model, "configs", variant+".pbtxt")
			config, err := readConfig(repository, file)
			if err == nil {
				configs[model+"/"+variant] = config
				err = checkConfig(config, model, variant, table[model])
			}
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", file, err))
			}
		}
		if err := checkFiles(repository, model, table[model]); err != nil {
			faults = append(faults, fmt.Errorf("model %s: %w", model, err))
		}
	}
	for name, config := range configs {
		if err := checkSteps(config, path.Base(name), configs); err != nil {
			faults = append(faults, fmt.Errorf("ensemble %s: %w", name, err))
		}
	}
	return errors.Join(faults...)
}

func readConfig(repository fs.FS, file string) (*inferencepb.ModelConfig, error) {
	text, err := fs.ReadFile(repository, file)
	if err != nil {
		return nil, err
	}
	config := new(inferencepb.ModelConfig)
	return config, prototext.Unmarshal(text, config)
}

// checkConfig compares one configuration with its contract.
func checkConfig(config *inferencepb.ModelConfig, model, variant string, want contract) error {
	var faults []error
	differ := func(what string, got, want any) {
		if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
			faults = append(faults, fmt.Errorf("%s is %v, want %v", what, got, want))
		}
	}
	backend := map[string]string{"embedded": "python", "cpu": "onnxruntime", "gpu": "onnxruntime"}[variant]
	platform := ""
	if want.ensemble {
		backend, platform = "", "ensemble"
	}
	differ("name", config.GetName(), model)
	differ("backend", config.GetBackend(), backend)
	differ("platform", config.GetPlatform(), platform)
	differ("max_batch_size", config.GetMaxBatchSize(), want.maxBatch)
	differ("inputs", configInputs(config), want.inputs)
	differ("outputs", configOutputs(config), want.outputs)
	differ("versions kept", config.GetVersionPolicy().GetLatest().GetNumVersions(), 1)
	for key, value := range want.parameters {
		differ("parameter "+key, config.GetParameters()[key].GetStringValue(), value)
	}
	if want.ensemble {
		return errors.Join(faults...) // it has neither instances nor a queue of its own
	}
	kind := inferencepb.ModelInstanceGroup_KIND_CPU
	if variant == "gpu" {
		kind = inferencepb.ModelInstanceGroup_KIND_GPU
		differ("has a warm-up", len(config.GetModelWarmup()) > 0, true)
	}
	groups := config.GetInstanceGroup()
	differ("instance groups", len(groups), 1)
	if len(groups) == 1 {
		differ("instance kind", groups[0].GetKind(), kind)
		instances := int32(1)
		if variant == "cpu" && config.GetName() == "clip_image_encoder" {
			instances = 8 // of one thread each
		}
		differ("instance count", groups[0].GetCount(), instances)
		threads := config.GetParameters()["intra_op_thread_count"].GetStringValue()
		differ("one thread for each of several", threads == "1" || instances == 1, true)
	}
	queue := config.GetDynamicBatching().GetDefaultQueuePolicy()
	differ("queue timeout action", queue.GetTimeoutAction(), inferencepb.ModelQueuePolicy_REJECT)
	differ("queue timeout", queue.GetDefaultTimeoutMicroseconds(), 30_000_000)
	differ("queue timeout may be overridden", queue.GetAllowTimeoutOverride(), true)
	differ("queue size", queue.GetMaxQueueSize(), 4096)
	return errors.Join(faults...)
}

func configInputs(config *inferencepb.ModelConfig) []tensor {
	var out []tensor
	for _, t := range config.GetInput() {
		out = append(out, tensor{t.GetName(), t.GetDataType(), t.GetDims()})
	}
	return out
}

func configOutputs(config *inferencepb.ModelConfig) []tensor {
	var out []tensor
	for _, t := range config.GetOutput() {
		out = append(out, tensor{t.GetName(), t.GetDataType(), t.GetDims()})
	}
	return out
}

// checkFiles wants a model's files to be there and its graph to take and give
// what its contract says, with an open batch.
func checkFiles(repository fs.FS, model string, want contract) error {
	var faults []error
	for _, name := range want.files {
		b, err := fs.ReadFile(repository, path.Join(model, name))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if path.Ext(name) != ".onnx" {
			continue
		}
		s, err := readSignature(b)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if s.IRVersion > 8 || s.Opset != 17 {
			faults = append(faults,
				fmt.Errorf("%s: IR version %d and opset %d, want at most 8 and 17", name, s.IRVersion, s.Opset))
		}
		for _, side := range []struct {
			what string
			got  []graphValue
			want []tensor
		}{{"inputs", s.Inputs, want.inputs}, {"outputs", s.Outputs, want.outputs}} {
			if got, want := fmt.Sprint(side.got), fmt.Sprint(asGraph(side.want)); got != want {
				faults = append(faults, fmt.Errorf("%s: %s are %s, want %s", name, side.what, got, want))
			}
		}
	}
	return errors.Join(faults...)
}

// asGraph says the same tensors in the words of an ONNX file.
func asGraph(tensors []tensor) []graphValue {
	types := map[inferencepb.DataType]onnxpb.Tensor_DataType{
		inferencepb.DataType_TYPE_UINT8: onnxpb.Tensor_UINT8,
		inferencepb.DataType_TYPE_INT32: onnxpb.Tensor_INT32,
		inferencepb.DataType_TYPE_FP32:  onnxpb.Tensor_FLOAT,
	}
	var out []graphValue
	for _, t := range tensors {
		out = append(out, graphValue{Name: t.name, Type: types[t.kind], Shape: append([]int64{dynamic}, t.dims...)})
	}
	return out
}

// checkSteps follows the tensors of an ensemble from step to step: each input
// of a step must come from the ensemble's inputs or an earlier step, with the
// same type and shape, and every output of the ensemble from some step.
func checkSteps(config *inferencepb.ModelConfig, variant string, configs map[string]*inferencepb.ModelConfig) error {
	if config.GetPlatform() != "ensemble" {
		return nil
	}
	var faults []error
	known := map[string]tensor{}
	for _, t := range configInputs(config) {
		known[t.name] = t
	}
	want := func(where string, t tensor, outside string) {
		got, ok := known[outside]
		if t.name = outside; !ok || got.String() != t.String() {
			faults = append(faults, fmt.Errorf("%s: wants %v, the ensemble has %v", where, t, got))
		}
	}
	for _, step := range config.GetEnsembleScheduling().GetStep() {
		part, ok := configs[step.GetModelName()+"/"+variant]
		if !ok {
			faults = append(faults, fmt.Errorf("step %s is not in the repository", step.GetModelName()))
			continue
		}
		if part.GetMaxBatchSize() < config.GetMaxBatchSize() {
			faults = append(faults, fmt.Errorf("step %s takes batches of %d, the ensemble promises %d",
				part.GetName(), part.GetMaxBatchSize(), config.GetMaxBatchSize()))
		}
		inputs, outputs := configInputs(part), configOutputs(part)
		for _, t := range inputs {
			want(part.GetName()+" input "+t.name, t, step.GetInputMap()[t.name])
		}
		for _, t := range outputs {
			if outside, ok := step.GetOutputMap()[t.name]; ok {
				known[outside] = tensor{outside, t.kind, t.dims}
			}
		}
		if len(step.GetInputMap()) != len(inputs) || len(step.GetOutputMap()) > len(outputs) {
			faults = append(faults, fmt.Errorf("step %s maps tensors that it has not", part.GetName()))
		}
	}
	for _, t := range configOutputs(config) {
		want("output "+t.name, t, t.name)
	}
	return errors.Join(faults...)
}

// committed reads encoder.json and the bundles of that encoder.
func committed(t *testing.T) (encoderFile, []*checkpoint.Bundle) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repositoryDir, "encoder.json"))
	if err != nil {
		t.Fatal(err)
	}
	var e encoderFile
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	r, err := checkpoint.LoadDir(bundlesDir, "", checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	own := slices.DeleteFunc(slices.Clone(r.List()), func(b *checkpoint.Bundle) bool {
		return b.Checkpoint().Encoder != e.Digest
	})
	if len(own) == 0 {
		t.Fatalf("%s holds no bundle of encoder %s", bundlesDir, e.Digest)
	}
	return e, own
}

func TestRepository(t *testing.T) {
	e, bundles := committed(t)
	if err := checkRepository(os.DirFS(repositoryDir), contracts(e, bundles)); err != nil {
		t.Error(err)
	}
}

// TestRepositoryEncoder wants the bundles to be for the committed encoder, and
// the encoder's digest to be that of its files.
func TestRepositoryEncoder(t *testing.T) {
	e, bundles := committed(t)
	document := "agiqa-encoder/1\n"
	for _, model := range []string{"clip_image_encoder", "clip_text_encoder"} {
		b, err := os.ReadFile(filepath.Join(repositoryDir, model, "1", "model.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		document += fmt.Sprintf("%x\n", sha256.Sum256(b))
	}
	if got := quality.DigestOf([]byte(document)); got != e.Digest {
		t.Errorf("encoder.json says %s, its files have %s", e.Digest, got)
	}
	encoder := quality.Encoder{
		Name: e.Name, Digest: e.Digest,
		Dim: int(e.EmbeddingDim), TextWidth: int(e.TextWidth), ContextLength: int(e.ContextLength),
	}
	for _, b := range bundles {
		if err := b.CheckEncoder(encoder); err != nil {
			t.Error(err)
		}
	}
}

// TestRepositoryDrift wants the committed heads and ensembles to be what
// Materialize writes today.
func TestRepositoryDrift(t *testing.T) {
	_, bundles := committed(t)
	if *update {
		rewrite(t, bundles)
	}
	fresh := t.TempDir()
	for _, b := range bundles {
		if err := checkpoint.Materialize(b, fresh); err != nil {
			t.Fatal(err)
		}
	}
	want, got := tree(t, fresh), map[string]string{}
	for name, content := range tree(t, repositoryDir) {
		if isCheckpointModel(name) && !strings.Contains(name, "__pycache__") {
			got[name] = content
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if content, ok := got[name]; !ok || content != want[name] {
			t.Errorf("%s is missing or differs", name)
		}
		delete(got, name)
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		t.Errorf("%s belongs to no bundle", name)
	}
	if t.Failed() {
		t.Log("to write them anew: go test ./checkpoint -run TestRepositoryDrift -update")
	}
}

func isCheckpointModel(name string) bool {
	return strings.HasPrefix(name, "prompt_head_") || strings.HasPrefix(name, "clip_agiqa_")
}

// rewrite replaces the heads and ensembles of the committed repository.
func rewrite(t *testing.T, bundles []*checkpoint.Bundle) {
	t.Helper()
	entries, err := os.ReadDir(repositoryDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if isCheckpointModel(e.Name()) {
			if err := os.RemoveAll(filepath.Join(repositoryDir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, b := range bundles {
		if err := checkpoint.Materialize(b, repositoryDir); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRepositoryCheckSees spoils the repository in one place at a time, to
// hold that the check above would notice.
func TestRepositoryCheckSees(t *testing.T) {
	e, bundles := committed(t)
	table := contracts(e, bundles)
	head, ensemble := bundles[0].Checkpoint().HeadModel(), bundles[0].Checkpoint().EnsembleModel()
	sound := fstest.MapFS{}
	for name, content := range tree(t, repositoryDir) {
		sound[name] = &fstest.MapFile{Data: []byte(content)}
	}
	replace := func(file, old, new string) func(fstest.MapFS) {
		return func(f fstest.MapFS) {
			text := string(f[file].Data)
			if !strings.Contains(text, old) {
				t.Errorf("%s has no %q to spoil", file, old)
			}
			f[file] = &fstest.MapFile{Data: []byte(strings.Replace(text, old, new, 1))}
		}
	}
	remove := func(file string) func(fstest.MapFS) { return func(f fstest.MapFS) { delete(f, file) } }
	headConfig, gpuConfig, ensembleConfig := head+"/configs/cpu.pbtxt", head+"/configs/gpu.pbtxt",
		ensemble+"/configs/cpu.pbtxt"
	tests := []struct {
		name  string
		spoil func(fstest.MapFS)
		want  string
	}{
		{"unknown field", replace(headConfig, "name:", "nmae:"), "unknown field"},
		{"name of another", replace(headConfig, `name: "`+head, `name: "x`), "name is x"},
		{"backend", replace(headConfig, "onnxruntime", "python"), "backend is python, want onnxruntime"},
		{"batch", replace(headConfig, "max_batch_size: 64", "max_batch_size: 16"), "max_batch_size is 16, want 64"},
		{"type", replace(headConfig, "TYPE_FP32", "TYPE_FP16"), "inputs is"},
		{"kind", replace(gpuConfig, "KIND_GPU", "KIND_CPU"), "instance kind is KIND_CPU"},
		{"queue timeout", replace(headConfig, "30000000", "0"), "queue timeout is 0"},
		{"queue size", replace(headConfig, "4096", "0"), "queue size is 0"},
		{"digest", replace(headConfig, bundles[0].Checkpoint().Digest.String(), quality.Digest{}.String()),
			"parameter checkpoint_digest is"},
		{"encoder digest", replace("clip_image_encoder/configs/embedded.pbtxt", e.Digest.String(), quality.Digest{}.String()),
			"parameter encoder_digest is"},
		{"no configuration", remove(gpuConfig), "gpu.pbtxt: file does not exist"},
		{"no program", remove(head + "/1/model.py"), "model.py: file does not exist"},
		{"no version folder", remove(ensemble + "/1/.gitkeep"), ".gitkeep: file does not exist"},
		{"graph of another model", func(f fstest.MapFS) { f[head+"/1/model.onnx"] = f["clip_image_encoder/1/model.onnx"] },
			"1/model.onnx: inputs are"},
		{"graph cut off", func(f fstest.MapFS) {
			b := f[head+"/1/model.onnx"].Data
			f[head+"/1/model.onnx"] = &fstest.MapFile{Data: b[:len(b)/2]}
		}, "onnx:"},
		{"step that is not there", replace(ensembleConfig, `model_name: "`+head, `model_name: "x`),
			"step x is not in the repository"},
		{"step that takes less", replace("clip_image_encoder/configs/cpu.pbtxt", "max_batch_size: 32", "max_batch_size: 8"),
			"takes batches of 8, the ensemble promises 32"},
		{"input wired to nothing", replace(ensembleConfig, `key: "text_embeddings" value: "text_embeddings"`,
			`key: "text_embeddings" value: "texts"`), "input text_embeddings: wants"},
		{"input wired to another tensor", replace(ensembleConfig, `key: "text_embeddings" value: "text_embeddings"`,
			`key: "text_embeddings" value: "pixels"`), "the ensemble has pixels"},
		{"output that no step gives", replace(ensembleConfig, `output_map { key: "score" value: "score" }`, ""),
			"output score: wants"},
		{"tensor that the step has not",
			replace(ensembleConfig, `input_map { key: "pixels"`,
				`input_map { key: "extra" value: "pixels" } input_map { key: "pixels"`), "maps tensors that it has not"},
		{"stranger", func(f fstest.MapFS) { f["prompt_head_x/1/model.py"] = &fstest.MapFile{} },
			"model prompt_head_x belongs to no encoder"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spoilt := maps.Clone(sound)
			tt.spoil(spoilt)
			err := checkRepository(spoilt, table)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("checkRepository: %v, want an error with %q", err, tt.want)
			}
		})
	}
}
