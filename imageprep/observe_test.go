package imageprep_test

import (
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

func TestObserved(t *testing.T) {
	p, err := imageprep.New(imageprep.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	whole := testimages.PNG(300, 200)
	for _, test := range []struct {
		name  string
		data  []byte
		steps []imageprep.Step
		kind  quality.Kind
	}{
		{"whole", whole, []imageprep.Step{imageprep.StepDecode, imageprep.StepResize}, ""},
		{"cut", whole[:len(whole)-100], []imageprep.Step{imageprep.StepDecode}, quality.KindImageTruncated},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, err := p.Inspect(test.data)
			if err != nil {
				t.Fatal(err)
			}
			var seen []imageprep.Done
			ctx := imageprep.Observed(t.Context(), func(d imageprep.Done) { seen = append(seen, d) })
			_, err = p.PrepareViews(ctx, in, "", []quality.View{{}})
			if len(seen) != len(test.steps) {
				t.Fatalf("steps %v, want %v", seen, test.steps)
			}
			for i, d := range seen {
				if d.Step != test.steps[i] || d.End.Before(d.Start) || i > 0 && d.Start.Before(seen[i-1].End) {
					t.Errorf("step %d is %+v, want %s after the one before", i, d, test.steps[i])
				}
			}
			if seen[0].Err != nil != (test.kind != "") || test.kind != "" && quality.KindOf(seen[0].Err) != quality.KindOf(err) {
				t.Errorf("decode ended with %v, the preparation with %v, want %q", seen[0].Err, err, test.kind)
			}
			if got := seen[0].Decoder; test.kind == "" && got != imageprep.GoDecoder {
				t.Errorf("decoded by %q", got)
			}
		})
	}
}
