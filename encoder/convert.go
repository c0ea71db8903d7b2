package encoder

import (
	"fmt"

	"github.com/agiqa/agiqa/checkpoint/onnxpb"
)

// Precision is how a graph computes its matrix multiplications.
type Precision string

// The precisions.
const (
	// FP32 computes in float32. For GPUs, whose engine may use FP16.
	FP32 Precision = "fp32"
	// Int8 multiplies 8-bit weights by 8-bit activations with static scales,
	// and computes the rest in float32. For CPUs.
	Int8 Precision = "int8"
)

// Convert composes the graph of an image encoder from the file that its
// weights are published in:
//
//	pixels UINT8 [N,R,R,3] -> image_embedding FP32 [N,D], unit vectors
//
// Normalisation of pixels and of the embedding are part of the graph. In the
// last layer only the class token is computed, since nothing reads the rest.
// The same arguments give the same bytes on every machine. calibration is for
// [Int8] and may be nil otherwise.
func Convert(file []byte, shape Vision, dim int, calibration *Calibration, p Precision) ([]byte, error) {
	w, err := parseWeights(file)
	if err != nil {
		return nil, err
	}
	c := composer{graph: newGraph(), tower: tower{weights: w, shape: shape, dim: dim},
		int8: p == Int8, calibration: calibration}
	switch {
	case p != Int8 && p != FP32:
		return nil, fmt.Errorf("unknown precision %.40q", p)
	case c.int8 && calibration == nil:
		return nil, fmt.Errorf("precision %s needs a calibration", p)
	}
	return c.compose()
}

// composer writes a tower as a graph.
type composer struct {
	*graph
	tower       tower
	int8        bool
	calibration *Calibration
}

const (
	epsilon        = 1e-5  // of LayerNormalization
	quickGELU      = 1.702 // x * sigmoid(1.702 x)
	leastNorm      = 1e-12
	tensorPixels   = "pixels"
	tensorImage    = "image_embedding"
	imageModel     = "clip_image_encoder"
	firstOfPicture = "class_token" // index of the class token
)

func (c *composer) compose() ([]byte, error) {
	v := c.tower.shape
	x, err := c.embed()
	if err != nil {
		return nil, err
	}
	for l := range v.Layers {
		b, err := c.tower.layer(l)
		if err != nil {
			return nil, err
		}
		if c.int8 {
			if err := b.balance(c.calibration); err != nil {
				return nil, err
			}
		}
		x = c.block(x, b, l == v.Layers-1)
	}
	post, err := c.tower.norm(towerPrefix+"post_layernorm", "post")
	if err != nil {
		return nil, err
	}
	projection, err := c.tower.projection()
	if err != nil {
		return nil, err
	}
	if c.int8 {
		if projection.input, err = c.calibration.activation(projection.name); err != nil {
			return nil, err
		}
	}
	x = c.multiply(c.normalise(c.reshape(x, -1, int64(v.Width)), post), projection)
	norm := c.op("ReduceL2", []string{x},
		&onnxpb.Attribute{Name: "axes", Type: onnxpb.Attribute_INTS, Ints: []int64{1}}, integer("keepdims", 1))
	norm = c.op("Max", []string{norm, c.floats("least_norm", []float32{leastNorm})})
	c.named("Div", tensorImage, []string{x, norm})
	r := int64(v.Resolution)
	return c.marshal(imageModel,
		batched(tensorPixels, onnxpb.Tensor_UINT8, r, r, 3),
		batched(tensorImage, onnxpb.Tensor_FLOAT, int64(c.tower.dim)))
}

// embed cuts the pixels into patches and makes them the vectors [N,1+P,W] that
// enter the first layer.
func (c *composer) embed() (string, error) {
	v := c.tower.shape
	side, patch := int64(v.side()), int64(v.Patch)
	x := c.reshape(tensorPixels, -1, side, patch, side, patch*3)
	x = c.reshape(c.transpose(x, 0, 1, 3, 2, 4), -1, side*side, 3*patch*patch)
	patches, positions, err := c.tower.patches()
	if err != nil {
		return "", err
	}
	// In float32 at any precision: a hundredth of the work, and 8-bit weights
	// here cost more accuracy than anywhere else.
	x = c.op("Cast", []string{x}, integer("to", int64(onnxpb.Tensor_FLOAT)))
	x = c.op("MatMul", []string{x, c.weight(patches)})
	x = c.op("Pad", []string{x, c.integers("row_in_front", 0, 1, 0, 0, 0, 0)}) // the class token's
	x = c.op("Add", []string{x, c.floats("positions", positions, 1, side*side+1, int64(v.Width))})
	pre, err := c.tower.norm(towerPrefix+"pre_layrnorm", "pre") // misspelt in the source
	if err != nil {
		return "", err
	}
	return c.normalise(x, pre), nil
}

