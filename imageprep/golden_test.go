package imageprep_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
)

func newPreparer(t testing.TB) *imageprep.Preparer {
	t.Helper()
	p, err := imageprep.New(imageprep.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func expectations(t testing.TB) map[string]testimages.Expectation {
	t.Helper()
	expected, _, err := testimages.Expected()
	if err != nil {
		t.Fatal(err)
	}
	return expected
}

// difference says how far got is from want.
func difference(got, want []byte) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d bytes, want %d", len(got), len(want))
	}
	differ, worst, first := 0, 0, -1
	for i, v := range got {
		d := max(int(v)-int(want[i]), int(want[i])-int(v))
		if d > 0 {
			differ, worst = differ+1, max(worst, d)
			if first < 0 {
				first = i
			}
		}
	}
	if differ == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d samples differ, by at most %d; the first at %d: got %d, want %d",
		differ, len(got), worst, first, got[first], want[first])
}

// TestEqualsPillow: every golden file gives the pixels that Pillow gives, at
// full size and after resize and crop. Tolerance: none, for any format. The
// expectations come from internal/testimages/make_goldens.py.
func TestEqualsPillow(t *testing.T) {
	p := newPreparer(t)
	for name, want := range expectations(t) {
		t.Run(name, func(t *testing.T) {
			data := testimages.Golden(name)
			rgb, w, h, err := imageprep.FullSize(data)
			if err != nil {
				t.Fatal(err)
			}
			if w != want.Width || h != want.Height {
				t.Fatalf("size %d x %d, want %d x %d", w, h, want.Width, want.Height)
			}
			if sha256.Sum256(rgb) != want.RGB {
				t.Errorf("decoded pixels differ from Pillow's (mode %s): %s", want.Mode, orUnknown(rgb, want.RGBBytes))
			}
			img, err := p.Prepare(context.Background(), data)
			if err != nil {
				t.Fatal(err)
			}
			if sha256.Sum256(img.Pixels.Bytes()) != want.Out {
				t.Errorf("result differs from Pillow's: %s", orUnknown(img.Pixels.Bytes(), want.OutBytes))
			}
			if img.Info.Width != want.Width || img.Info.Height != want.Height {
				t.Errorf("info says %d x %d, want %d x %d", img.Info.Width, img.Info.Height, want.Width, want.Height)
			}
		})
	}
}

func orUnknown(got, want []byte) string {
	if want == nil {
		return "by how much is not in the archive"
	}
	return difference(got, want)
}

// TestResizeEqualsPillow takes Pillow's own decoded pixels, so that nothing
// but the resampler and the crop can differ, in each implementation.
func TestResizeEqualsPillow(t *testing.T) {
	expected := expectations(t)
	eachResizer(t, func(t *testing.T, r *imageprep.Resizer) {
		n := 0
		for name, want := range expected {
			if want.RGBBytes == nil {
				continue
			}
			n++
			got := r.Resize(want.RGBBytes, want.Width, want.Height)
			if sha256.Sum256(got) != want.Out {
				t.Errorf("%s, %d x %d: %s", name, want.Width, want.Height, orUnknown(got, want.OutBytes))
			}
		}
		if n < 100 {
			t.Errorf("only %d goldens hold pixels", n)
		}
	})
}
