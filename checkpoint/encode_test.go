package checkpoint_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint"
)

func TestEncodeIsReadBack(t *testing.T) {
	t.Parallel()
	for _, specific := range []bool{true, false} {
		draft := newDraft("a", 1)
		if specific {
			draft = newMeaningfulDraft("a", 1)
		}
		if !specific {
			shared := draft.tensors["context"]
			shared.Shape, shared.Data = []int{context, width}, shared.Data[:context*width]
			draft.tensors["context"] = shared
			draft.manifest["class_specific_context"] = false
		}
		want, err := draft.bundle(t).WithName("renamed")
		if err != nil {
			t.Fatal(err)
		}
		manifest, weights, err := checkpoint.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := checkpoint.Decode(manifest, weights, checkpoint.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Manifest(), got.Manifest()); diff != "" {
			t.Errorf("class-specific %t: manifest (-want +got):\n%s", specific, diff)
		}
		if diff := cmp.Diff(want.Tensors(), got.Tensors()); diff != "" {
			t.Errorf("class-specific %t: tensors (-want +got):\n%s", specific, diff)
		}
	}
}
