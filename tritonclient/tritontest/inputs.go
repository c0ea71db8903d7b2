package tritontest

import (
	"math"

	"github.com/agiqa/agiqa/quality"
)

// Image returns one of many different images: waves whose length, direction
// and colour depend on n, so that any CLIP tells them apart.
func Image(n int) quality.Pixels {
	var across, down [quality.ImageSize][3]float64
	f := 2 * math.Pi * float64(1+n) / quality.ImageSize
	for i := range quality.ImageSize {
		for ch := range 3 {
			across[i][ch] = math.Sin(f * float64(i) * float64(ch+1) / 2)
			down[i][ch] = math.Cos(f*float64(i)/float64(ch+1) + float64(n))
		}
	}
	data := make([]byte, 0, quality.PixelsLen)
	for y := range quality.ImageSize {
		for x := range quality.ImageSize {
			for ch := range 3 {
				data = append(data, byte(127.5+63*(across[x][ch]+down[y][ch])))
			}
		}
	}
	p, err := quality.NewPixels(data)
	if err != nil {
		panic(err) // the length is right by construction
	}
	return p
}

func testImages(n int) []quality.Pixels {
	out := make([]quality.Pixels, n)
	for i := range out {
		out[i] = Image(i)
	}
	return out
}

// Token ids of CLIP's vocabulary.
const (
	startOfText = 49406
	endOfText   = 49407
)

// testPrompts returns n different texts: start, two learned vectors, a word,
// a full stop, end.
func testPrompts(enc quality.Encoder, n int) quality.Prompts {
	p := quality.Prompts{
		TokenIDs:    make([]int32, n*enc.ContextLength),
		Context:     make([]float32, n*enc.ContextLength*enc.TextWidth),
		ContextMask: make([]uint8, n*enc.ContextLength),
		N:           n, L: enc.ContextLength, W: enc.TextWidth,
	}
	for i := range n {
		row := i * p.L
		copy(p.TokenIDs[row:], []int32{startOfText, 343, 343, int32(1000 + 37*i), 269, endOfText})
		p.ContextMask[row+1], p.ContextMask[row+2] = 1, 1
		for j := range 2 * p.W {
			p.Context[(row+1)*p.W+j] = float32(math.Sin(float64(j+1))) / 10
		}
	}
	return p
}

// Prompts returns six prompts, as a checkpoint has them.
func Prompts(enc quality.Encoder) quality.Prompts { return testPrompts(enc, quality.CategoryCount) }

// Texts returns what the text encoder makes of [Prompts].
func Texts(enc quality.Encoder) quality.TextEmbeddings {
	return quality.TextEmbeddings(TextEmbeddings(enc, Prompts(enc)))
}

func onePrompt(p quality.Prompts, i int) quality.Prompts {
	return quality.Prompts{
		TokenIDs:    p.TokenIDs[i*p.L : (i+1)*p.L],
		Context:     p.Context[i*p.L*p.W : (i+1)*p.L*p.W],
		ContextMask: p.ContextMask[i*p.L : (i+1)*p.L],
		N:           1, L: p.L, W: p.W,
	}
}
