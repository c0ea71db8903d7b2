package vp8l

// The kernels, as this processor runs them and as portable Go.
var (
	AddGreen, AddGreenPortable = addGreen, addGreenPortable
	AddCross, AddCrossPortable = addCross, addCrossPortable
	Predict, PredictPortable   = predict, predictPortable
	ToRGB, RGBPortable         = toRGB, rgbPortable
)

// Slack is how many pixels kernels may touch behind a row.
const Slack = slack

// Symbols makes a code of lengths and decodes data with it, to its end or to n
// symbols.
func Symbols(lengths []uint8, data []byte, n int) ([]uint32, error) {
	a := arena{left: 1 << 20}
	c, err := a.build(lengths)
	if err != nil {
		return nil, err
	}
	r := reader{data: data}
	var out []uint32
	for len(out) < n {
		r.fill()
		s := r.read(&c)
		if r.overrun() {
			break
		}
		out = append(out, s)
	}
	return out, nil
}
