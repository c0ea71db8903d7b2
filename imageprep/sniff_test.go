package imageprep_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

func TestSniff(t *testing.T) {
	type facts struct {
		format                                       imageprep.Format
		width, height, frames, scans, bits, channels int
		progressive                                  bool
	}
	for name, want := range map[string]facts{
		"jpeg-420.jpg":              {imageprep.JPEG, 61, 45, 1, 1, 8, 3, false},
		"jpeg-420-progressive.jpg":  {imageprep.JPEG, 61, 45, 1, 10, 8, 3, true},
		"jpeg-gray-progressive.jpg": {imageprep.JPEG, 120, 90, 1, 6, 8, 1, true},
		"jpeg-420-scans.jpg":        {imageprep.JPEG, 61, 45, 1, 3, 8, 3, false},
		"jpeg-ycck.jpg":             {imageprep.JPEG, 61, 45, 1, 1, 8, 4, false},
		"png-gray1.png":             {imageprep.PNG, 37, 29, 1, 1, 1, 1, false},
		"png-rgba16-interlaced.png": {imageprep.PNG, 37, 29, 1, 1, 16, 4, true},
		"png-animated.png":          {imageprep.PNG, 40, 30, 3, 1, 8, 3, false},
		"png-animated-default.png":  {imageprep.PNG, 40, 30, 3, 1, 8, 3, false},
		"webp-lossy-61x45.webp":     {imageprep.WebP, 61, 45, 1, 1, 8, 3, false},
		"webp-lossless-alpha.webp":  {imageprep.WebP, 61, 45, 1, 1, 8, 3, false},
		"webp-lossy-alpha.webp":     {imageprep.WebP, 61, 45, 1, 1, 8, 4, false},
		"webp-animated.webp":        {imageprep.WebP, 61, 45, 2, 1, 8, 3, false},
		"webp-animated-offset.webp": {imageprep.WebP, 90, 70, 2, 1, 8, 4, false},
		"gif-plain.gif":             {imageprep.GIF, 61, 45, 1, 1, 8, 1, true},
		"gif-animated.gif":          {imageprep.GIF, 61, 45, 3, 1, 8, 1, false},
		"gif-interlaced.gif":        {imageprep.GIF, 37, 29, 1, 1, 8, 1, true},
		"gif-outside.gif":           {imageprep.GIF, 46, 36, 1, 1, 8, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := imageprep.Sniff(testimages.Golden(name))
			if err != nil {
				t.Fatal(err)
			}
			got := facts{h.Format, h.Width, h.Height, h.Frames, h.Scans, h.Bits, h.Channels, h.Progressive}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// TestUnsupportedFormats is H12 and the refused half of H06: the answer names
// what the file is.
func TestUnsupportedFormats(t *testing.T) {
	pad := strings.Repeat("\x00", 64)
	for _, tc := range []struct{ name, data, wantDetail string }{
		{"empty", "", "unsupported image format"},
		{"one byte", "\xff", "unsupported image format"},
		{"text", "hello, this is no image", "unsupported image format"},
		{"html", "<!DOCTYPE html><html><body>404</body></html>", "html"},
		{"svg", `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>`, "svg"},
		{"svg after a byte order mark", "\xef\xbb\xbf <svg/>", "svg"},
		{"xml bomb", `<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">]><lolz>&lol;</lolz>`, "xml"},
		{"pdf", "%PDF-1.7\n", "pdf"},
		{"elf", "\x7fELF" + pad, "elf"},
		{"windows executable", "MZ\x90" + pad, "exe"},
		{"tiff, little-endian", "II*\x00" + pad, "tiff"},
		{"tiff, big-endian", "MM\x00*" + pad, "tiff"},
		{"bmp", "BM" + pad, "bmp"},
		{"avif", "\x00\x00\x00\x20ftypavif" + pad, "avif"},
		{"heic", "\x00\x00\x00\x20ftypheic" + pad, "heic"},
		{"video", "\x00\x00\x00\x20ftypisom" + pad, "mp4"},
		{"jpeg xl", "\xff\x0a" + pad, "jxl"},
		{"jpeg xl container", "\x00\x00\x00\x0cJXL \r\n" + pad, "jxl"},
		{"jpeg 2000", "\x00\x00\x00\x0cjP  \r\n" + pad, "jpeg2000"},
		{"riff that is no webp", "RIFF\x10\x00\x00\x00WAVEfmt " + pad, "unsupported image format"},
		{"jpeg, arithmetic", string(testimages.JPEGHeader(0xC9, 64, 64, 8, 3)), "jpeg_arithmetic"},
		{"jpeg, arithmetic progressive", string(testimages.JPEGHeader(0xCA, 64, 64, 8, 3)), "jpeg_arithmetic"},
		{"jpeg, lossless", string(testimages.JPEGHeader(0xC3, 64, 64, 8, 3)), "jpeg_lossless"},
		{"jpeg, hierarchical", string(testimages.JPEGHeader(0xC5, 64, 64, 8, 3)), "jpeg_hierarchical"},
		{"jpeg, 12 bits", string(testimages.JPEGHeader(0xC1, 64, 64, 12, 3)), "jpeg_12bit"},
		{"jpeg, two components", string(testimages.JPEGHeader(0xC0, 64, 64, 8, 2)), "jpeg_components"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := imageprep.Sniff([]byte(tc.data))
			e, ok := errors.AsType[*quality.Error](err)
			if !ok || e.Kind != quality.KindUnsupportedImageFormat || !strings.Contains(e.Detail, tc.wantDetail) {
				t.Errorf("error %v, want kind %s with %q", err, quality.KindUnsupportedImageFormat, tc.wantDetail)
			}
		})
	}
}

// TestZeroDimension is H11.
func TestZeroDimension(t *testing.T) {
	for name, data := range map[string][]byte{
		"jpeg 0x0":       testimages.JPEGHeader(0xC0, 0, 0, 8, 3),
		"jpeg 0x9":       testimages.JPEGHeader(0xC0, 0, 9, 8, 3),
		"jpeg 9x0":       testimages.JPEGHeader(0xC2, 9, 0, 8, 1),
		"png 0x9":        testimages.PNGHeader(0, 9, 8, 2),
		"png 9x0":        testimages.PNGHeader(9, 0, 8, 2),
		"gif 0x32":       testimages.GIFHeader(0, 32, 0, 32),
		"gif frame 0x0":  testimages.GIFHeader(10, 10, 0, 0),
		"webp lossy 0x9": testimages.WebPLossyHeader(0, 9),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := imageprep.Sniff(data); quality.KindOf(err) != quality.KindImageZeroDimension {
				t.Errorf("error %v, want kind %s", err, quality.KindImageZeroDimension)
			}
		})
	}
}

