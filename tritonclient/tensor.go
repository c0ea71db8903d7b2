package tritonclient

import (
	"encoding/binary"
	"math"

	"github.com/agiqa/agiqa/quality"
)

// Data types, in the words of the protocol.
const (
	typeUint8 = "UINT8"
	typeInt32 = "INT32"
	typeFP32  = "FP32"
)

// input is one tensor to send: row-major, little-endian, batch first.
type input struct {
	name     string
	datatype string
	shape    []int64
	raw      [][]byte // in pieces, one after another
}

// output is one FP32 tensor that must come back.
type output struct {
	name  string
	shape []int64
	// loose says that its numbers need not be finite: the reader looks at them
	// one by one.
	loose bool
}

// elements is the number of values in a tensor of this shape, which comes
// from this program, not from the wire.
func elements(shape []int64) int {
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	return n
}

// pixelsInput lays images one after another, without copying any.
func pixelsInput(images []quality.Pixels) input {
	in := input{
		name: tensorPixels, datatype: typeUint8,
		shape: []int64{int64(len(images)), quality.ImageSize, quality.ImageSize, 3},
		raw:   make([][]byte, len(images)),
	}
	for i, p := range images {
		in.raw[i] = p.Bytes()
	}
	return in
}

// embeddingsInput lays embeddings of dim numbers one after another.
func embeddingsInput(name string, embeddings []quality.Embedding, dim int) input {
	raw := make([]byte, 0, 4*dim*len(embeddings))
	for _, e := range embeddings {
		raw = appendFloats(raw, e)
	}
	return input{
		name: name, datatype: typeFP32,
		shape: []int64{int64(len(embeddings)), int64(dim)}, raw: [][]byte{raw},
	}
}

// textInput repeats the six text embeddings for each of n images, because
// Triton wants one batch dimension on every input.
func textInput(text quality.TextEmbeddings, n, dim int) input {
	one := make([]byte, 0, 4*dim*quality.CategoryCount)
	for _, e := range text {
		one = appendFloats(one, e)
	}
	raw := make([][]byte, n)
	for i := range raw {
		raw[i] = one
	}
	return input{
		name: tensorTextEmbeddings, datatype: typeFP32,
		shape: []int64{int64(n), quality.CategoryCount, int64(dim)}, raw: raw,
	}
}

// promptInputs are the rows [from,to) of p.
func promptInputs(p quality.Prompts, from, to int) []input {
	n, l, w := int64(to-from), int64(p.L), int64(p.W)
	ids := p.TokenIDs[from*p.L : to*p.L]
	raw := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(id))
	}
	context := p.Context[from*p.L*p.W : to*p.L*p.W]
	return []input{
		{name: tensorTokenIDs, datatype: typeInt32, shape: []int64{n, l}, raw: [][]byte{raw}},
		{name: tensorContext, datatype: typeFP32, shape: []int64{n, l, w},
			raw: [][]byte{appendFloats(make([]byte, 0, 4*len(context)), context)}},
		{name: tensorContextMask, datatype: typeUint8, shape: []int64{n, l},
			raw: [][]byte{p.ContextMask[from*p.L : to*p.L]}},
	}
}

func appendFloats(raw []byte, values []float32) []byte {
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return raw
}
