package png_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	stdpng "image/png"
	"math/rand/v2"
	"path"
	"testing"

	"pgregory.net/rapid"

	"github.com/agiqa/agiqa/imageprep/internal/png"
	"github.com/agiqa/agiqa/imageprep/internal/pool"
	"github.com/agiqa/agiqa/internal/testimages"
)

func always() bool { return true }

var decoder = png.NewDecoder(pool.New[byte](4, 1<<24))

// samples returns what image/png makes of a file, without alpha, or false when
// it refuses.
func samples(data []byte) ([]byte, bool) {
	img, err := stdpng.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, false
	}
	var out []byte
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	for y := range h {
		for x := range w {
			switch img := img.(type) {
			case *image.Gray:
				out = append(out, img.Pix[y*img.Stride+x])
			case *image.Paletted:
				out = append(out, img.Pix[y*img.Stride+x])
			case *image.RGBA:
				out = append(out, img.Pix[y*img.Stride+4*x:][:3]...)
			case *image.NRGBA:
				out = append(out, img.Pix[y*img.Stride+4*x:][:3]...)
			default:
				return nil, false
			}
		}
	}
	return out, true
}

// quick returns the same of this package, or false when it passes.
func quick(data []byte) ([]byte, bool) {
	img := decoder.Decode(data, always)
	if img == nil {
		return nil, false
	}
	defer img.Release()
	var out []byte
	for y := range img.Height {
		row := img.Row(y)
		for x := range img.Width {
			px := row[x*img.Channels:][:img.Channels]
			switch img.Channels {
			case 1:
				out = append(out, px[0])
			case 2: // image/png makes three of one
				out = append(out, px[0], px[0], px[0])
			default:
				out = append(out, px[:3]...)
			}
		}
	}
	return out, true
}

// check asserts the package's promise: what it accepts, image/png accepts too,
// with the same samples.
func check(t interface{ Fatalf(string, ...any) }, what string, data []byte) (accepted bool) {
	got, ok := quick(data)
	if !ok {
		return false
	}
	want, stdOK := samples(data)
	if !stdOK {
		t.Fatalf("%s: accepted, image/png refuses it", what)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: other samples than image/png's", what)
	}
	return true
}

func chunk(kind string, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = append(append(b, kind...), body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// file builds a PNG from filtered rows, compressed at a level and cut into
// IDAT chunks of so many bytes.
func file(w, h int, colourType byte, raw []byte, level, part int) []byte {
	var z bytes.Buffer
	zw, err := zlib.NewWriterLevel(&z, level)
	if err != nil {
		panic(err)
	}
	_, _ = zw.Write(raw)
	_ = zw.Close()
	ihdr := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(w)), uint32(h))
	b := append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(ihdr, 8, colourType, 0, 0, 0))...)
	if colourType == 3 {
		b = append(b, chunk("PLTE", make([]byte, 768))...)
	}
	for rest := z.Bytes(); len(rest) > 0; {
		n := min(part, len(rest))
		b, rest = append(b, chunk("IDAT", rest[:n])...), rest[n:]
	}
	return append(b, chunk("IEND", nil)...)
}

// rows draws filtered rows: every filter, and content from repetitive to
// random, so that matches of every length and distance come up.
func rows(r *rand.Rand, h, rowBytes int) []byte {
	var raw []byte
	noise := r.IntN(4)
	for range h {
		raw = append(raw, byte(r.IntN(5)))
		for i := range rowBytes {
			switch {
			case noise == 0 && len(raw) > rowBytes+1 || noise == 1 && i > 3 && r.IntN(9) > 0:
				raw = append(raw, raw[len(raw)-min(len(raw), 1+noise*3)])
			case noise == 2:
				raw = append(raw, byte(r.IntN(6)))
			default:
				raw = append(raw, byte(r.Uint32()))
			}
		}
	}
	return raw
}

