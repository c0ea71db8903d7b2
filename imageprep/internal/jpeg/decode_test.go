package jpeg_test

import (
	"context"
	"errors"
	"path"
	"testing"

	"github.com/agiqa/agiqa/imageprep/internal/jpeg"
	"github.com/agiqa/agiqa/internal/testimages"
)

var decoder jpeg.Decoder

// rgb decodes every row.
func rgb(t testing.TB, data []byte) (*jpeg.Image, []byte) {
	t.Helper()
	img, err := decoder.Decode(context.Background(), data)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, img.Width*img.Height*3)
	for y := range img.Height {
		img.Row(y, out[y*img.Width*3:][:img.Width*3])
	}
	return img, out
}

// TestPixelsEqualPillow compares every sample of every golden JPEG with what
// Pillow, that is libjpeg-turbo, decodes. No tolerance.
func TestPixelsEqualPillow(t *testing.T) {
	expected, _, err := testimages.Expected()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range expected {
		if path.Ext(name) != ".jpg" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			img, got := rgb(t, testimages.Golden(name))
			if img.Width != want.Width || img.Height != want.Height {
				t.Fatalf("size %d x %d, want %d x %d", img.Width, img.Height, want.Width, want.Height)
			}
			differ, worst, first := 0, 0, -1
			for i, v := range got {
				if d := abs(int(v) - int(want.RGBBytes[i])); d > 0 {
					differ, worst = differ+1, max(worst, d)
					if first < 0 {
						first = i
					}
				}
			}
			if differ > 0 {
				w := 3 * img.Width
				t.Errorf("%d of %d samples differ, by at most %d; the first at x=%d y=%d channel %d: got %d, want %d",
					differ, len(got), worst, first%w/3, first/w, first%3, got[first], want.RGBBytes[first])
			}
		})
	}
}

func abs(v int) int {
	if v < 0 {
		return -v
	}
	return v
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		data []byte
		want error
	}{
		{"empty", nil, jpeg.ErrTruncated},
		{"not a JPEG", []byte("GIF89a"), jpeg.ErrCorrupt},
		{"12 bits", testimages.JPEGHeader(0xC1, 8, 8, 12, 1), jpeg.ErrUnsupported},
		{"lossless", testimages.JPEGHeader(0xC3, 8, 8, 8, 1), jpeg.ErrUnsupported},
		{"arithmetic", testimages.JPEGHeader(0xC9, 8, 8, 8, 1), jpeg.ErrUnsupported},
		{"two components", testimages.JPEGHeader(0xC0, 8, 8, 8, 2), jpeg.ErrUnsupported},
		{"no pixels", testimages.JPEGHeader(0xC0, 0, 8, 8, 1), jpeg.ErrCorrupt},
		{"no image data", testimages.JPEGHeader(0xC0, 64, 64, 8, 3), jpeg.ErrTruncated},
		{"end before the first scan", []byte{0xFF, 0xD8, 0xFF, 0xD9}, jpeg.ErrCorrupt},
		{"second start of image", []byte{0xFF, 0xD8, 0xFF, 0xD8}, jpeg.ErrCorrupt},
		{"early end", append(testimages.JPEGHeader(0xC0, 640, 640, 8, 1), 0, 0xFF, 0xD9), jpeg.ErrCorrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := decoder.Decode(context.Background(), tc.data); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
}

func TestDecodeHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := decoder.Decode(ctx, testimages.JPEG(64, 64)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// FuzzDecode asserts that damage ends in one of the three errors and that the
// same bytes give the same pixels.
func FuzzDecode(f *testing.F) {
	for name, data := range testimages.Named() {
		if path.Ext(name) == ".jpg" && len(data) < 4000 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := decoder.Decode(&smallFrames{Context: context.Background(), data: data}, data)
		if err != nil {
			if !errors.Is(err, jpeg.ErrCorrupt) && !errors.Is(err, jpeg.ErrTruncated) && !errors.Is(err, jpeg.ErrUnsupported) &&
				!errors.Is(err, errTooLarge) {
				t.Fatalf("error %v is none of the package's", err)
			}
			return
		}
		_, a := rgb(t, data)
		_, b := rgb(t, data)
		if string(a) != string(b) || len(a) != img.Width*img.Height*3 {
			t.Fatal("the same bytes gave different pixels")
		}
	})
}

var errTooLarge = errors.New("too large to fuzz")

// smallFrames stops a decode whose file holds a frame of over 512 pixels a
// side, in the place of the limits that imageprep checks beforehand.
type smallFrames struct {
	context.Context
	data []byte
}

func (s *smallFrames) Err() error {
	for i := 0; i+9 < len(s.data); i++ {
		if b := s.data[i:]; b[0] == 0xFF && b[1] >= 0xC0 && b[1] <= 0xC2 && (b[5] > 1 || b[7] > 1) {
			return errTooLarge
		}
	}
	return nil
}

func BenchmarkDecode1024(b *testing.B) {
	data := testimages.JPEG(1024, 1024)
	row := make([]byte, 3*1024)
	b.ReportAllocs()
	for b.Loop() {
		img, err := decoder.Decode(context.Background(), data)
		if err != nil {
			b.Fatal(err)
		}
		for y := range img.Height {
			img.Row(y, row)
		}
	}
}
