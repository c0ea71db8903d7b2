package lzw_test

import (
	"bytes"
	stdlzw "compress/lzw"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/agiqa/agiqa/imageprep/internal/lzw"
)

// compress encodes by the standard library.
func compress(t testing.TB, pixels []byte, bits int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := stdlzw.NewWriter(&b, stdlzw.LSB, bits)
	if _, err := w.Write(pixels); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// behind gives data the bytes that must lie behind it.
func behind(data []byte) []byte {
	return append(bytes.Clone(data), bytes.Repeat([]byte{0xA5}, lzw.ReadAhead)...)[:len(data)]
}

// picture draws pixels of some bits, the more alike the smaller the noise is.
func picture(n, bits int, noise float64) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), uint64(bits)))
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i/7) & (1<<bits - 1)
		if rng.Float64() < noise {
			out[i] = byte(rng.IntN(1 << bits))
		}
	}
	return out
}

// TestEqualsTheStandardLibrary over pictures that fill the table many times.
func TestEqualsTheStandardLibrary(t *testing.T) {
	for bits := 2; bits <= 8; bits++ {
		for _, n := range []int{1, 7, 8, 9, 300, 5000, 100_000} {
			for _, noise := range []float64{0, 0.01, 0.3, 1} {
				want := picture(n, bits, noise)
				got := make([]byte, n)
				if err := lzw.Decode(context.Background(), got, behind(compress(t, want, bits)), bits); err != nil ||
					!bytes.Equal(got, want) {
					t.Fatalf("%d pixels of %d bits, noise %g: error %v, or other pixels", n, bits, noise, err)
				}
			}
		}
	}
}

// codes packs codes, each with its width.
func codes(list ...[2]uint) []byte {
	var out []byte
	acc, n := uint64(0), uint(0)
	for _, c := range list {
		acc |= uint64(c[0]) << n
		for n += c[1]; n >= 8; n -= 8 {
			out = append(out, byte(acc))
			acc >>= 8
		}
	}
	return append(out, byte(acc))
}

func TestDecode(t *testing.T) {
	for name, tc := range map[string]struct {
		data []byte
		bits int
		want []byte // its length is asked for
		err  error
	}{
		"eleven bits a pixel": {codes([2]uint{2048, 12}, [2]uint{5, 12}, [2]uint{0x7fe, 12}), 11, []byte{5, 0xfe}, nil},
		"a string and its first": {codes([2]uint{4, 3}, [2]uint{1, 3}, [2]uint{6, 3}, [2]uint{7, 3}), 2,
			[]byte{1, 1, 1, 1, 1, 1}, nil},
		"without a clear code":   {codes([2]uint{1, 3}, [2]uint{2, 3}), 2, []byte{1, 2}, nil},
		"more than is asked for": {codes([2]uint{4, 3}, [2]uint{1, 3}, [2]uint{6, 3}, [2]uint{7, 3}), 2, []byte{1, 1}, nil},
		"an unknown code":        {codes([2]uint{4, 3}, [2]uint{1, 3}, [2]uint{7, 3}), 2, make([]byte, 3), lzw.ErrCode},
		"a string before any":    {codes([2]uint{4, 3}, [2]uint{6, 3}), 2, make([]byte, 3), lzw.ErrCode},
		"an early end":           {codes([2]uint{4, 3}, [2]uint{1, 3}, [2]uint{5, 3}), 2, make([]byte, 3), lzw.ErrShort},
		"nothing":                {nil, 2, make([]byte, 1), lzw.ErrShort},
		"one bit a pixel":        {[]byte{0x32}, 1, []byte{0}, nil},
		"one bit, without growth": {codes([2]uint{2, 2}, [2]uint{1, 2}, [2]uint{0, 2}, [2]uint{1, 2}, [2]uint{1, 2},
			[2]uint{0, 2}), 1, []byte{1, 0, 1, 1, 0}, nil},
		"no bit a pixel":      {[]byte{1}, 0, make([]byte, 7), nil},
		"twelve bits a pixel": {codes([2]uint{4096, 13}, [2]uint{0xffe, 13}, [2]uint{1, 13}), 12, []byte{0xfe, 1}, nil},
		"no room for strings": {codes([2]uint{4096, 13}, [2]uint{1, 13}, [2]uint{4098, 13}), 12,
			make([]byte, 3), lzw.ErrCode},
		"thirteen bits": {nil, 13, make([]byte, 1), lzw.ErrCode},
		"fewer than no": {nil, -1, make([]byte, 1), lzw.ErrCode},
	} {
		got := make([]byte, len(tc.want))
		if err := lzw.Decode(context.Background(), got, behind(tc.data), tc.bits); !errors.Is(err, tc.err) ||
			err == nil && !bytes.Equal(got, tc.want) {
			t.Errorf("%s: error %v, pixels %v; want %v, %v", name, err, got, tc.err, tc.want)
		}
	}
}

// FuzzDecode holds damage against the standard library: the same pixels, or an
// error by both.
func FuzzDecode(f *testing.F) {
	for bits := 2; bits <= 8; bits++ {
		f.Add(compress(f, picture(900, bits, 0.2), bits), uint8(bits))
	}
	f.Fuzz(func(t *testing.T, data []byte, b uint8) {
		bits := 2 + int(b)%7
		want, got := make([]byte, 1000), make([]byte, 1000)
		r := stdlzw.NewReader(bytes.NewReader(data), stdlzw.LSB, bits)
		_, wantErr := io.ReadFull(r, want)
		err := lzw.Decode(context.Background(), got, behind(data), bits)
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Fatalf("error %v and %v, or other pixels", err, wantErr)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	pixels := picture(1<<20, 8, 0.3)
	data := behind(compress(b, pixels, 8))
	b.SetBytes(1 << 20)
	for b.Loop() {
		if err := lzw.Decode(context.Background(), pixels, data, 8); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDecodeHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := lzw.Decode(ctx, make([]byte, 9), behind(compress(t, make([]byte, 9), 8)),
		8); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}
