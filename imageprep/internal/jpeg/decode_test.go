package jpeg_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/imageprep/internal/jpeg"
	"github.com/agiqa/agiqa/imageprep/internal/pool"
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
	return img, rows(img)
}

func rows(img *jpeg.Image) []byte {
	out := make([]byte, img.Width*img.Height*3)
	for y := range img.Height {
		img.Row(y, out[y*img.Width*3:][:img.Width*3])
	}
	return out
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
		if path.Ext(name) == ".jpg" && len(data) < 1500 {
			f.Add(data)
		}
	}
	for _, components := range []byte{1, 3, 4} { // all zeros are codes of one bit
		for _, sof := range []byte{0xC0, 0xC1, 0xC2} {
			f.Add(append(testimages.JPEGHeader(sof, 9, 9, 8, components), 0, 0, 0, 0, 0, 0, 0xFF, 0xD9))
		}
	}
	f.Add(testimages.ScanFlood(9, 9, 3))
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

// TestReducedEqualsPillow: the smaller inverse transforms are those of Pillow's
// draft mode. The sums are of Pillow 13.0.0 (libjpeg-turbo 3.2.0), over each
// golden:
//
//	im = Image.open(f); w, h = im.size; im.draft("RGB", (w // by, h // by))
//	hashlib.sha256(im.convert("RGB").tobytes()).hexdigest()
func TestReducedEqualsPillow(t *testing.T) {
	for _, c := range []struct {
		name          string
		by            int
		width, height int
		sum           string
	}{
		{"jpeg-420.jpg", 2, 31, 23, "03c409dcb782848ca18adb7685d3eb6e0fc16e79020c082831e67ee2b2ac1811"},
		{"jpeg-420.jpg", 4, 16, 12, "a7018ca54cbcffede9a81044ce48b9a50c691dd96b605f7488cf36b9528f110d"},
		{"jpeg-420.jpg", 8, 8, 6, "c6e7e308308468edfc209fbb2ff8d0c69cad3aa828b9c5f337784566103b72b2"},
		{"jpeg-444.jpg", 2, 31, 23, "aa08a2eb6cbb6400f8a12d3aa2e5edbd5bb16075f1856bff9441903ed886c69d"},
		{"jpeg-444.jpg", 4, 16, 12, "ad32a4cc90060bc088acc492b1d12fda73beccd7dbb4bf8cbbff8b329108c2d3"},
		{"jpeg-444.jpg", 8, 8, 6, "518eb84bceb4299e45dfcd2a2ec438334790ea7c5232418a45f17d31ebb1143a"},
		{"jpeg-422-progressive.jpg", 2, 31, 23, "e03755833a7fb5a3aad8c5363ae73e6a14cc21d5fd71ccd3c26f06f0da0ec543"},
		{"jpeg-422-progressive.jpg", 4, 16, 12, "a43d78e643fc83a20599e8e1503f786d77d7c6122fd28bcdd3a000aaee921764"},
		{"jpeg-422-progressive.jpg", 8, 8, 6, "c0bd93e6304c7c28f18dc7d9dd1b3d060b117d2c70ff3747cc27494d9a67f570"},
	} {
		img, err := decoder.DecodeReduced(context.Background(), testimages.Golden(c.name), c.by)
		if err != nil {
			t.Errorf("%s by %d: %v", c.name, c.by, err)
			continue
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(rows(img))); img.Width != c.width ||
			img.Height != c.height || got != c.sum {
			t.Errorf("%s by %d is %d x %d and differs from Pillow's %d x %d: %s, want %s",
				c.name, c.by, img.Width, img.Height, c.width, c.height, got, c.sum)
		}
	}
	if _, err := decoder.DecodeReduced(context.Background(), testimages.Golden("jpeg-420.jpg"), 3); err == nil {
		t.Error("a third of the size was accepted")
	}
}

