package imageprep_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// smallest is the length up to which a file is a seed. A mutation changes a
// few bytes wherever they are, so a picture is better the less of it there is.
const smallest = 900

// tiny returns pictures of a few pixels: every kind of PNG, JPEGs of each
// process and number of components whose codes are one bit long, WebP and GIF.
func tiny() [][]byte {
	var all [][]byte
	named := testimages.Named()
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if len(named[name]) <= smallest {
			all = append(all, named[name])
		}
	}
	for _, depths := range []struct {
		colourType, channels byte
		bits                 []byte
	}{{0, 1, []byte{1, 2, 4, 8, 16}}, {2, 3, []byte{8, 16}}, {3, 1, []byte{1, 2, 4, 8}},
		{4, 2, []byte{8, 16}}, {6, 4, []byte{8, 16}}} {
		for _, bits := range depths.bits {
			for interlaced := range byte(2) {
				all = append(all, tinyPNG(depths.colourType, depths.channels, bits, interlaced))
			}
		}
	}
	for _, components := range []byte{1, 3, 4} {
		for _, sof := range []byte{0xC0, 0xC1, 0xC2} {
			head := testimages.JPEGHeader(sof, 9, 9, 8, components)
			all = append(all, append(head, 0, 0, 0, 0, 0, 0, 0xFF, 0xD9))
		}
	}
	return append(all, testimages.ScanFlood(9, 9, 3), testimages.JPEG(9, 9), testimages.GIF(3, 3),
		testimages.WebPLosslessHeader(3, 3), testimages.WebPExtendedHeader(1, 1))
}

// tinyPNG is 3 x 3 pixels of sample 0.
func tinyPNG(colourType, channels, bits, interlaced byte) []byte {
	const side = 3
	rowBytes := func(pixels int) int { return 1 + (pixels*int(channels)*int(bits)+7)/8 }
	raw := make([]byte, side*rowBytes(side))
	if interlaced == 1 { // the passes of 3 x 3 pixels: 1 pixel, 2 in a column, 2 in a row, 2 in rows, 3 in a row
		raw = make([]byte, rowBytes(1)+rowBytes(1)+rowBytes(2)+2*rowBytes(1)+rowBytes(3))
	}
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write(raw)
	_ = w.Close()
	out := testimages.PNGChunk([]byte("\x89PNG\r\n\x1a\n"), "IHDR",
		[]byte{0, 0, 0, side, 0, 0, 0, side, bits, colourType, 0, 0, interlaced})
	if colourType == 3 {
		out = testimages.PNGChunk(out, "PLTE", []byte{1, 2, 3, 4, 5, 6})
		out = testimages.PNGChunk(out, "tRNS", []byte{0})
	}
	return testimages.PNGChunk(testimages.PNGChunk(out, "IDAT", z.Bytes()), "IEND", nil)
}

func addSeeds(f *testing.F) {
	for _, data := range tiny() {
		f.Add(data)
	}
	for _, data := range testimages.Hostile() {
		f.Add(data)
	}
	f.Add([]byte("<svg/>"))
	f.Add(testimages.PNGHeader(1<<31-1, 1<<31-1, 0, 3)) // samples of no bits
}

// FuzzSniff: the same bytes give the same header; a header has pixels and an
// estimate; an error is one of the closed kinds.
func FuzzSniff(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := imageprep.Sniff(data)
		again, againErr := imageprep.Sniff(data)
		if (err == nil) != (againErr == nil) || h.Format != again.Format || h.Pixels() != again.Pixels() ||
			h.DecodeBytes() != again.DecodeBytes() {
			t.Fatalf("first %+v, %v; then %+v, %v", h, err, again, againErr)
		}
		if err != nil {
			if !imageKind(quality.KindOf(err)) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if h.Width <= 0 || h.Height <= 0 || h.Frames < 1 || h.Scans < 1 || h.Bits < 1 || h.Channels < 1 {
			t.Fatalf("header %+v", h)
		}
		if h.Pixels() <= 25_000_000 && h.DecodeBytes() <= 0 {
			t.Fatalf("estimate of %d bytes for %+v", h.DecodeBytes(), h)
		}
	})
}

// fuzzPreparer accepts pictures that are decoded in no time.
func fuzzPreparer(t testing.TB) *imageprep.Preparer {
	cfg := imageprep.DefaultConfig()
	cfg.MaxPixels, cfg.MemoryBudget = fuzzMaxPixels, 8<<20
	p, err := imageprep.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const fuzzMaxPixels = 1 << 12

// FuzzPrepare: success means within the limits, and the same pixels again; an
// error is one of the closed kinds, and no panic of a decoder.
func FuzzPrepare(f *testing.F) {
	addSeeds(f)
	p := fuzzPreparer(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = testimages.WithChecksums(data)
		img := prepareAny(t, p, data)
		if img.err == "" && int64(img.Info.Width)*int64(img.Info.Height) > fuzzMaxPixels {
			t.Fatalf("accepted beyond its limits: %+v", img.Info)
		}
		sameResult(t, "again", prepareAny(t, p, data), img)
	})
}

// FuzzPrepareAfter: what a file gives, pixels or an error, depends on nothing
// that was prepared before it.
func FuzzPrepareAfter(f *testing.F) {
	all := tiny()
	for i, data := range all {
		f.Add(all[(i+1)%len(all)], data)
		f.Add(data[:len(data)-len(data)/3], data)
	}
	f.Fuzz(func(t *testing.T, before, data []byte) {
		before, data = testimages.WithChecksums(before), testimages.WithChecksums(data)
		want := prepareAny(t, fuzzPreparer(t), data)
		p := fuzzPreparer(t)
		prepareAny(t, p, before)
		sameResult(t, "after another file", prepareAny(t, p, data), want)
	})
}

// anyResult is an image or the error in its place.
type anyResult struct {
	quality.Image
	err string
}

func prepareAny(t testing.TB, p *imageprep.Preparer, data []byte) anyResult {
	t.Helper()
	img, err := p.Prepare(context.Background(), data)
	if err == nil {
		return anyResult{Image: img}
	}
	if !imageKind(quality.KindOf(err)) || strings.Contains(err.Error(), "panic") {
		t.Fatalf("error %v", err)
	}
	return anyResult{err: err.Error()}
}

func sameResult(t testing.TB, when string, got, want anyResult) {
	t.Helper()
	if got.err != want.err || got.Info != want.Info || !bytes.Equal(got.Pixels.Bytes(), want.Pixels.Bytes()) {
		t.Fatalf("%s: error %q, %+v, want error %q, %+v, or other pixels", when, got.err, got.Info, want.err, want.Info)
	}
}

// FuzzWebP mutates bitstreams without their container: pixels or an error, and
// the same in memory that holds other things.
func FuzzWebP(f *testing.F) {
	for name, data := range testimages.Named() {
		at := max(bytes.Index(data, []byte("VP8L")), bytes.Index(data, []byte("VP8 ")))
		if strings.HasPrefix(name, "webp") && len(data) <= 4*smallest {
			f.Add(data[at+8:], data[at+3] == 'L')
		}
	}
	p, dirty := fuzzPreparer(f), fuzzPreparer(f)
	dirty.Dirty(0xA5)
	f.Fuzz(func(t *testing.T, bitstream []byte, lossless bool) {
		kind := "VP8 "
		if lossless {
			kind = "VP8L"
		}
		data := testimages.WebPOf(kind, bitstream)
		sameResult(t, "in other memory", prepareAny(t, dirty, data), prepareAny(t, p, data))
	})
}
