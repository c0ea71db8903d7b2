package encoder

import (
	"fmt"
	"math"
)

// Vision is the shape of the image tower.
type Vision struct {
	Width      int `json:"width"`
	Layers     int `json:"layers"`
	Heads      int `json:"heads"`
	Patch      int `json:"patch"`
	Resolution int `json:"resolution"`
}

// side is the number of patches along an edge of a picture.
func (v Vision) side() int { return v.Resolution / v.Patch }

// hidden is the width between the two layers of an MLP.
func (v Vision) hidden() int { return 4 * v.Width }

// CLIP's normalisation: (pixel/255 - mean) / std.
var (
	pixelMean = [3]float64{0.48145466, 0.4578275, 0.40821073}
	pixelStd  = [3]float64{0.26862954, 0.26130258, 0.27577711}
)

// linear is a multiplication by weights, after which bias (if any) is added.
type linear struct {
	name   string
	weight dense
	bias   []float32
	input  activation // of the int8 graph
}

// norm is a LayerNormalization.
type norm struct {
	name         string
	weight, bias []float32
}

// block is one layer of the tower.
type block struct {
	norm1, norm2       norm
	qkv, out, fc1, fc2 linear
	// beforeFC2 multiplies the input of fc2; nil: nothing does.
	beforeFC2 []float32
}

// tower gives the parts of an image tower, as the graph wants them.
type tower struct {
	weights weights
	shape   Vision
	dim     int // of the embedding
}

const layersPrefix = towerPrefix + "encoder."

// patches returns the multiplication that turns the pixels of a patch, in the
// order row, column, channel, into a vector, and the position vectors: what is
// added to the class token (row 0) and to each patch. Normalisation and the
// class token are part of them.
func (t tower) patches() (linear, []float32, error) {
	v := t.shape
	p, width, inputs := v.Patch, v.Width, 3*v.Patch*v.Patch
	kernel, err := t.weights.vector(towerPrefix+"embeddings.patch_embedding.weight",
		int64(width), 3, int64(p), int64(p))
	if err != nil {
		return linear{}, nil, err
	}
	class, err := t.weights.vector(towerPrefix+"embeddings.class_embedding", int64(width))
	if err != nil {
		return linear{}, nil, err
	}
	rows := v.side()*v.side() + 1
	positions, err := t.weights.vector(towerPrefix+"embeddings.position_embedding.weight", int64(rows), int64(width))
	if err != nil {
		return linear{}, nil, err
	}
	weight := newDense(inputs, width)
	for o := range width {
		shift := 0.0
		for c := range 3 {
			scale, offset := 1/(255*pixelStd[c]), -pixelMean[c]/pixelStd[c]
			for yx := range p * p {
				k := float64(kernel[(o*3+c)*p*p+yx])
				weight.row(3*yx + c)[o] = float32(k * scale)
				shift += float64(k * offset) // the conversion keeps the sum apart on every machine
			}
		}
		for row := 1; row < rows; row++ {
			positions[row*width+o] = float32(float64(positions[row*width+o]) + shift)
		}
		positions[o] += class[o]
	}
	return linear{name: "patch", weight: weight}, positions, nil
}

// layer returns layer l with the scale of attention in the weights of the
// queries, and queries, keys and values in one multiplication.
func (t tower) layer(l int) (block, error) {
	from, to := fmt.Sprintf("%slayers.%d.", layersPrefix, l), fmt.Sprintf("layers.%d.", l)
	w := t.shape.Width
	var b block
	var err error
	if b.norm1, err = t.norm(from+"layer_norm1", to+"norm1"); err != nil {
		return b, err
	}
	if b.norm2, err = t.norm(from+"layer_norm2", to+"norm2"); err != nil {
		return b, err
	}
	var parts [3]linear
	for i, name := range []string{"q_proj", "k_proj", "v_proj"} {
		if parts[i], err = t.linear(from+"self_attn."+name, "", w, w); err != nil {
			return b, err
		}
	}
	scale := float32(1 / math.Sqrt(float64(w/t.shape.Heads)))
	parts[0].weight.scale(scale)
	for i := range parts[0].bias {
		parts[0].bias[i] *= scale
	}
	b.qkv = linear{
		name: to + "qkv", weight: beside(parts[0].weight, parts[1].weight, parts[2].weight),
		bias: append(append(parts[0].bias, parts[1].bias...), parts[2].bias...),
	}
	if b.out, err = t.linear(from+"self_attn.out_proj", to+"out", w, w); err != nil {
		return b, err
	}
	if b.fc1, err = t.linear(from+"mlp.fc1", to+"fc1", w, t.shape.hidden()); err != nil {
		return b, err
	}
	b.fc2, err = t.linear(from+"mlp.fc2", to+"fc2", t.shape.hidden(), w)
	return b, err
}

// balance moves the spread of the inputs' channels into the weights. Where the
// input comes from a normalisation or a multiplication, that one divides it;
// the input of fc2 comes from a product and needs a multiplication of its own.
func (b *block) balance(c *Calibration) error {
	for _, m := range []*linear{&b.qkv, &b.out, &b.fc1, &b.fc2} {
		s, err := c.factors(m.name, m.weight.in)
		if err != nil {
			return err
		}
		if m.input, err = c.activation(m.name); err != nil {
			return err
		}
		switch m {
		case &b.qkv:
			divide(b.norm1.weight, s)
			divide(b.norm1.bias, s)
		case &b.fc1:
			divide(b.norm2.weight, s)
			divide(b.norm2.bias, s)
		case &b.out: // its input is a weighted mean of the values
			values := 2 * b.out.weight.in
			b.qkv.weight.divideColumns(values, s)
			divide(b.qkv.bias[values:], s)
		case &b.fc2:
			b.beforeFC2 = make([]float32, len(s))
			for i := range s {
				b.beforeFC2[i] = 1 / s[i]
			}
		}
		m.weight.multiplyRows(s)
	}
	return nil
}

// projection returns the multiplication that gives the embedding.
func (t tower) projection() (linear, error) {
	weight, err := t.weights.matrix("visual_projection", t.shape.Width, t.dim)
	return linear{name: "proj", weight: weight}, err
}

func (t tower) norm(from, name string) (norm, error) {
	n := norm{name: name}
	var err error
	if n.weight, err = t.weights.vector(from+".weight", int64(t.shape.Width)); err != nil {
		return n, err
	}
	n.bias, err = t.weights.vector(from+".bias", int64(t.shape.Width))
	return n, err
}

func (t tower) linear(from, name string, in, out int) (linear, error) {
	l := linear{name: name}
	var err error
	if l.weight, err = t.weights.matrix(from, in, out); err != nil {
		return l, err
	}
	l.bias, err = t.weights.vector(from+".bias", int64(out))
	return l, err
}

// columns returns the part of l that gives outputs from..to.
func (l linear) columns(suffix string, from, to int) linear {
	part := linear{name: l.name + suffix, weight: l.weight.columns(from, to), input: l.input}
	if l.bias != nil {
		part.bias = l.bias[from:to]
	}
	return part
}
