package imageprep_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

func TestCropOffsetRoundsHalvesToEven(t *testing.T) {
	// python3 -c 'print([int(round((s-224)/2)) for s in (224,225,226,227,228,229,231,233)])'
	for size, want := range map[int64]int64{224: 0, 225: 0, 226: 1, 227: 2, 228: 2, 229: 2, 231: 4, 233: 4,
		5_600_000_001: 2_799_999_888} {
		if got := imageprep.CropOffset(size, 224); got != want {
			t.Errorf("size %d: offset %d, want %d", size, got, want)
		}
	}
}

func TestCropOffsetOfLargerSquares(t *testing.T) {
	// python3 -c 'print([int(round((s-448)/2)) for s in (448,449,450,451,597,599)])'
	for length, want := range map[int64]int64{448: 0, 449: 0, 450: 1, 451: 2, 597: 74, 599: 76} {
		if got := imageprep.CropOffset(length, 448); got != want {
			t.Errorf("length %d: offset %d, want %d", length, got, want)
		}
	}
}

func TestResizedFollowsTorchvision(t *testing.T) {
	for _, tc := range []struct {
		w, h         int
		wantW, wantH int64
	}{
		{224, 224, 224, 224}, {768, 512, 336, 224}, {512, 768, 224, 336}, {300, 200, 336, 224},
		{1, 1, 224, 224}, {31, 997, 224, 7204}, {1, 25_000_000, 224, 5_600_000_000}, {225, 223, 226, 224},
	} {
		if w, h := imageprep.Resized(tc.w, tc.h, 224); w != tc.wantW || h != tc.wantH {
			t.Errorf("%d x %d: resized to %d x %d, want %d x %d", tc.w, tc.h, w, h, tc.wantW, tc.wantH)
		}
	}
}

func TestResizedToLargerSizes(t *testing.T) {
	for _, tc := range []struct {
		w, h         int
		short        int64
		wantW, wantH int64
	}{
		{768, 512, 448, 672, 448}, {100, 100, 448, 448, 448}, {300, 200, 1120, 1680, 1120}, {1000, 31, 448, 14451, 448},
	} {
		if w, h := imageprep.Resized(tc.w, tc.h, tc.short); w != tc.wantW || h != tc.wantH {
			t.Errorf("%d x %d to %d: %d x %d, want %d x %d", tc.w, tc.h, tc.short, w, h, tc.wantW, tc.wantH)
		}
	}
}

// TestFlatStaysFlat: normalised weights add up to one whatever the size.
func TestFlatStaysFlat(t *testing.T) {
	eachResizer(t, func(t *testing.T, r *imageprep.Resizer) {
		for _, size := range [][2]int{{1, 1}, {3, 5}, {223, 224}, {225, 1000}, {1000, 1}, {640, 480}} {
			for _, v := range []byte{0, 1, 128, 255} {
				want := bytes.Repeat([]byte{v}, 224*224*3)
				got := r.Resize(bytes.Repeat([]byte{v}, 3*size[0]*size[1]), size[0], size[1])
				if !bytes.Equal(got, want) {
					t.Errorf("%v of %d: %s", size, v, difference(got, want))
				}
			}
		}
	})
}

// TestRowsAreReadWhereTheyLie: all but those at the end, behind which there is
// too little.
func TestRowsAreReadWhereTheyLie(t *testing.T) {
	eachResizer(t, func(t *testing.T, r *imageprep.Resizer) {
		for _, tc := range []struct{ w, h, copied int }{{200, 200, 1}, {300, 200, 0}, {5, 5, 2}, {6, 6, 1}, {1, 1, 1}} {
			if got := r.RowsCopied(noise(1, tc.w, tc.h), tc.w, tc.h, quality.View{}); got != tc.copied {
				t.Errorf("%d x %d: %d rows were copied, want %d", tc.w, tc.h, got, tc.copied)
			}
		}
	})
}

// TestRecipesEqualPillow: each recipe gives the pixels of its Pillow, by each
// resampler, above all of pictures for which the order of the passes matters.
// Tolerance: none.
func TestRecipesEqualPillow(t *testing.T) {
	sums := map[quality.Recipe]testimages.Orders{}
	for _, recipe := range quality.Recipes() {
		sums[recipe] = ordersOf(t, recipe)
	}
	eachResizer(t, func(t *testing.T, r *imageprep.Resizer) {
		differ := 0
		for i, c := range sums[quality.Pillow12].Cells {
			// Both recipes at once: the views of a picture don't depend on each other.
			var views []quality.View
			for _, recipe := range quality.Recipes() {
				for _, v := range cells(t, c.Size) {
					views = append(views, v.By(recipe))
				}
			}
			got := r.Cut(testimages.Order(c.Width, c.Height), c.Width, c.Height, views...)
			for k, recipe := range quality.Recipes() {
				hash, n := sha256.New(), len(got)/len(sums)
				for _, cell := range got[k*n:][:n] {
					hash.Write(cell)
				}
				if got, want := fmt.Sprintf("%x", hash.Sum(nil)), sums[recipe].Cells[i]; got != want.SHA256 {
					t.Errorf("%d x %d at %d by %s: %s, want %s", c.Width, c.Height, c.Size, recipe, got, want.SHA256)
				}
			}
			if c != sums[quality.Pillow13].Cells[i] {
				differ++
			}
		}
		if differ < 50 {
			t.Errorf("the recipes differ for %d pictures, want 50 at least", differ)
		}
	})
}

func ordersOf(t *testing.T, recipe quality.Recipe) testimages.Orders {
	t.Helper()
	version := map[quality.Recipe]string{quality.Pillow12: "12.3.0", quality.Pillow13: "13.0.0"}[recipe]
	orders, err := testimages.OrdersOf(version)
	if err != nil {
		t.Fatal(err)
	}
	return orders
}

// TestFirstPass: which pass comes first, for resizes of any shape.
func TestFirstPass(t *testing.T) {
	for _, recipe := range quality.Recipes() {
		vertical := 0
		for _, o := range ordersOf(t, recipe).First {
			if got := imageprep.VerticalFirst(o.Width, o.Height, o.NewWidth, o.NewHeight, recipe); got != o.Vertical {
				t.Errorf("%s, %d x %d to %d x %d: vertical first %t, want %t", recipe, o.Width, o.Height,
					o.NewWidth, o.NewHeight, got, o.Vertical)
			}
			if o.Vertical {
				vertical++
			}
		}
		if want := recipe == quality.Pillow13; vertical > 50 != want {
			t.Errorf("%s: %d begin vertically", recipe, vertical)
		}
	}
}
