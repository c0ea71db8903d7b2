package lifecycle

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/quality"
)

// inventedCases is how many cases stand in for golden ones where a bundle has
// none.
const inventedCases = 8

// withCases gives a bundle golden cases that has none, such as one made from a
// folder of the original code: random embeddings, the same for the same bundle,
// and the scores by the arithmetic of its own numbers. They show that servers
// compute what the bundle says, though not what training saw.
func withCases(b *checkpoint.Bundle, text quality.TextEmbeddings) (*checkpoint.Bundle, error) {
	if len(b.Golden()) > 0 {
		return b, nil
	}
	var invented []checkpoint.GoldenCase
	random := rand.New(rand.NewChaCha8(b.Checkpoint().Digest))
	for range inventedCases {
		image := direction(random, b.Head().Dim)
		c := checkpoint.GoldenCase{ImageEmbedding: image}
		if b.Checkpoint().Prompt {
			c.PromptEmbedding = direction(random, b.Head().Dim)
		}
		scored, err := scoreCase(b, text, c)
		if err != nil {
			return nil, err
		}
		c.Score = float64(scored.Score)
		invented = append(invented, c)
	}
	return b.WithGolden(invented)
}

// scoreCase computes a golden case by the arithmetic of b's head.
func scoreCase(b *checkpoint.Bundle, text quality.TextEmbeddings, c checkpoint.GoldenCase) (quality.HeadScore, error) {
	if b.Checkpoint().Prompt {
		return b.Head().ScoreWithPrompt(c.ImageEmbedding, text, c.PromptEmbedding)
	}
	return b.Head().Score(c.ImageEmbedding, text)
}

// direction is a random unit vector.
func direction(random *rand.Rand, dim int) quality.Embedding {
	e := make(quality.Embedding, dim)
	var sum float64
	for i := range e {
		v := random.NormFloat64()
		e[i], sum = float32(v), sum+v*v
	}
	for i := range e {
		e[i] /= float32(math.Sqrt(sum))
	}
	return e
}

// verify computes the golden cases here, so that a manifest that does not
// belong to its weights is known before anything changes.
func (i *importing) verify(context.Context) (err error) {
	if i.entry.Bundle, err = withCases(i.entry.Bundle, i.text); err != nil {
		return err
	}
	for k, c := range i.entry.Bundle.Golden() {
		scored, err := scoreCase(i.entry.Bundle, i.text, c)
		if err != nil {
			return err
		}
		if diff := math.Abs(float64(scored.Score) - c.Score); !(diff <= i.manager.cfg.Tolerance) {
			return quality.Errorf(quality.KindCheckpointInvalid,
				"golden[%d]: the manifest says %g, its own weights give %g, %g apart (%g is allowed)",
				k, c.Score, scored.Score, diff, i.manager.cfg.Tolerance)
		}
	}
	return nil
}

// replay asks every server for the golden scores.
func (i *importing) replay(ctx context.Context) error {
	golden := i.entry.Bundle.Golden()
	var images, prompts []quality.Embedding
	for _, c := range golden {
		images = append(images, c.ImageEmbedding)
		if i.entry.Checkpoint.Prompt {
			prompts = append(prompts, c.PromptEmbedding)
		}
	}
	answers, err := i.manager.Servers.Score(ctx, i.encoder, i.entry.Checkpoint, i.text, images, prompts)
	if err != nil {
		return err
	}
	if len(answers) == 0 {
		return quality.Errorf(quality.KindModelUnavailable, "no server scored the golden cases")
	}
	var servers []string
	for server := range answers {
		servers = append(servers, server)
	}
	slices.Sort(servers)
	i.report.Golden = len(golden)
	for _, server := range servers {
		for k, scored := range answers[server] {
			diff := math.Abs(float64(scored.Score) - golden[k].Score)
			if !(diff <= i.manager.cfg.Tolerance) { // also when it is no number
				return quality.Errorf(quality.KindModelBadOutput,
					"on %s: golden[%d] scores %g, want %g: %g apart (%g is allowed)", server, k, scored.Score, golden[k].Score,
					diff, i.manager.cfg.Tolerance)
			}
			i.report.MaxDiff = max(i.report.MaxDiff, diff)
		}
	}
	return nil
}
