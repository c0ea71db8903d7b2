package tritontest

import (
	"math"

	"github.com/agiqa/agiqa/quality"
)

// Encoder returns the encoder that a server holds unless told otherwise: 8
// numbers in an embedding, context vectors of width 4, 77 tokens.
func Encoder() quality.Encoder {
	return quality.Encoder{
		Name:          "tritontest",
		Digest:        quality.DigestOf([]byte("tritontest encoder")),
		Dim:           8,
		TextWidth:     4,
		ContextLength: 77,

		TextCapability: quality.TextGeneral,
	}
}

// Checkpoint returns a checkpoint of [Encoder]; other names are other
// checkpoints.
func Checkpoint(name string) quality.Checkpoint {
	return quality.Checkpoint{
		Name:    name,
		Digest:  quality.DigestOf([]byte("tritontest checkpoint " + name)),
		Encoder: Encoder().Digest,
		Task:    quality.TaskQuality,
		Score:   quality.ScoreRange{Min: 0, Max: 5, Unit: "MOS"},
	}
}

// ImageEmbedding is what the image encoder answers: a weighted sum of the
// pixels for each number, normalised. The weights come from the encoder's
// digest.
func ImageEmbedding(enc quality.Encoder, p quality.Pixels) quality.Embedding {
	sums := make([]float64, enc.Dim)
	for i, b := range p.Bytes() {
		sums[i%enc.Dim] += (float64(b) - 127.5) * weight(enc.Digest, i)
	}
	return unit(sums)
}

// TextEmbeddings is what the text encoder answers, one embedding per prompt.
// Context counts where the mask is 1, token ids where it is 0.
func TextEmbeddings(enc quality.Encoder, p quality.Prompts) []quality.Embedding {
	out := make([]quality.Embedding, p.N)
	for n := range out {
		sums := make([]float64, enc.Dim)
		for l := range p.L {
			v := float64(p.TokenIDs[n*p.L+l]%1009) / 1009
			if p.ContextMask[n*p.L+l] == 1 {
				v = 0
				for w := range p.W {
					v += float64(p.Context[(n*p.L+l)*p.W+w]) * weight(enc.Digest, w)
				}
			}
			for d := range sums {
				sums[d] += v * weight(enc.Digest, l*enc.Dim+d)
			}
		}
		out[n] = unit(sums)
	}
	return out
}

// HeadScore is what the head of c answers: the cosines with the six texts,
// and a score between 0 and 5 made of them by weights that come from the
// checkpoint's digest.
func HeadScore(c quality.Checkpoint, text quality.TextEmbeddings, image quality.Embedding) quality.HeadScore {
	var j quality.HeadScore
	var sum float64
	for k, t := range text {
		var dot float64
		for d, v := range t {
			dot += float64(v) * float64(image[d])
		}
		j.Similarity[k] = float32(dot)
		sum += dot * weight(c.Digest, k)
	}
	j.Score = float32(5 / (1 + math.Exp(-sum)))
	return j
}

// PromptHeadScore is what the head of c answers where it reads prompts: that of
// [HeadScore], moved up to half a point up or down by the cosine of image and
// prompt.
func PromptHeadScore(
	c quality.Checkpoint, text quality.TextEmbeddings, image, prompt quality.Embedding,
) quality.HeadScore {
	j := HeadScore(c, text, image)
	var dot float64
	for d, v := range prompt {
		dot += float64(v) * float64(image[d])
	}
	j.Score += float32(dot / 2)
	return j
}

// weight is between -1 and 1. The period, 31, has no factor in common with
// the dimensions in use, so every number of an embedding sees every weight.
func weight(d quality.Digest, i int) float64 { return float64(int8(d[i%31])) / 128 }

// unit scales to a norm of 1, after a small slant that keeps it from 0.
func unit(sums []float64) quality.Embedding {
	var norm float64
	for d := range sums {
		sums[d] += float64(d+1) / 1000
		norm += sums[d] * sums[d]
	}
	norm = math.Sqrt(norm)
	e := make(quality.Embedding, len(sums))
	for d, v := range sums {
		e[d] = float32(v / norm)
	}
	return e
}
