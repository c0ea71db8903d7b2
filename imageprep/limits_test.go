package imageprep_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"image"
	"io"
	"maps"
	"path"
	"runtime"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

func TestConfigValidateNamesEveryField(t *testing.T) {
	err := imageprep.Config{MaxPixels: 1 << 50}.Validate()
	if err == nil {
		t.Fatal("the zero configuration is accepted")
	}
	for _, field := range []string{"MaxBytes", "MaxPixels", "MaxScans", "MemoryBudget", "Mode"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q does not name %s", err, field)
		}
	}
	if err := imageprep.DefaultConfig().Validate(); err != nil {
		t.Errorf("the default is refused: %v", err)
	}
	if _, err := imageprep.New(imageprep.Config{}); err == nil {
		t.Error("New accepts the zero configuration")
	}
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// allowance is what a refusal may allocate for an input of n bytes: less than
// twice the input, and for a tiny input a few kilobytes of errors and parsing.
func allowance(n int) uint64 { return uint64(max(2*n, 16<<10)) }

// TestHostileFilesAreRefusedBeforeAllocation is H01: the files that kill or
// stall a process which decodes first and asks later.
func TestHostileFilesAreRefusedBeforeAllocation(t *testing.T) {
	p := newPreparer(t)
	want := map[string]quality.Kind{
		"png chunk of 2 GB":              quality.KindImageTruncated,
		"bmp of 24 TB":                   quality.KindUnsupportedImageFormat,
		"tiff of 60000 x 60000":          quality.KindUnsupportedImageFormat,
		"jpeg scan flood, 100":           quality.KindImageTooManyScans,
		"jpeg scan flood, 2000":          quality.KindImageTooManyScans,
		"jpeg scan flood, just over":     quality.KindImageTooManyScans,
		"jpeg 0x0":                       quality.KindImageZeroDimension,
		"jpeg of 1 x 65535 over the cap": quality.KindPayloadTooLarge,
	}
	files := testimages.Hostile()
	for name := range files {
		want[name] = quality.KindImageTooManyPixels
	}
	files["png chunk of 2 GB"] = append(testimages.PNGHeader(64, 64, 8, 2)[:33], "\x7f\xff\xff\xffIDATabcdefgh"...)
	files["bmp of 24 TB"] = []byte("BM" + strings.Repeat("\xff", 24_000))
	files["tiff of 60000 x 60000"] = []byte("II*\x00" + strings.Repeat("\x00", 400))
	files["jpeg scan flood, 100"] = testimages.ScanFlood(4096, 4096, 100)
	files["jpeg scan flood, 2000"] = testimages.ScanFlood(4096, 4096, 2000)
	files["jpeg scan flood, just over"] = testimages.ScanFlood(64, 64, 30)
	files["jpeg 0x0"] = testimages.JPEGHeader(0xC0, 0, 0, 8, 3)
	files["jpeg of 1 x 65535 over the cap"] = append(testimages.JPEG(8, 8), make([]byte, 20_000_000)...)
	for name, data := range files {
		t.Run(name, func(t *testing.T) {
			var err error
			got := allocated(func() { _, err = p.Prepare(context.Background(), data) })
			if quality.KindOf(err) != want[name] {
				t.Errorf("error %v, want kind %s", err, want[name])
			}
			if got >= allowance(len(data)) {
				t.Errorf("refusing %d bytes allocated %d, want less than %d", len(data), got, allowance(len(data)))
			}
		})
	}
}