var colourTypes = map[byte]int{0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

func TestEqualsImagePNG(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		colourType := rapid.SampledFrom([]byte{0, 2, 3, 4, 6}).Draw(t, "colour type")
		w, h := rapid.IntRange(1, 90).Draw(t, "width"), rapid.IntRange(1, 90).Draw(t, "height")
		data := file(w, h, colourType, rows(r, h, w*colourTypes[colourType]),
			rapid.IntRange(-2, 9).Draw(t, "level"), rapid.SampledFrom([]int{1, 7, 1000, 1 << 20}).Draw(t, "part"))
		if !check(t, "drawn", data) {
			t.Fatalf("a common file was not accepted")
		}
	})
}

// TestGoldens covers every kind of file; those of the common kind must be
// accepted, or the package is good for nothing.
func TestGoldens(t *testing.T) {
	accepted := 0
	for name, data := range testimages.Named() {
		if path.Ext(name) == ".png" && check(t, name, data) {
			accepted++
		}
	}
	if accepted < 10 {
		t.Errorf("%d golden files accepted", accepted)
	}
	for name, data := range testimages.Hostile() {
		check(t, name, data)
	}
	if !check(t, "drawn by image/png", testimages.PNG(700, 300)) {
		t.Error("a file of image/png's was not accepted")
	}
}

// TestDamage: a flipped bit or a cut is never accepted where image/png would
// not, and with right checksums of the chunks too.
func TestDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	raw := rows(r, 40, 3*40)
	good := file(40, 40, 2, raw, 6, 1<<20)
	for range 3000 {
		bad := bytes.Clone(good)
		const idat = 8 + 25
		n := int(binary.BigEndian.Uint32(bad[idat:]))
		body := bad[idat+8:][:n]
		for range 1 + r.IntN(3) {
			body[r.IntN(n)] ^= 1 << r.IntN(8)
		}
		binary.BigEndian.PutUint32(bad[idat+8+n:], crc32.ChecksumIEEE(bad[idat+4:idat+8+n]))
		check(t, "flipped bits", bad)
		check(t, "cut", bad[:r.IntN(len(bad))])
	}
}

func TestGivenUp(t *testing.T) {
	data := testimages.PNG(500, 500)
	looks := 0
	if decoder.Decode(data, func() bool { looks++; return true }) == nil || looks < 500 {
		t.Fatalf("%d looks, want one a row and more", looks)
	}
	for stop := range looks {
		n := 0
		if decoder.Decode(data, func() bool { n++; return n <= stop }) != nil {
			t.Fatalf("decoded to the end, though stopped at look %d", stop)
		}
		if n != stop+1 {
			t.Fatalf("looked %d times after the stop at %d", n, stop)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for name, data := range testimages.Named() {
		if path.Ext(name) == ".png" && len(data) < 900 {
			f.Add(data)
		}
	}
	for colourType, channels := range colourTypes {
		f.Add(file(3, 3, colourType, make([]byte, 3*(1+3*channels)), 9, 1<<20))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = testimages.WithChecksums(data)
		if len(data) > 24 && (data[16]|data[17]|data[20]|data[21] != 0 || data[18] > 8 || data[22] > 8) {
			t.Skip("too large to fuzz")
		}
		check(t, "fuzzed", data)
	})
}

// FuzzStream puts any bytes where the compressed rows belong.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0x78, 0x9C, 3, 0, 0, 0, 0, 1})
	const head, tail = 8 + 25 + 8, 4 + 12
	whole := file(5, 5, 2, make([]byte, 80), 9, 1<<20)
	f.Add(whole[head : len(whole)-tail])
	f.Fuzz(func(t *testing.T, stream []byte) {
		b := append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", []byte{0, 0, 0, 5, 0, 0, 0, 5, 8, 2, 0, 0, 0})...)
		b = append(append(b, chunk("IDAT", stream)...), chunk("IEND", nil)...)
		check(t, "fuzzed stream", testimages.WithChecksums(b))
	})
}
