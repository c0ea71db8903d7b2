package imageprep_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"io"
	"path"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// pngParts is a PNG taken apart: what comes before the image data, the zlib
// stream of all IDAT chunks, and what comes after.
type pngParts struct{ head, stream, tail []byte }

func takePNGApart(t *testing.T, data []byte) pngParts {
	t.Helper()
	p := pngParts{head: bytes.Clone(data[:8])}
	for rest := data[8:]; len(rest) > 0; {
		n := 12 + int(binary.BigEndian.Uint32(rest))
		chunk := rest[:n]
		switch {
		case string(chunk[4:8]) == "IDAT":
			p.stream = append(p.stream, chunk[8:n-4]...)
		case p.stream == nil:
			p.head = append(p.head, chunk...)
		default:
			p.tail = append(p.tail, chunk...)
		}
		rest = rest[n:]
	}
	return p
}

// rows returns the inflated image data.
func (p pngParts) rows(t *testing.T) []byte {
	t.Helper()
	z, err := zlib.NewReader(bytes.NewReader(p.stream))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func deflated(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := z.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pngChunk(kind string, body []byte) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), kind...)
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

func joined(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// cut returns b without its last n bytes.
func cut(b []byte, n int) []byte { return b[:len(b)-n] }

// wrong returns b with its last byte changed: the end of a checksum.
func wrong(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)-1] ^= 1
	return b
}

// TestPNGFaultsBehindThePixels: a file that has every pixel is decoded,
// whatever is wrong after the last one. Pillow 13.0.0 gives the same pixels
// for each of these files as for the sound one, but for the two whose last chunk
// is cut or no chunk, which it refuses.
func TestPNGFaultsBehindThePixels(t *testing.T) {
	p := newPreparer(t)
	faults := map[string]func(t *testing.T, f pngParts) []byte{
		"no IEND": func(_ *testing.T, f pngParts) []byte { return joined(f.head, pngChunk("IDAT", f.stream)) },
		"half an IEND": func(_ *testing.T, f pngParts) []byte {
			return joined(f.head, pngChunk("IDAT", f.stream), []byte("\x00\x00\x00\x00IE"))
		},
		"IEND without CRC": func(_ *testing.T, f pngParts) []byte {
			return joined(f.head, pngChunk("IDAT", f.stream), cut(pngChunk("IEND", nil), 4))
		},
		"IEND with a wrong CRC": func(_ *testing.T, f pngParts) []byte {
			return joined(f.head, pngChunk("IDAT", f.stream), wrong(pngChunk("IEND", nil)))
		},
		"no Adler-32": func(_ *testing.T, f pngParts) []byte {
			return joined(f.head, pngChunk("IDAT", cut(f.stream, 4)), f.tail)
		},
		"half an Adler-32": func(_ *testing.T, f pngParts) []byte {
			return joined(f.head, pngChunk("IDAT", cut(f.stream, 2)), f.tail)
		},
		"cut in the Adler-32": func(_ *testing.T, f pngParts) []byte {
			return joined(f.head, cut(pngChunk("IDAT", f.stream), 6))
		},
		"cut in the CRC of the last IDAT": func(_ *testing.T, f pngParts) []byte {
			return joined(f.head, cut(pngChunk("IDAT", f.stream), 2))
		},
		"a byte too many": func(t *testing.T, f pngParts) []byte {
			return joined(f.head, pngChunk("IDAT", deflated(t, append(f.rows(t), 0))), f.tail)
		},
		"rows too many, in several IDAT": func(t *testing.T, f pngParts) []byte {
			stream := deflated(t, append(f.rows(t), make([]byte, 100_000)...))
			half := len(stream) / 2
			return joined(f.head, pngChunk("IDAT", stream[:half]), pngChunk("IDAT", stream[half:]), f.tail)
		},
		"bytes behind the Adler-32": func(_ *testing.T, f pngParts) []byte {
			return joined(f.head, pngChunk("IDAT", append(bytes.Clone(f.stream), "more"...)), f.tail)
		},
		"no chunk behind the pixels": func(_ *testing.T, f pngParts) []byte {
			return joined(f.head, pngChunk("IDAT", f.stream), []byte("no chunk, but some text"))
		},
		"text with a wrong CRC behind the pixels": func(_ *testing.T, f pngParts) []byte {
			return joined(f.head, pngChunk("IDAT", f.stream), wrong(pngChunk("tEXt", []byte("a\x00b"))), f.tail)
		},
		"text that is cut behind the pixels": func(_ *testing.T, f pngParts) []byte {
			return joined(f.head, pngChunk("IDAT", f.stream), cut(pngChunk("tEXt", make([]byte, 60)), 30))
		},
	}
	files := 0
	for name, want := range expectations(t) {
		if path.Ext(name) != ".png" {
			continue
		}
		files++
		sound := takePNGApart(t, testimages.Golden(name))
		for fault, damage := range faults {
			data := damage(t, sound)
			rgb, _, _, err := imageprep.FullSize(data)
			if err != nil {
				t.Errorf("%s, %s: %v", name, fault, err)
				continue
			}
			if sha256.Sum256(rgb) != want.RGB {
				t.Errorf("%s, %s: decoded pixels differ from Pillow's: %s", name, fault, orUnknown(rgb, want.RGBBytes))
			}
			if img, err := p.Prepare(context.Background(), data); err != nil || sha256.Sum256(img.Pixels.Bytes()) != want.Out {
				t.Errorf("%s, %s: the result differs from Pillow's, or there is none: %v", name, fault, err)
			}
		}
	}
	if files < 50 {
		t.Errorf("only %d golden PNG files", files)
	}
}

// TestPNGFaultsOfPixels: a file that lacks pixels, or whose checksums say that
// they are not what was written, is refused.
func TestPNGFaultsOfPixels(t *testing.T) {
	for _, name := range []string{"png-rgb8.png", "png-palette4.png", "png-rgba16-interlaced.png", "png-rgb8-trns.png"} {
		f := takePNGApart(t, testimages.Golden(name))
		raw := f.rows(t)
		less := deflated(t, cut(raw, 1))
		half := cut(f.stream, len(f.stream)/2)
		for _, tc := range []struct {
			fault string
			data  []byte
			kind  quality.Kind
		}{
			{"cut in the rows", joined(f.head, cut(pngChunk("IDAT", f.stream), len(f.stream)/2)), quality.KindImageTruncated},
			{"a chunk shorter than the rows, and no IEND", joined(f.head, pngChunk("IDAT", half)), quality.KindImageTruncated},
			{"a byte of the rows missing, and no IEND", joined(f.head, pngChunk("IDAT", less)), quality.KindImageTruncated},
			{"no image data", f.head, quality.KindImageTruncated},
			{"a byte of the rows missing", joined(f.head, pngChunk("IDAT", less), f.tail), quality.KindImageCorrupt},
			{"a wrong Adler-32", joined(f.head, pngChunk("IDAT", wrong(f.stream)), f.tail), quality.KindImageCorrupt},
			{"a wrong CRC of IDAT", joined(f.head, wrong(pngChunk("IDAT", f.stream)), f.tail), quality.KindImageCorrupt},
			{"a wrong CRC before IDAT", joined(wrong(f.head), pngChunk("IDAT", f.stream), f.tail), quality.KindImageCorrupt},
		} {
			if _, _, _, err := imageprep.FullSize(tc.data); quality.KindOf(err) != tc.kind {
				t.Errorf("%s, %s: %v, want %s", name, tc.fault, err, tc.kind)
			}
		}
	}
}