// TestBloatedFilesCostTheirPixelsOnly is the other half of H01 and H03: valid
// pictures with a great deal around them.
func TestBloatedFilesCostTheirPixelsOnly(t *testing.T) {
	p := newPreparer(t)
	var jpegApps, jpegTables, jpegTiny []byte
	head, rest := testimages.JPEG(64, 64)[:2], testimages.JPEG(64, 64)[2:]
	jpegApps = append(jpegApps, head...)
	for range 300 {
		jpegApps = testimages.JPEGSegment(jpegApps, 0xE1, make([]byte, 65_000))
	}
	jpegTiny = append(jpegTiny, head...)
	for range 65_535 {
		jpegTiny = testimages.JPEGSegment(jpegTiny, 0xEF, nil)
	}
	jpegTables = append(jpegTables, head...)
	for range 50_000 {
		jpegTables = testimages.JPEGSegment(jpegTables, 0xDB, append([]byte{3}, bytes.Repeat([]byte{1}, 64)...))
	}
	var bomb bytes.Buffer
	z := zlib.NewWriter(&bomb)
	if _, err := io.CopyN(z, zeros{}, 50<<20); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	png := testimages.PNG(64, 64)
	iccp := testimages.PNGChunk(bytes.Clone(png[:33]), "iCCP", append([]byte("x\x00\x00"), bomb.Bytes()...))
	for name, data := range map[string][]byte{
		"jpeg, 300 segments of 65 kB": append(jpegApps, rest...),
		"jpeg, 65535 empty segments":  append(jpegTiny, rest...),
		"png, iCCP bomb":              append(iccp, png[33:]...),
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			got := allocated(func() { _, err = p.Prepare(context.Background(), data) })
			if err != nil {
				t.Fatal(err)
			}
			if limit := uint64(2 << 20); got > limit {
				t.Errorf("a picture of 64 x 64 allocated %d bytes, want at most %d", got, limit)
			}
		})
	}
	t.Run("jpeg, 50000 quantisation tables", func(t *testing.T) {
		data := append(jpegTables, rest...)
		var err error
		got := allocated(func() { _, err = p.Prepare(context.Background(), data) })
		if err != nil || got > uint64(5*len(data)) {
			t.Errorf("%d bytes allocated %d, error %v", len(data), got, err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestPixelLimitIsExact is H02: the limit itself passes, one pixel less does
// not, in every format.
func TestPixelLimitIsExact(t *testing.T) {
	for name, data := range map[string][]byte{
		"jpeg": testimages.JPEG(61, 45), "png": testimages.PNG(61, 45), "gif": testimages.GIF(61, 45),
		"webp": testimages.WebP(), "lossless webp": testimages.WebPLossless(), "animated webp": testimages.AnimatedWebP(),
	} {
		t.Run(name, func(t *testing.T) {
			cfg := imageprep.DefaultConfig()
			for _, tc := range []struct {
				limit int64
				want  quality.Kind
			}{{61 * 45, ""}, {61*45 - 1, quality.KindImageTooManyPixels}} {
				cfg.MaxPixels = tc.limit
				p, err := imageprep.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := p.Prepare(context.Background(), data); (err == nil) != (tc.want == "") || err != nil &&
					quality.KindOf(err) != tc.want {
					t.Errorf("limit %d: error %v, want kind %q", tc.limit, err, tc.want)
				}
			}
		})
	}
}

// TestExtremeAspect is the rest of H02: one pixel thin, and far longer than
// Pillow can resize.
func TestExtremeAspect(t *testing.T) {
	p := newPreparer(t)
	for _, size := range []image.Point{{1, 3_000_000}, {3_000_000, 1}} {
		img := image.NewGray(image.Rect(0, 0, size.X, size.Y))
		for i := range img.Pix {
			img.Pix[i] = 77
		}
		got, err := p.Prepare(context.Background(), testimages.PNGOf(img))
		if err != nil {
			t.Fatalf("%v: %v", size, err)
		}
		if want := bytes.Repeat([]byte{77}, quality.PixelsLen); !bytes.Equal(got.Pixels.Bytes(), want) {
			t.Errorf("%v: %s", size, difference(got.Pixels.Bytes(), want))
		}
	}
	if _, err := p.Prepare(context.Background(),
		testimages.PNGHeader(1, 25_000_001, 1, 0)); quality.KindOf(err) != quality.KindImageTooManyPixels {
		t.Errorf("1 x 25000001: error %v, want kind %s", err, quality.KindImageTooManyPixels)
	}
}

func TestScanLimitIsExact(t *testing.T) {
	p := newPreparer(t)
	// ScanFlood's own first scan counts.
	if _, err := p.Prepare(context.Background(), testimages.ScanFlood(64, 64, 29)); err != nil {
		t.Errorf("30 scans: %v", err)
	}
	if _, err := p.Prepare(context.Background(),
		testimages.ScanFlood(64, 64, 30)); quality.KindOf(err) != quality.KindImageTooManyScans {
		t.Errorf("31 scans: error %v, want kind %s", err, quality.KindImageTooManyScans)
	}
}

func TestTooExpensiveForTheBudget(t *testing.T) {
	cfg := imageprep.DefaultConfig()
	h, err := imageprep.Sniff(testimages.PNG(300, 200))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		budget int64
		want   bool
	}{{h.DecodeBytes(), true}, {h.DecodeBytes() - 1, false}} {
		cfg.MemoryBudget = tc.budget
		p, err := imageprep.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Prepare(context.Background(), testimages.PNG(300, 200))
		if tc.want != (err == nil) || err != nil && quality.KindOf(err) != quality.KindImageTooExpensive {
			t.Errorf("budget %d: error %v", tc.budget, err)
		}
	}
}

// TestDefaultBudgetAdmitsTheDearestImage: every kind of image at the pixel
// limit fits the default budget.
func TestDefaultBudgetAdmitsTheDearestImage(t *testing.T) {
	budget := imageprep.DefaultConfig().MemoryBudget
	for name, data := range map[string][]byte{
		"png 16-bit RGBA":  testimages.PNGHeader(5000, 5000, 16, 6),
		"jpeg progressive": testimages.JPEGHeader(0xC2, 5000, 5000, 8, 4),
		"webp lossless":    testimages.WebPLosslessHeader(5000, 5000),
		"gif":              testimages.GIFHeader(5000, 5000, 5000, 5000),
	} {
		h, err := imageprep.Sniff(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h.DecodeBytes() > budget {
			t.Errorf("%s: needs %d bytes, the budget is %d", name, h.DecodeBytes(), budget)
		}
	}
}

// TestDecodeBytesCoversTheDecode holds the estimate against what Prepare
// allocates. Besides pixels that is the result, the weights, the tables of
// the decoders and copies of the compressed data: at most 1 MB here.
func TestDecodeBytesCoversTheDecode(t *testing.T) {
	p := newPreparer(t)
	files := map[string][]byte{
		"jpeg": testimages.JPEG(1600, 1200), "png": testimages.PNG(1600, 1200), "gif": testimages.GIF(1600, 1200),
		"tall png": testimages.PNG(100, 20_000), "wide png": testimages.PNG(20_000, 100),
		"progressive jpeg": testimages.ScanFlood(2048, 2048, 3),
	}
	for name, data := range testimages.Named() {
		if path.Ext(name) != ".zip" {
			files[name] = data
		}
	}
	maps.Copy(files, testimages.Bombs(2000, 1500))
	for name, data := range files {
		h, err := imageprep.Sniff(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := allocated(func() { _, err = p.Prepare(context.Background(), data) })
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if limit := uint64(h.DecodeBytes()) + 2*uint64(len(data)) + 1<<20; got > limit {
			t.Errorf("%s: allocated %d bytes, the estimate is %d", name, got, h.DecodeBytes())
		}
	}
}

// TestDimensionsDoNotOverflow: the product of the largest PNG dimensions is
// compared as 64 bits.
func TestDimensionsDoNotOverflow(t *testing.T) {
	data := testimages.PNGHeader(1<<16, 1<<16, 8, 2) // 2^32 pixels, 0 in 32 bits
	if _, err := newPreparer(t).Prepare(context.Background(),
		data); quality.KindOf(err) != quality.KindImageTooManyPixels {
		t.Errorf("error %v, want kind %s", err, quality.KindImageTooManyPixels)
	}
	if w := binary.BigEndian.Uint32(data[16:]); w != 1<<16 {
		t.Fatalf("the test's own header says %d", w)
	}
}
