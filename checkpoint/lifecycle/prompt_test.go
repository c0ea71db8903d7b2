package lifecycle_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// promptAware returns a bundle whose head reads the prompts of pictures.
func (r *rig) promptAware(name string, golden int) *checkpoint.Bundle {
	r.t.Helper()
	enc := tritontest.Encoder()
	d := checkpointtest.New(enc, name, 9).PromptAware()
	d.AddGolden(r.t, golden, quality.TextEmbeddings(tritontest.TextEmbeddings(enc, d.Prompts(r.t))))
	manifest, weights := d.Files(r.t)
	limits := checkpoint.DefaultLimits()
	limits.NoGolden = true
	b, err := checkpoint.Decode(manifest, weights, limits)
	must(r.t, err)
	return r.heads.add(b)
}

// TestImportPromptAware: the head alone is loaded, and golden cases are replayed
// with their prompts, or with ones that the server made.
func TestImportPromptAware(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		for name, golden := range map[string]int{"with cases": 3, "without": 0} {
			t.Run(name, func(t *testing.T) {
				r := newRig(t, uploads)
				b := r.promptAware("aware", golden)
				report, err := r.manager.Import(t.Context(), lifecycle.Import{Bundle: b})
				must(t, err)
				if report.Golden < 3 || report.MaxDiff > 1e-4 {
					t.Errorf("report %+v", report)
				}
				c := b.Checkpoint()
				for i, s := range r.servers {
					models := s.Models()
					if !slices.Contains(models, c.HeadModel()) || slices.Contains(models, c.EnsembleModel()) {
						t.Errorf("server %d has %v, want the head and no ensemble", i, models)
					}
				}
				must(t, lifecycle.NewReadiness(r.client, r.texts).Check(t.Context(), tritontest.Encoder(), c))
			})
		}
	})
}

// TestImportPromptAwareWithWrongGoldenScores: a prompt of another case gives
// another score.
func TestImportPromptAwareWithWrongGoldenScores(t *testing.T) {
	r := newRig(t, false)
	b := r.promptAware("aware", 2)
	golden := slices.Clone(b.Golden())
	golden[0].PromptEmbedding = golden[1].PromptEmbedding
	b, err := b.WithGolden(golden)
	must(t, err)
	_, err = r.manager.Import(t.Context(), lifecycle.Import{Bundle: b})
	wantKind(t, err, quality.KindCheckpointInvalid)
	if err != nil && !strings.Contains(err.Error(), "golden[0]") {
		t.Errorf("error %v names no case", err)
	}
}
