package imageprep_test

import (
	"bytes"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
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
