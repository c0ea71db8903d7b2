package imageprep_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// TestSelfTestKnowsTheGoldens: the embedded copies are the goldens, and their
// sums are those that Pillow gave.
func TestSelfTestKnowsTheGoldens(t *testing.T) {
	expected := expectations(t)
	for _, c := range imageprep.SelfTestCases() {
		want := expected[c.Name]
		if c.RGB != hex.EncodeToString(want.RGB[:]) || c.Out != hex.EncodeToString(want.Out[:]) {
			t.Errorf("%s: sums %s, %s; want %x, %x", c.Name, c.RGB, c.Out, want.RGB, want.Out)
		}
		if !bytes.Equal(c.Data, testimages.Golden(c.Name)) {
			t.Errorf("%s is not the golden of that name", c.Name)
		}
	}
}

// TestSelfTestKnowsTheRecipes: it has a sum for each, and they are Pillow's.
func TestSelfTestKnowsTheRecipes(t *testing.T) {
	width, height, sums := imageprep.RecipeTest()
	for _, recipe := range quality.Recipes() {
		want := ""
		for _, c := range ordersOf(t, recipe).Cells {
			if c.Width == width && c.Height == height && c.Size == quality.ImageSize {
				want = c.SHA256
			}
		}
		if sums[recipe] != want || want == "" {
			t.Errorf("%s: sum %q, want %q", recipe, sums[recipe], want)
		}
	}
	if sums[quality.Pillow12] == sums[quality.Pillow13] {
		t.Error("the recipes do not differ for the picture")
	}
}

func TestSelfTestPasses(t *testing.T) {
	if err := newPreparer(t).SelfTest(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestSelfTestNamesTheDecoderThatIsOff: one that draws other pixels, and one
// that refuses whole pictures.
func TestSelfTestNamesTheDecoderThatIsOff(t *testing.T) {
	h, err := imageprep.Sniff(testimages.Golden("gif-part-gray.gif"))
	if err != nil {
		t.Fatal(err)
	}
	for want, outcome := range map[string]error{
		"the gif decoder produces different pixels": nil,
		"the gif decoder, gif-part-gray.gif: no":    errors.New("no"),
	} {
		p := newPreparer(t)
		p.WithDecoder(imageprep.GIF, func(context.Context, int) (int, int, error) { return h.Width, h.Height, outcome })
		if err := p.SelfTest(context.Background()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}
