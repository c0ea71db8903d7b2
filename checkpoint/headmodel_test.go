package checkpoint_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint"
)

// TestNewHeadModel: each kind of server gets the files that its configuration
// names, and no others.
func TestNewHeadModel(t *testing.T) {
	t.Parallel()
	b := newDraft("a", 1).bundle(t)
	for _, tt := range []struct {
		variant checkpoint.Variant
		files   []string
		backend string
	}{
		{checkpoint.Embedded, []string{"1/head.safetensors", "1/model.py"}, `backend: "python"`},
		{checkpoint.CPU, []string{"1/model.onnx"}, `backend: "onnxruntime"`},
		{checkpoint.GPU, []string{"1/model.onnx"}, "KIND_GPU"},
	} {
		model, err := checkpoint.NewHeadModel(b, tt.variant)
		if err != nil {
			t.Errorf("%s: %v", tt.variant, err)
			continue
		}
		if diff := cmp.Diff(tt.files, slices.Sorted(maps.Keys(model.Files))); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", tt.variant, diff)
		}
		if !bytes.Contains(model.Config, []byte(tt.backend)) ||
			!bytes.Contains(model.Config, []byte(b.Checkpoint().HeadModel())) {
			t.Errorf("%s: configuration lacks %s or the model's name:\n%s", tt.variant, tt.backend, model.Config)
		}
	}
	if _, err := checkpoint.NewHeadModel(b, "tpu"); err == nil {
		t.Error("a variant that does not exist has a head")
	}
}