// segmentsOf takes a file apart: what stands before its scan, by marker, and
// the rest.
func segmentsOf(t *testing.T, data []byte) (segments [][]byte, rest []byte) {
	t.Helper()
	for at := 2; ; {
		if data[at] != 0xFF {
			t.Fatalf("byte %d is no marker", at)
		}
		if data[at+1] == 0xDA {
			return segments, data[at:]
		}
		end := at + 2 + int(data[at+2])<<8 + int(data[at+3])
		segments = append(segments, data[at:end])
		at = end
	}
}

// joined puts a file together again.
func joined(segments [][]byte, rest []byte) []byte {
	return slices.Concat([]byte{0xFF, 0xD8}, slices.Concat(segments...), rest)
}

// without leaves out the segments of a marker.
func without(segments [][]byte, marker byte) [][]byte {
	return slices.DeleteFunc(slices.Clone(segments), func(s []byte) bool { return s[1] == marker })
}

// TestUnusualFilesAreDecoded: what Pillow shows as well, with the same pixels
// as the file without the oddity.
func TestUnusualFilesAreDecoded(t *testing.T) {
	data := testimages.Golden("jpeg-444.jpg")
	_, want := rgb(t, data)
	segments, rest := segmentsOf(t, data)
	sameIDs, sameRest := slices.Clone(segments), bytes.Clone(rest)
	for i, s := range sameIDs {
		if s[1] == 0xC0 {
			s = bytes.Clone(s)
			s[10], s[13], s[16] = 0, 0, 0
			sameIDs[i] = s
		}
	}
	sameRest[5], sameRest[7], sameRest[9] = 0, 0, 0
	before := func(segment ...byte) []byte { return joined(append([][]byte{segment}, segments...), rest) }
	for name, odd := range map[string][]byte{
		"a hierarchical progression":      before(0xFF, 0xDE, 0, 8, 8, 0, 1, 0, 1, 0),
		"an expansion of references":      before(0xFF, 0xDF, 0, 3, 0x11),
		"an extension of JPEG":            before(0xFF, 0xF0, 0, 5, 1, 2, 3),
		"a reserved marker":               before(0xFF, 0x50, 0, 5, 1, 2, 3),
		"a short JFIF segment":            before(0xFF, 0xE0, 0, 7, 'J', 'F', 'I', 'F', 0),
		"conditions of arithmetic coding": joined(append(slices.Clone(segments), []byte{0xFF, 0xCC, 0, 4, 0, 5}), rest),
		"metadata of length 0":            joined(append(slices.Clone(segments), []byte{0xFF, 0xE5, 0, 0}), rest),
		"a comment of length 1":           joined(append(slices.Clone(segments), []byte{0xFF, 0xFE, 0, 1}), rest),
		"metadata with bytes behind":      joined(append(slices.Clone(segments), []byte{0xFF, 0xE1, 0, 2, 1, 2, 3}), rest),
		"no Huffman tables":               joined(without(segments, 0xC4), rest),
		"one id for all components":       joined(sameIDs, sameRest),
	} {
		if info, err := jpeg.Inspect(odd); err != nil || info.Width != 61 || info.Scans != 1 {
			t.Errorf("%s: inspected as %+v, error %v", name, info, err)
		}
		img, err := decoder.Decode(context.Background(), odd)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(rows(img), want) {
			t.Errorf("%s: other pixels", name)
		}
	}
}

// TestOverflow: coefficients that no encoder writes overflow the inverse
// transform. What libjpeg makes of them depends on its vector code; here every
// machine gives the same.
func TestOverflow(t *testing.T) {
	const want = "16474ecef62461e5b3f88a6ceb1fff0d78f2b621d3d41e54cddae3a30c987774"
	segments, rest := segmentsOf(t, testimages.Golden("jpeg-444.jpg"))
	for i, s := range segments {
		if s[1] == 0xDB {
			segments[i] = append(bytes.Clone(s[:5]), bytes.Repeat([]byte{255}, len(s)-5)...)
		}
	}
	_, got := rgb(t, joined(segments, rest))
	if sum := fmt.Sprintf("%x", sha256.Sum256(got)); sum != want {
		t.Errorf("pixels of sum %s, want %s", sum, want)
	}
}

