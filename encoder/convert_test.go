package encoder_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/agiqa/agiqa/checkpoint/onnxpb"
	"github.com/agiqa/agiqa/encoder"
)

func convert(t *testing.T, p *published, tensors map[string][]float32, precision encoder.Precision) ([]byte, error) {
	t.Helper()
	c, err := encoder.ParseCalibration(calibrationFile(t, tensors))
	if err != nil {
		return nil, err
	}
	return encoder.Convert(p.file(t), smallShape, smallDim, c, precision)
}

// TestConvert looks at the graphs' form. Their numbers are those of the
// published encoder: TestDefaultEncoder in cmd/agiqa compares them.
func TestConvert(t *testing.T) {
	for _, tt := range []struct {
		precision  encoder.Precision
		quantised  int // activations that become 8 bits: four of a layer, the query's in the last one, the projection's
		int8s      int // weights in 8 bits
		multiplied int // products of activations and weights, and two of attention in each layer
	}{
		{encoder.FP32, 0, 0, 1 + 4*2 + 1 + 1 + 2*2},
		{encoder.Int8, 4*2 + 1 + 1, 4*2 + 1 + 1, 1 + 4*2 + 1 + 1 + 2*2},
	} {
		t.Run(string(tt.precision), func(t *testing.T) {
			first, err := convert(t, newPublished(), calibration(), tt.precision)
			if err != nil {
				t.Fatal(err)
			}
			again, err := convert(t, newPublished(), calibration(), tt.precision)
			if err != nil || !bytes.Equal(first, again) {
				t.Errorf("the same weights gave other bytes (error %v)", err)
			}
			var m onnxpb.Model
			if err := proto.Unmarshal(first, &m); err != nil {
				t.Fatal(err)
			}
			count := map[string]int{}
			made := map[string]bool{"pixels": true}
			for _, c := range m.Graph.Initializer {
				if made[c.Name] {
					t.Errorf("two constants are named %s", c.Name)
				}
				made[c.Name] = true
				if c.DataType == onnxpb.Tensor_INT8 && len(c.Dims) == 2 {
					count["int8"]++
				}
			}
			for _, n := range m.Graph.Node {
				count[n.OpType]++
				for _, in := range n.Input {
					if !made[in] {
						t.Errorf("node %s takes %s, which nothing before it makes", n.Name, in)
					}
				}
				for _, out := range n.Output {
					if made[out] {
						t.Errorf("two things are named %s", out)
					}
					made[out] = true
				}
			}
			if !made["image_embedding"] {
				t.Error("nothing makes image_embedding")
			}
			for what, want := range map[string]int{
				"QuantizeLinear": tt.quantised, "int8": tt.int8s, "MatMul": tt.multiplied,
				"DequantizeLinear": tt.quantised + tt.int8s,
			} {
				if count[what] != want {
					t.Errorf("%s: %d, want %d", what, count[what], want)
				}
			}
		})
	}
}

func TestConvertRefuses(t *testing.T) {
	const layer = "vision_model.encoder.layers.1."
	for _, tt := range []struct {
		name    string
		weights func(t *testing.T, p *published)
		tensors func(c map[string][]float32)
		want    string
	}{
		{name: "a constant missing", want: "no constant " + layer + "mlp.fc1.bias",
			weights: func(t *testing.T, p *published) { p.constant(t, layer+"mlp.fc1.bias").Name = "other" }},
		{name: "a constant of another shape", want: "has shape [2 2], want [4]",
			weights: func(t *testing.T, p *published) { p.constant(t, layer+"layer_norm1.bias").Dims = []int64{2, 2} }},
		{name: "a constant cut short", want: "has 3 numbers",
			weights: func(t *testing.T, p *published) {
				c := p.constant(t, layer+"layer_norm1.bias")
				c.RawData = c.RawData[:12]
			}},
		{name: "a number that is none", want: "element 0 is NaN",
			weights: func(t *testing.T, p *published) {
				copy(p.constant(t, layer+"layer_norm1.bias").RawData, []byte{0, 0, 0xc0, 0x7f})
			}},
		{name: "a MatMul missing", want: "no MatMul visual_projection",
			weights: func(_ *testing.T, p *published) { p.Node = p.Node[:len(p.Node)-1] }},
		{name: "weights missing", want: "weights or scales are missing",
			weights: func(t *testing.T, p *published) { p.constant(t, "onnx::MatMul_1003_quantized").Name = "other" }},
		{name: "weights cut short", want: "aren't an int8 matrix",
			weights: func(t *testing.T, p *published) {
				c := p.constant(t, "onnx::MatMul_1003_quantized")
				c.RawData = c.RawData[1:]
			}},
		{name: "a scale too few", want: "3 scales for 4 outputs",
			weights: func(t *testing.T, p *published) {
				c := p.constant(t, "onnx::MatMul_1003_scale")
				c.FloatData, c.Dims = c.FloatData[:3], []int64{3}
			}},
		{name: "no calibration of a MatMul", want: "layers.1.fc2.smooth",
			tensors: func(c map[string][]float32) { delete(c, "layers.1.fc2.smooth") }},
		{name: "a factor of zero", want: "layers.0.out.smooth[0] is 0",
			tensors: func(c map[string][]float32) { c["layers.0.out.smooth"][0] = 0 }},
		{name: "a zero point that is none", want: "proj.input_zero_point is 256",
			tensors: func(c map[string][]float32) { c["proj.input_zero_point"][0] = 256 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, tensors := newPublished(), calibration()
			if tt.weights != nil {
				tt.weights(t, p)
			}
			if tt.tensors != nil {
				tt.tensors(tensors)
			}
			if _, err := convert(t, p, tensors, encoder.Int8); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestConvertNeedsACalibration(t *testing.T) {
	_, err := encoder.Convert(newPublished().file(t), smallShape, smallDim, nil, encoder.Int8)
	if err == nil || !strings.Contains(err.Error(), "needs a calibration") {
		t.Errorf("error is %v", err)
	}
}