func TestDamagedHeaders(t *testing.T) {
	png := func(change func(ihdr []byte)) []byte {
		data := testimages.PNGHeader(9, 9, 8, 2)
		change(data[16:29])
		return data
	}
	webp := func(at int, b byte) []byte {
		data := testimages.Golden("webp-animated-offset.webp")
		data[at] = b
		return data
	}
	for _, tc := range []struct {
		name string
		data []byte
		want quality.Kind
	}{
		{"png of an unknown colour type", png(func(b []byte) { b[9] = 5 }), quality.KindImageCorrupt},
		{"png of negative width", png(func(b []byte) { b[0] = 0x80 }), quality.KindImageCorrupt},
		{"png of an unknown interlace", png(func(b []byte) { b[12] = 2 }), quality.KindImageCorrupt},
		{"png of no bits", png(func(b []byte) { b[8] = 0 }), quality.KindImageCorrupt},
		{"png of three bits", png(func(b []byte) { b[8], b[9] = 3, 0 }), quality.KindImageCorrupt},
		{"png of four bits a colour", png(func(b []byte) { b[8] = 4 }), quality.KindImageCorrupt},
		{"png of sixteen bits an index", png(func(b []byte) { b[8], b[9] = 16, 3 }), quality.KindImageCorrupt},
		{"png without IHDR", []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIDAT" + strings.Repeat("\x00", 40)),
			quality.KindImageCorrupt},
		{"jpeg without a scan", append(testimages.JPEGSegment([]byte{0xFF, 0xD8}, 0xC0, []byte{8, 0, 9, 0, 9, 1, 1, 0x11, 0}),
			0xFF, 0xD9), quality.KindImageCorrupt},
		{"jpeg with a scan before its frame", testimages.JPEGSegment([]byte{0xFF, 0xD8}, 0xDA, []byte{1, 1, 0, 0, 63, 0}),
			quality.KindImageCorrupt},
		{"jpeg without a frame", []byte{0xFF, 0xD8, 0xFF, 0xD9}, quality.KindImageCorrupt},
		{"gif that ends before its frame", append(testimages.GIFHeader(9, 9, 9, 9)[:19], 0x3b), quality.KindImageCorrupt},
		{"gif with 9-bit codes", testimages.GIFHeader(9, 9, 9, 9)[:19], quality.KindImageTruncated},
		{"webp shorter than it says", testimages.WebP()[:100], quality.KindImageTruncated},
		// The first frame is at (8, 6) of a canvas of 90 x 70; see RFC 9649 for the offsets.
		{"webp frame outside its canvas", webp(12+8+10+8+6+8, 200), quality.KindImageCorrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := imageprep.Sniff(tc.data); quality.KindOf(err) != tc.want {
				t.Errorf("error %v, want kind %s", err, tc.want)
			}
		})
	}
}