// TestIncompleteFilesAreRefused: libjpeg shows something, and so Pillow does,
// or goes on with the tables of the file before.
func TestIncompleteFilesAreRefused(t *testing.T) {
	segments, rest := segmentsOf(t, testimages.Golden("jpeg-444.jpg"))
	progressive := testimages.Golden("jpeg-422-progressive.jpg")
	last := bytes.LastIndex(progressive, []byte{0xFF, 0xDA})
	first, scan := segmentsOf(t, progressive)
	second := 2 + bytes.Index(scan[2:], []byte{0xFF, 0xC4})
	for name, tc := range map[string]struct {
		data []byte
		want error
	}{
		"no quantisation tables":        {joined(without(segments, 0xDB), rest), jpeg.ErrCorrupt},
		"without its last scan":         {append(bytes.Clone(progressive[:last]), 0xFF, 0xD9), jpeg.ErrTruncated},
		"with its first scan alone":     {append(joined(first, scan[:second]), 0xFF, 0xD9), jpeg.ErrTruncated},
		"without its end":               {progressive[:last], jpeg.ErrTruncated},
		"a table that has no example":   {joined(without(segments, 0xC4), withTable(rest, 0x22)), jpeg.ErrCorrupt},
		"a component twice in a scan":   {joined(segments, withComponent(rest, 1)), jpeg.ErrCorrupt},
		"metadata longer than the file": {joined([][]byte{{0xFF, 0xE1, 0xFF, 0xFF}}, nil), jpeg.ErrTruncated},
	} {
		for range 2 { // nothing is left of the file before
			if _, err := decoder.Decode(context.Background(), tc.data); !errors.Is(err, tc.want) {
				t.Errorf("%s: error %v, want %v", name, err, tc.want)
			}
			rgb(t, testimages.Golden("jpeg-444.jpg"))
		}
	}
}

// withTable lets the first component of a scan name other tables.
func withTable(rest []byte, tables byte) []byte {
	out := bytes.Clone(rest)
	out[6] = tables
	return out
}

// withComponent lets the second component of a scan be another.
func withComponent(rest []byte, id byte) []byte {
	out := bytes.Clone(rest)
	out[7] = id
	return out
}

// TestDamageLeavesNothingBehind: what a file decodes to does not depend on the
// one before it, however damaged that was.
func TestDamageLeavesNothingBehind(t *testing.T) {
	pooled := jpeg.Decoder{Samples: pool.New[byte](8, 1<<20), Coefficients: pool.New[int16](8, 1<<20)}
	rng := rand.New(rand.NewPCG(3, 4))
	names := slices.Sorted(maps.Keys(testimages.Named()))
	names = slices.DeleteFunc(names, func(n string) bool { return path.Ext(n) != ".jpg" })
	for _, name := range names {
		data := testimages.Golden(name)
		_, want := rgb(t, data)
		for range 20 {
			damaged := bytes.Clone(testimages.Golden(names[rng.IntN(len(names))]))
			for range 1 + rng.IntN(3) {
				damaged[rng.IntN(len(damaged))] ^= byte(1 + rng.IntN(255))
			}
			if small := (&smallFrames{Context: context.Background(), data: damaged}); small.Err() == nil {
				if img, err := pooled.Decode(context.Background(), damaged); err == nil {
					img.Release()
				}
			}
			img, err := pooled.Decode(context.Background(), data)
			if err != nil || !bytes.Equal(rows(img), want) {
				t.Fatalf("%s after a damaged file: error %v, or other pixels", name, err)
			}
			img.Release()
		}
	}
}
