package imageprep_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

func viewsOf(t testing.TB, texts ...string) []quality.View {
	t.Helper()
	views, err := quality.ParseViews(texts)
	if err != nil {
		t.Fatal(err)
	}
	return views.List()
}

// cells are all views at a size, row by row.
func cells(t testing.TB, size int) []quality.View {
	t.Helper()
	var views []quality.View
	for i := range size / quality.ImageSize * (size / quality.ImageSize) {
		v, err := quality.NewView(size, i/(size/quality.ImageSize), i%(size/quality.ImageSize))
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, v)
	}
	return views
}

// TestViewsEqualPillow: every golden file gives the cells that Pillow gives,
// with the view "224" from the same decode. Tolerance: none.
func TestViewsEqualPillow(t *testing.T) {
	p := newPreparer(t)
	sizes := map[int]int{}
	for name, want := range expectations(t) {
		t.Run(name, func(t *testing.T) {
			in, err := p.Inspect(testimages.Golden(name))
			if err != nil {
				t.Fatal(err)
			}
			for size, sum := range want.Cells {
				sizes[size]++
				got, err := p.PrepareViews(context.Background(), in, "", append(cells(t, size), quality.View{}))
				if err != nil {
					t.Fatal(err)
				}
				last := len(got.Views) - 1
				hash := sha256.New()
				for _, v := range got.Views[:last] {
					hash.Write(v.Bytes())
				}
				if [32]byte(hash.Sum(nil)) != sum {
					t.Errorf("the cells at %d pixels differ from Pillow's", size)
				}
				if sha256.Sum256(got.Views[last].Bytes()) != want.Out {
					t.Errorf("the view 224 beside those at %d pixels differs from Pillow's", size)
				}
			}
		})
	}
	if sizes[448] != len(expectations(t)) || sizes[1120] < 5 {
		t.Errorf("goldens by size: %v, want all at 448 and some at 1120", sizes)
	}
}

// TestCutsOfEveryImplementationArePortable takes sizes around the squares', and
// views in an order that is not the picture's. A view is the same alone.
func TestCutsOfEveryImplementationArePortable(t *testing.T) {
	portable := reference(t)
	views := viewsOf(t, "448/r1c0", "224", "672/r1c1", "448/r0c1", "1120/r4c4", "1120/r0c3")
	for _, size := range [][2]int{
		{1, 1}, {5, 3}, {224, 224}, {447, 448}, {448, 447}, {448, 448}, {449, 600}, {640, 480}, {31, 700}, {1300, 1121},
	} {
		picture := noise(3, size[0], size[1])
		want := portable.Cut(picture, size[0], size[1], views...)
		eachResizer(t, func(t *testing.T, r *imageprep.Resizer) {
			got := r.Cut(picture, size[0], size[1], views...)
			for i, v := range views {
				if !bytes.Equal(got[i], want[i]) {
					t.Errorf("%v, view %s: %s", size, v, difference(got[i], want[i]))
				}
				if alone := r.Cut(picture, size[0], size[1], v)[0]; !bytes.Equal(alone, want[i]) {
					t.Errorf("%v, view %s alone: %s", size, v, difference(alone, want[i]))
				}
			}
		})
	}
}

// TestRowsAreReadOnce: from top to bottom, whatever needs them, and none that
// nothing needs.
func TestRowsAreReadOnce(t *testing.T) {
	r := reference(t)
	for _, tc := range []struct {
		w, h        int
		views       []string
		first, last int // rows
		all         bool
	}{
		{600, 600, []string{"224"}, 0, 599, true},
		{600, 600, []string{"448/r1c0", "224", "448/r0c0", "448/r0c1"}, 0, 599, true},
		{600, 600, []string{"448/r1c0"}, 298, 599, true},
		{600, 1800, []string{"448/r0c0"}, 598, 901, true},
		{600, 600, []string{"1120/r0c0", "1120/r4c4"}, 0, 599, false}, // rows in the middle are in neither
	} {
		read := r.RowsRead(tc.w, tc.h, viewsOf(t, tc.views...)...)
		ascending := slices.IsSortedFunc(read, func(a, b int) int {
			if a < b {
				return -1
			}
			return 1
		})
		if !ascending || len(read) == 0 || read[0] != tc.first || read[len(read)-1] != tc.last ||
			tc.all != (len(read) == tc.last-tc.first+1) {
			t.Errorf("%d x %d, %v: %d rows were read, %d to %d, once each %t; want %d to %d, all of them %t", tc.w, tc.h,
				tc.views, len(read), read[0], read[len(read)-1], ascending, tc.first, tc.last, tc.all)
		}
	}
}

func TestBoxOf(t *testing.T) {
	for _, tc := range []struct {
		w, h int
		view string
		want quality.Box
	}{
		{224, 224, "224", quality.Box{Width: 224, Height: 224}},
		{448, 448, "448/r1c0", quality.Box{Y: 224, Width: 224, Height: 224}},
		{1024, 1024, "224", quality.Box{Width: 1024, Height: 1024}},
		{1024, 1024, "448/r0c1", quality.Box{X: 512, Width: 512, Height: 512}},
		{1000, 1000, "672/r1c1", quality.Box{X: 333, Y: 333, Width: 334, Height: 334}}, // 333.3 to 666.7
		{1200, 600, "224", quality.Box{X: 300, Width: 600, Height: 600}},
		{600, 1200, "448/r1c1", quality.Box{X: 300, Y: 600, Width: 300, Height: 300}},
		{640, 480, "448/r0c0", quality.Box{X: 79, Width: 241, Height: 240}}, // 597 x 448 pixels, from 74: 79.3 to 319.5
		{100, 100, "448/r0c1", quality.Box{X: 50, Width: 50, Height: 50}},
		{1, 1, "1120/r2c2", quality.Box{Width: 1, Height: 1}},
		{1, 300, "224", quality.Box{Y: 149, Width: 1, Height: 2}}, // 149.5 to 150.5
	} {
		if got := imageprep.BoxOf(tc.w, tc.h, viewsOf(t, tc.view)[0]); got != tc.want {
			t.Errorf("%d x %d, %s: %+v, want %+v", tc.w, tc.h, tc.view, got, tc.want)
		}
	}
}

// TestBoxesAreWithinThePicture and, at one size, cover its middle square.
func TestBoxesAreWithinThePicture(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 9}, {223, 225}, {640, 480}, {31, 997}, {5000, 4999}, {1, 25_000_000}} {
		for _, square := range []int{224, 448, 672, 896, 1120} {
			for _, v := range cells(t, square) {
				b := imageprep.BoxOf(size[0], size[1], v)
				if b.X < 0 || b.Y < 0 || b.Width < 1 || b.Height < 1 || b.X+b.Width > size[0] || b.Y+b.Height > size[1] {
					t.Errorf("%v, %s: %+v", size, v, b)
				}
			}
		}
	}
}

// BenchmarkViews is the whole path of a JPEG for several views.
func BenchmarkViews(b *testing.B) {
	p := newPreparer(b)
	for _, side := range []int{512, 1024, 2048} {
		in, err := p.Inspect(testimages.JPEG(side, side))
		if err != nil {
			b.Fatal(err)
		}
		for name, views := range map[string][]quality.View{
			"1": {{}}, "2": viewsOf(b, "448/r0c0", "448/r1c1"), "4": cells(b, 448), "5": append(cells(b, 448), quality.View{}),
		} {
			b.Run(fmt.Sprintf("%d/views-%s", side, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := p.PrepareViews(context.Background(), in, "", views); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
