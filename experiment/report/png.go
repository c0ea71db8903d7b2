package report

import (
	"bytes"
	"image/color"
	"strconv"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/agiqa/agiqa/experiment/analysis"
)

const (
	mostOnSheet = 12 // pictures
	dpi         = 96
)

// PNG draws the pictures of a report on one sheet, two in a row, under a headline
// with the decision.
func PNG(r analysis.Report) ([]byte, error) {
	var all []picture
	for p := range pictures(r) {
		if all = append(all, p); len(all) == mostOnSheet {
			break
		}
	}
	rows := (len(all) + 1) / 2
	const head = 0.9 * vg.Inch
	width, height := 2*pictureWidth+0.4*vg.Inch, head+vg.Length(rows)*(pictureHeight+0.1*vg.Inch)+0.1*vg.Inch
	canvas := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi), vgimg.UseBackgroundColor(color.White))
	sheet := draw.New(canvas)
	y := sheet.Max.Y - 0.35*vg.Inch
	for i, line := range headlines(r) {
		size := vg.Length(10)
		if i == 0 {
			size = 15
		}
		style := text.Style{
			Color: ink, Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: size},
			XAlign: text.XLeft, YAlign: text.YCenter, Handler: text.Plain{Fonts: font.DefaultCache},
		}
		sheet.FillText(style, vg.Point{X: sheet.Min.X + 0.2*vg.Inch, Y: y}, line)
		y -= 0.2 * vg.Inch
	}
	top := sheet.Max.Y - head
	for i, p := range all {
		x := sheet.Min.X + 0.15*vg.Inch + vg.Length(i%2)*(pictureWidth+0.1*vg.Inch)
		below := top - vg.Length(i/2+1)*(pictureHeight+0.1*vg.Inch)
		p.drawOn(draw.Canvas{Canvas: sheet.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: x, Y: below}, Max: vg.Point{X: x + pictureWidth, Y: below + pictureHeight},
		}})
	}
	var b bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// headlines say what the sheet is about and what came out.
func headlines(r analysis.Report) []string {
	which := "phase " + strconv.Itoa(r.Experiment.Phase)
	if r.Experiment.Name != string(r.Experiment.ID) {
		which = string(r.Experiment.ID) + ", " + which
	}
	lines := []string{cut(r.Experiment.Name, 90) + " (" + which + ")"}
	for _, c := range r.Decision.Comparisons {
		if len(lines) < 3 {
			lines = append(lines,
				short(string(c.Arm))+": "+conclusion(c)+"; effect "+number(c.Effect)+", interval "+between(c.Agreed.Low,
					c.Agreed.High))
		}
	}
	return lines
}
