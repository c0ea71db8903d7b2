package imageprep_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
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

// TestTallPictures: where a picture is more than twice as tall as it is wide,
// and is shrunk, Pillow 13 resizes vertically first and rounds differently.
// Training saw the order of Pillow 12 and before. The sums are of
// internal/testimages/make_tall_sums.py under Pillow 12.3.0 and 13.0.0; there is
// no tolerance.
func TestTallPictures(t *testing.T) {
	eachResizer(t, func(t *testing.T, r *imageprep.Resizer) {
		for _, tc := range []struct {
			w, h               int
			pillow12, pillow13 string
		}{
			{448, 896, "8a2ba9d3e702d74e7cb75309b1ba53df15e8c7772f06648b14c7eee038db91d6", ""},
			{448, 897, "ea26ca0dd45590a2bc9b45a12c8f705e24f69f50bdc9c7b956ed5e75d10748d5",
				"cc2b80899cb7eec388d8d34a91586f1e127fc6f8d6128c3bef735afeb140f365"},
			{300, 700, "a245692c0235132acbb45e2938cbd3e58d177218b3201d51eacd14514dc55e8f",
				"918902893ad1336728389a67346f8a304012f3cfb63f263ba8f94ba6f954f4a6"},
			{481, 1003, "bf23fdc84f7427dd5a1300b28a6eafa199627dd02c40b34320cb0b722ae5b43c",
				"b8030d3bb45d1e39f19c1af6a5bb61b9d6f5ed68f0effdf9b45082c5c8611710"},
			{225, 3000, "05aff9285bec4ba23ea46962383b35d8ead706a1c502d9dd196879c463833727",
				"33989e0f43495b4505b1293a245bd4ff4f1de602fc334363df47ccd6c6304f74"},
			{1000, 2500, "a6fbef5cf1afe61c4c63439ce0cd7bb198f7bbdb49ccb4390a29933308a8978c",
				"e2ead3a8aa588119c754e4053795ba919eca9a13dc752e424de14d543ad0b2aa"},
			{224, 600, "1ae5706ed9c472a22f9895b622ab636a810c0f757fa9161c6a7d2e000de2d804", ""},
			{150, 500, "9cf3c1908613825487a593b4095c3e9b2609dc849af7f6c0fd2261c1cdd2f293", ""},
			{700, 300, "9236a953a162af9ac87d8b822fd4f9f23b56b0e59d0d5c6b8e0b404c2d758e60", ""},
		} {
			pix := make([]byte, 0, 3*tc.w*tc.h)
			for y := range tc.h {
				for x := range tc.w {
					pix = append(pix, byte(7*x+3*y), byte(x*y/5), byte((x/3)^(y/2)))
				}
			}
			got := fmt.Sprintf("%x", sha256.Sum256(r.Resize(pix, tc.w, tc.h)))
			if got != tc.pillow12 {
				t.Errorf("%d x %d: %s, want Pillow 12's %s (Pillow 13's is %q)", tc.w, tc.h, got, tc.pillow12, tc.pillow13)
			}
		}
	})
}
