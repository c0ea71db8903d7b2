package checkpoint

import (
	"strconv"

	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/quality"
)

// contentDigest digests everything that a score depends on, and nothing else:
// the encoder, how prompts are put together, and every number. Name, licence
// and metrics stay outside, so that renaming a checkpoint does not make it
// another. tensors must be in order of name. Training computes the same.
func contentDigest(m Manifest, tensors []safetensors.Tensor) quality.Digest {
	specific := "0"
	if m.ClassSpecific {
		specific = "1"
	}
	h := quality.NewFieldHash().
		String(Format).
		String(m.Encoder.Digest.String()).
		String(string(m.ClassTokenPosition)).
		String(strconv.Itoa(m.ContextLength)).
		String(specific).
		String(strconv.Itoa(len(m.Categories)))
	for _, c := range m.Categories {
		h.String(c)
	}
	for _, t := range tensors {
		h.String(t.Name).String(safetensors.F32).String(safetensors.JoinInts(t.Shape)).Bytes(t.Bytes())
	}
	return h.Sum()
}
