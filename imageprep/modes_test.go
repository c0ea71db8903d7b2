package imageprep_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// TestIDsKeepModesAndRecipesApart: whatever could give other pixels has
// another id.
func TestIDsKeepModesAndRecipesApart(t *testing.T) {
	for _, tc := range []struct {
		recipe      quality.Recipe
		exact, fast quality.PreprocessID
	}{
		{quality.Pillow12, "pillow12-bicubic-224/go-2", "fast-bicubic-224/go-2"},
		{quality.Pillow13, "pillow13-bicubic-224/go-2", "fast-pillow13-bicubic-224/go-2"},
	} {
		for _, configured := range []quality.PreprocessMode{quality.Exact, quality.Fast} {
			cfg := imageprep.DefaultConfig()
			cfg.Mode = configured
			p, err := imageprep.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			want := map[quality.PreprocessMode]quality.PreprocessID{quality.Exact: tc.exact, quality.Fast: tc.fast}
			want[""] = want[configured]
			for mode, id := range want {
				if got := p.ID(mode, tc.recipe); got != id {
					t.Errorf("configured %s, mode %q: id %s, want %s", configured, mode, got, id)
				}
			}
		}
	}
}

// noting returns a preparer whose JPEGs are drawn by how far they shrink, which
// it notes.
func noting(t *testing.T, width, height int, asked *[]int) *imageprep.Preparer {
	t.Helper()
	p := newPreparer(t)
	p.WithDecoder(imageprep.JPEG, func(_ context.Context, by int) (int, int, error) {
		*asked = append(*asked, by)
		return (width + by - 1) / by, (height + by - 1) / by, nil
	})
	return p
}

// TestFastShrinksLargeJPEGs: by as much as leaves twice the result's side.
func TestFastShrinksLargeJPEGs(t *testing.T) {
	for _, tc := range []struct {
		w, h uint16
		want int
	}{
		{640, 480, 1}, {894, 3000, 1}, {895, 3000, 2}, {1024, 1024, 2}, {1788, 1900, 2}, {2047, 2049, 4}, {3576, 4001, 4},
		{3577, 4001, 8}, {5000, 5000, 8},
	} {
		for mode, want := range map[quality.PreprocessMode]int{quality.Fast: tc.want, quality.Exact: 1} {
			var asked []int
			p := noting(t, int(tc.w), int(tc.h), &asked)
			in, err := p.Inspect(testimages.JPEGHeader(0xC0, tc.w, tc.h, 8, 3))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.PrepareViews(context.Background(), in, mode, []quality.View{{}}); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(asked, []int{want}) {
				t.Errorf("%d x %d, %s: shrunk by %v, want %d", tc.w, tc.h, mode, asked, want)
			}
		}
	}
}

// TestFastShrinksAsEachViewAllows: the pixels of a view, which are cached, may
// not depend on what else a request needs. So views of sizes that allow
// different reductions are decoded apart, and all others together.
func TestFastShrinksAsEachViewAllows(t *testing.T) {
	for _, tc := range []struct {
		side  uint16
		views []string
		want  []int // reductions, in their order
	}{
		{800, []string{"224", "448/r0c0"}, []int{1}},
		{1024, []string{"224"}, []int{2}},
		{1024, []string{"448/r0c0", "448/r1c1"}, []int{1}},
		{1024, []string{"448/r0c0", "224", "448/r1c1"}, []int{1, 2}},
		{1791, []string{"448/r0c0"}, []int{2}},
		{1790, []string{"448/r0c0"}, []int{1}},
		{4000, []string{"1120/r0c0", "448/r0c0", "224"}, []int{1, 4, 8}},
	} {
		var asked []int
		p := noting(t, int(tc.side), int(tc.side), &asked)
		in, err := p.Inspect(testimages.JPEGHeader(0xC0, tc.side, tc.side, 8, 3))
		if err != nil {
			t.Fatal(err)
		}
		views := viewsOf(t, tc.views...)
		img, err := p.PrepareViews(context.Background(), in, quality.Fast, views)
		if err != nil {
			t.Fatal(err)
		}
		decodes := slices.Clone(asked)
		slices.Sort(decodes)
		if !slices.Equal(decodes, tc.want) {
			t.Errorf("%d pixels, views %v: shrunk by %v, want %v", tc.side, tc.views, decodes, tc.want)
		}
		for i, v := range views {
			alone, err := p.PrepareViews(context.Background(), in, quality.Fast, []quality.View{v})
			if err != nil || !bytes.Equal(alone.Views[0].Bytes(), img.Views[i].Bytes()) {
				t.Errorf("%d pixels, view %s: not what it is without %v: %v", tc.side, v, tc.views, err)
			}
		}
	}
}

// TestFastIsCloseToExact: a picture that shrinks while it is decoded looks the
// same after the resize, but for a level or two.
func TestFastIsCloseToExact(t *testing.T) {
	p := newPreparer(t)
	in, err := p.Inspect(testimages.JPEG(1200, 1000))
	if err != nil {
		t.Fatal(err)
	}
	var got [2]quality.Pixels
	for i, mode := range []quality.PreprocessMode{quality.Exact, quality.Fast} {
		prepared, err := p.PrepareViews(context.Background(), in, mode, []quality.View{{}})
		if err != nil {
			t.Fatal(err)
		}
		got[i] = prepared.Views[0]
	}
	sum := 0
	for i, v := range got[0].Bytes() {
		sum += max(int(v), int(got[1].Bytes()[i])) - min(int(v), int(got[1].Bytes()[i]))
	}
	if mean := float64(sum) / quality.PixelsLen; mean == 0 || mean > 3 {
		t.Errorf("fast is %.2f levels off on average, want more than 0 and at most 3", mean)
	}
}

func TestOnlyInspectedImagesArePrepared(t *testing.T) {
	_, err := newPreparer(t).PrepareViews(context.Background(), imageprep.Inspected{Data: testimages.PNG(8, 8)}, "",
		[]quality.View{{}})
	if quality.KindOf(err) != quality.KindInternal {
		t.Errorf("error %v, want kind %s", err, quality.KindInternal)
	}
}

func TestPanicInADecoderCostsOneCall(t *testing.T) {
	p := newPreparer(t)
	p.WithDecoder(imageprep.WebP, func(context.Context, int) (int, int, error) { panic("ouch") })
	for range 2 {
		_, err := p.Prepare(context.Background(), testimages.WebP())
		if quality.KindOf(err) != quality.KindImageCorrupt || !strings.Contains(err.Error(), "ouch") {
			t.Errorf("error %v, want kind %s with the panic as its cause", err, quality.KindImageCorrupt)
		}
	}
}