// block adds a layer: attention and MLP, each on what it normalises and added
// to what came in. In the last one only the class token goes on.
func (c *composer) block(x string, b block, last bool) string {
	y := c.normalise(x, b.norm1)
	var q, k, v string
	if last {
		w := b.qkv.weight.in
		query, rest := b.qkv.columns(".query", 0, w), b.qkv.columns(".rest", w, 3*w)
		kv := c.split(c.heads(c.multiply(y, rest), 2), 2)
		x, y = c.first(x), c.first(y)
		q, k, v = c.split(c.heads(c.multiply(y, query), 1), 1)[0], kv[0], kv[1]
	} else {
		qkv := c.split(c.heads(c.multiply(y, b.qkv), 3), 3)
		q, k, v = qkv[0], qkv[1], qkv[2]
	}
	a := c.op("Softmax", []string{c.op("MatMul", []string{q, c.transpose(k, 0, 1, 3, 2)})}, integer("axis", -1))
	a = c.transpose(c.op("MatMul", []string{a, v}), 0, 2, 1, 3)
	a = c.multiply(c.reshape(a, 0, 0, int64(c.tower.shape.Width)), b.out)
	x = c.op("Add", []string{x, a})
	y = c.multiply(c.normalise(x, b.norm2), b.fc1)
	gate := c.op("Sigmoid", []string{c.op("Mul", []string{y, c.floats("quick_gelu", []float32{quickGELU})})})
	y = c.op("Mul", []string{y, gate})
	if b.beforeFC2 != nil {
		y = c.op("Mul", []string{y, c.floats(b.fc2.name+".factors", b.beforeFC2, int64(len(b.beforeFC2)))})
	}
	return c.op("Add", []string{x, c.multiply(y, b.fc2)})
}

// first keeps the class token of each picture: [N,T,W] to [N,1,W].
func (c *composer) first(x string) string {
	return c.op("Gather", []string{x, c.integers(firstOfPicture, 0)}, integer("axis", 1))
}

// heads makes [N,T,n*W] into [n,N,heads,T,W/heads].
func (c *composer) heads(x string, n int64) string {
	heads := int64(c.tower.shape.Heads)
	x = c.reshape(x, 0, 0, n, heads, int64(c.tower.shape.Width)/heads)
	return c.transpose(x, 2, 0, 3, 1, 4)
}

func (c *composer) normalise(x string, n norm) string {
	size := int64(len(n.weight))
	return c.op("LayerNormalization",
		[]string{x, c.floats(n.name+".weight", n.weight, size), c.floats(n.name+".bias", n.bias, size)},
		integer("axis", -1), real("epsilon", epsilon))
}

// multiply adds x*weight+bias, in int8 with x quantised on the way.
func (c *composer) multiply(x string, l linear) string {
	weight := ""
	if c.int8 {
		activation := []string{
			c.floats(l.name+".input_scale", []float32{l.input.scale}),
			c.constant(l.name+".input_zero", onnxpb.Tensor_UINT8, []byte{l.input.zero}),
		}
		x = c.op("QuantizeLinear", append([]string{x}, activation...))
		x = c.op("DequantizeLinear", append([]string{x}, activation...))
		weight = c.quantised(l)
	} else {
		weight = c.weight(l)
	}
	y := c.op("MatMul", []string{x, weight})
	if l.bias == nil {
		return y
	}
	return c.op("Add", []string{y, c.floats(l.name+".bias", l.bias, int64(len(l.bias)))})
}

func (c *composer) weight(l linear) string {
	return c.floats(l.name+".weight", l.weight.v, int64(l.weight.in), int64(l.weight.out))
}

// quantised adds 8-bit weights and returns the name of what they stand for.
func (c *composer) quantised(l linear) string {
	q, scales := l.weight.quantise()
	out := int64(l.weight.out)
	return c.op("DequantizeLinear", []string{
		c.constant(l.name+".weight", onnxpb.Tensor_INT8, q, int64(l.weight.in), out),
		c.floats(l.name+".scales", scales, out),
		c.constant(l.name+".zeros", onnxpb.Tensor_INT8, make([]byte, out), out),
	}, integer("axis", 1))
}
