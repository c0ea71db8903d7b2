package testimages_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"image"
	_ "image/gif"
	_ "image/jpeg"
	_ "image/png"
	"testing"

	"github.com/agiqa/agiqa/internal/testimages"
)

func TestDrawnImagesDecode(t *testing.T) {
	for name, data := range map[string][]byte{
		"png": testimages.PNG(31, 17), "jpeg": testimages.JPEG(31, 17), "gif": testimages.AnimatedGIF(31, 17, 3),
	} {
		img, format, err := image.Decode(bytes.NewReader(data))
		if err != nil || format != name || img.Bounds() != image.Rect(0, 0, 31, 17) {
			t.Errorf("%s: decoded as %q, %v, error %v", name, format, img, err)
		}
	}
}

func TestExpectedCoversEveryGolden(t *testing.T) {
	expected, origin, err := testimages.Expected()
	if err != nil {
		t.Fatal(err)
	}
	if origin.Pillow == "" || origin.LibjpegTurbo == "" || origin.Libwebp == "" {
		t.Errorf("origin is incomplete: %+v", origin)
	}
	named := testimages.Named()
	if len(named) != len(expected) {
		t.Errorf("%d inputs, %d expectations", len(named), len(expected))
	}
	for name := range named {
		e, ok := expected[name]
		if !ok {
			t.Errorf("%s: no expectation", name)
		}
		if e.RGBBytes != nil && sha256.Sum256(e.RGBBytes) != e.RGB {
			t.Errorf("%s: the archive's pixels do not match their digest", name)
		}
		if e.OutBytes != nil && sha256.Sum256(e.OutBytes) != e.Out {
			t.Errorf("%s: the archive's result does not match its digest", name)
		}
	}
}

func TestScanFloodIsAValidJPEG(t *testing.T) {
	for _, side := range []uint16{1, 8, 100, 1024, 1500} {
		if _, _, err := image.Decode(bytes.NewReader(testimages.ScanFlood(side, side, 5))); err != nil {
			t.Errorf("a flood of 5 scans at %d pixels does not decode: %v", side, err)
		}
	}
}

func TestWithChecksums(t *testing.T) {
	good := testimages.PNG(31, 17)
	bad := bytes.Clone(good)
	data := bytes.Index(bad, []byte("IDAT"))
	length := int(binary.BigEndian.Uint32(bad[data-4:]))
	for _, at := range []int{29, data + 4 + length - 1, data + 4 + length} { // CRC of IHDR, Adler-32, CRC of IDAT
		bad[at] ^= 0xFF
	}
	if got := testimages.WithChecksums(bad); !bytes.Equal(got, good) {
		t.Error("the checksums were not repaired")
	}
	for name, data := range map[string][]byte{
		"a JPEG": testimages.JPEG(8, 8), "a cut PNG": good[:len(good)-30], "nothing": nil, "a whole PNG": good,
	} {
		if got := testimages.WithChecksums(data); !bytes.Equal(got, data) {
			t.Errorf("%s was changed", name)
		}
	}
}

// TestBombsAreSmallAndValid: Go's own decoders accept them. There is none for
// WebP.
func TestBombsAreSmallAndValid(t *testing.T) {
	bombs := testimages.Bombs(321, 123)
	delete(bombs, "lossless webp")
	for name, data := range bombs {
		img, _, err := image.Decode(bytes.NewReader(data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if size := img.Bounds().Size(); size != image.Pt(321, 123) || len(data) > 321*123/16 {
			t.Errorf("%s: %d bytes that decode to %v", name, len(data), size)
		}
	}
}
