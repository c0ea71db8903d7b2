package testimages

import (
	"embed"
	"encoding/json"
	"fmt"
)

//go:embed orders
var orderFiles embed.FS

// Orders is what a version of Pillow makes of pictures for which the order of
// the resize's passes matters, as make_orders.py recorded it.
type Orders struct {
	Pillow string
	Cells  []Cells
	First  []FirstPass
}

// Cells is the SHA-256 of the cells of a picture at a size, row by row, of the
// picture that [Order] draws.
type Cells struct {
	Width, Height, Size int
	SHA256              string
}

// FirstPass is the pass that a resize begins with.
type FirstPass struct {
	Width, Height, NewWidth, NewHeight int
	Vertical                           bool
}

// OrdersOf returns what a version of Pillow made.
func OrdersOf(version string) (Orders, error) {
	data, err := orderFiles.ReadFile("orders/pillow-" + version + ".json")
	if err != nil {
		return Orders{}, err
	}
	var file struct {
		Pillow        string
		Cells, Orders [][]any
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return Orders{}, fmt.Errorf("orders of Pillow %s: %w", version, err)
	}
	number := func(v any) int { return int(v.(float64)) }
	out := Orders{Pillow: file.Pillow}
	for _, c := range file.Cells {
		out.Cells = append(out.Cells, Cells{number(c[0]), number(c[1]), number(c[2]), c[3].(string)})
	}
	for _, o := range file.Orders {
		out.First = append(out.First, FirstPass{number(o[0]), number(o[1]), number(o[2]), number(o[3]), o[4] == "vertical"})
	}
	return out, nil
}

// Order draws RGB of a size in which every row and column differs from the next,
// so that rounding between the passes shows.
func Order(w, h int) []byte {
	pix := make([]byte, 0, 3*w*h)
	for y := range h {
		for x := range w {
			pix = append(pix, byte(7*x+3*y), byte(x*y/5), byte((x/3)^(y/2)))
		}
	}
	return pix
}
