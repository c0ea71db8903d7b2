package report

import (
	"bytes"
	"fmt"
	"html"
	"image/color"
	"regexp"
	"strings"

	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// svg is a picture as an element of a page. Its colours are variables of the page,
// and its size follows the page's width.
func (p picture) svg() (string, error) {
	canvas := vgsvg.New(pictureWidth, p.Height)
	p.drawOn(draw.New(canvas))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", err
	}
	text := b.String()
	begin := strings.Index(text, "<svg")
	if begin < 0 {
		return "", fmt.Errorf("picture %s: the drawing is no svg", p.ID)
	}
	text = styleAttribute.ReplaceAllStringFunc(text[begin:], asAttributes)
	end := strings.Index(text, ">")
	text = fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" role="img" aria-label="%s">`,
		float64(pictureWidth), float64(p.Height), html.EscapeString(p.Title)) + text[end+1:]
	return colours().Replace(text), nil
}

// styleAttribute is how the canvas says how an element looks. The page's policy
// allows no such attribute: whoever could smuggle one in could cover the page.
var styleAttribute = regexp.MustCompile(`style="([^"]*)"`)

// asAttributes turns a style attribute into one attribute for each property.
func asAttributes(style string) string {
	var attributes []string
	for declaration := range strings.SplitSeq(styleAttribute.FindStringSubmatch(style)[1], ";") {
		if name, value, ok := strings.Cut(declaration, ":"); ok {
			attributes = append(attributes, strings.TrimSpace(name)+`="`+strings.TrimSpace(value)+`"`)
		}
	}
	return strings.Join(attributes, " ")
}

// colours makes variables of the colours of paper.
func colours() *strings.Replacer {
	pairs := []string{hex(ink), "var(--ink)", hex(soft), "var(--soft)", hex(grid), "var(--grid)", hex(stop), "var(--stop)"}
	for i, c := range armColours {
		name := fmt.Sprintf("var(--arm%d)", i)
		pairs = append(pairs, hex(c), name)
		for _, alpha := range []uint8{bandAlpha, barAlpha, dotAlpha} {
			pairs = append(pairs, hex(pale(c, alpha)), name)
		}
	}
	return strings.NewReplacer(pairs...)
}

// hex is a colour as the canvas writes it: a pale one is off by a little, since it
// was multiplied by its alpha and divided again.
func hex(c color.Color) string {
	r, g, b, a := c.RGBA()
	whole := 255 / float64(a)
	return fmt.Sprintf("#%02X%02X%02X", int(float64(r)*whole), int(float64(g)*whole), int(float64(b)*whole))
}
