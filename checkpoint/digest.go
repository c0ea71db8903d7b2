package checkpoint

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/quality"
)

// contentDigest digests everything that a score depends on, and nothing else:
// the encoder, how prompts are put together, what format 2 says of a score's
// meaning, and every number. Name, licence and metrics stay outside, so that
// renaming a checkpoint does not make it another. tensors must be in order of
// name. Training computes the same.
func contentDigest(m Manifest, tensors []safetensors.Tensor) quality.Digest {
	h := quality.NewFieldHash().
		String(m.Format).
		String(m.Encoder.Digest.String()).
		String(string(m.ClassTokenPosition)).
		String(strconv.Itoa(m.ContextLength)).
		String(flag(m.ClassSpecific)).
		String(strconv.Itoa(len(m.Categories)))
	for _, c := range m.Categories {
		h.String(c)
	}
	if m.Format != FormatV1 {
		addMeaning(h, m)
	}
	for _, t := range tensors {
		h.String(t.Name).String(safetensors.F32).String(safetensors.JoinInts(t.Shape)).Bytes(t.Bytes())
	}
	return h.Sum()
}

// addMeaning adds the fields of format 2.
func addMeaning(h *quality.FieldHash, m Manifest) {
	h.String(string(m.Task)).String(strconv.Itoa(len(m.Views)))
	for _, v := range m.Views {
		h.String(v)
	}
	h.String(flag(m.Score.Clamp)).Bytes(float64Bytes(m.Score.Min)).Bytes(float64Bytes(m.Score.Max))
	h.String(flag(m.Interval != nil))
	if i := m.Interval; i != nil {
		h.Bytes(float64Bytes(i.Coverage)).String(strconv.Itoa(len(i.Edges)))
		for _, v := range i.Edges {
			h.Bytes(float64Bytes(v))
		}
		for _, v := range i.HalfWidths {
			h.Bytes(float64Bytes(v))
		}
	}
	h.String(flag(m.Reference != nil))
	if m.Reference != nil {
		h.Bytes(float64Bytes(m.Reference.Threshold))
	}
	h.String(flag(m.Prompt))
	if m.Recipe != "" { // no bundle had one before there were two
		h.String(m.Recipe)
	}
}

func flag(v bool) string {
	if v {
		return "1"
	}
	return "0"
}

// float64Bytes returns the 8 bytes of v, little-endian.
func float64Bytes(v float64) []byte {
	return binary.LittleEndian.AppendUint64(nil, math.Float64bits(v))
}
