package cache_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/quality"
)

func textIdentity() cache.Identity {
	return cache.Identity{
		Kind: cache.KindText, Key: quality.DigestOf([]byte("key")), Encoder: testEncoder.Digest,
		Checkpoint: quality.DigestOf([]byte("checkpoint")), Rows: quality.CategoryCount, Dim: testDim,
	}
}

func imageIdentity() cache.Identity {
	return cache.Identity{
		Kind: cache.KindImage, Key: quality.DigestOf([]byte("image key")), Encoder: testEncoder.Digest, Rows: 1, Dim: testDim,
	}
}

func rowsOf(id cache.Identity) []quality.Embedding {
	rows := make([]quality.Embedding, id.Rows)
	for i := range rows {
		rows[i] = unit(id.Dim, uint64(i)+7)
	}
	return rows
}

func encoded(t testing.TB, id cache.Identity) []byte {
	t.Helper()
	value, err := cache.Encode(id, rowsOf(id))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestCodecRoundTrip(t *testing.T) {
	wide := imageIdentity()
	wide.Dim = 1024
	for _, test := range []struct {
		name string
		id   cache.Identity
	}{
		{"text", textIdentity()}, {"image", imageIdentity()}, {"wide image", wide},
	} {
		t.Run(test.name, func(t *testing.T) {
			value := encoded(t, test.id)
			if len(value) != test.id.Len() {
				t.Errorf("%d bytes, want %d", len(value), test.id.Len())
			}
			got, err := cache.Decode(test.id, value)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(rowsOf(test.id), got); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			clear(value)
			if diff := cmp.Diff(rowsOf(test.id), got); diff != "" {
				t.Error("the rows share memory with the value")
			}
		})
	}
}

// TestCodecLayout holds the format still: values outlive a release.
func TestCodecLayout(t *testing.T) {
	id := imageIdentity()
	id.Dim = 2
	value, err := cache.Encode(id, []quality.Embedding{{0.6, -0.8}})
	if err != nil {
		t.Fatal(err)
	}
	want := []byte("AGQC\x02\x02\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00")
	want = append(want, id.Key[:]...)
	want = append(want, id.Encoder[:]...)
	want = append(want, make([]byte, 32)...)
	want = append(want, 0x9a, 0x99, 0x19, 0x3f, 0xcd, 0xcc, 0x4c, 0xbf) // 0.6 and -0.8
	if !bytes.Equal(value, want) {
		t.Errorf("value\n%x, want\n%x", value, want)
	}
}

func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	nan := unit(testDim, 1)
	nan[0] = float32(math.NaN())
	for _, test := range []struct {
		name string
		rows []quality.Embedding
	}{
		{"no row", nil},
		{"two rows for one", []quality.Embedding{unit(testDim, 1), unit(testDim, 2)}},
		{"a short row", []quality.Embedding{unit(testDim-1, 1)}},
		{"not a number", []quality.Embedding{nan}},
		{"zero norm", []quality.Embedding{make(quality.Embedding, testDim)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if value, err := cache.Encode(imageIdentity(), test.rows); err == nil {
				t.Errorf("Encode gave %d bytes, want an error", len(value))
			}
		})
	}
}

// changed returns a copy of value changed by change: what a writer with a fault
// leaves.
func changed(value []byte, change func([]byte)) []byte {
	value = bytes.Clone(value)
	change(value)
	return value
}

func TestDecodeFindsEveryFault(t *testing.T) {
	id := textIdentity()
	good := encoded(t, id)
	other := func(change func(*cache.Identity)) []byte {
		o := id
		change(&o)
		return encoded(t, o)
	}
	otherDigest := quality.DigestOf([]byte("another"))
	float := func(i int, f float32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[112+4*i:], math.Float32bits(f)) }
	}
	for _, test := range []struct {
		name, part string
		value      []byte
	}{
		{"nil", "size", nil},
		{"a text", "size", []byte("hello")},
		{"a long text", "magic", bytes.Repeat([]byte("hello "), 100)},
		{"all zero", "magic", make([]byte, len(good))},
		{"cut by one byte", "size", good[:len(good)-1]},
		{"cut after the header", "size", good[:112]},
		{"one byte more", "size", append(bytes.Clone(good), 0)},
		{"twice", "size", append(bytes.Clone(good), good...)},
		{"the next version", "version", changed(good, func(b []byte) { b[4] = 3 })},
		{"version zero", "version", changed(good, func(b []byte) { b[4] = 0 })},
		{"an image", "size", encoded(t, imageIdentity())},
		{"an image of the same size", "kind", changed(good, func(b []byte) { b[5] = byte(cache.KindImage) })},
		{"reserved bytes in use", "reserved", changed(good, func(b []byte) { b[6] = 1 })},
		{"transposed shape", "shape", changed(good, func(b []byte) { b[8], b[12] = b[12], b[8] })},
		{"a shape whose product overflows", "shape", changed(good, func(b []byte) { b[11], b[15] = 0xff, 0xff })},
		{"another dimension", "size", other(func(o *cache.Identity) { o.Dim = testDim * 2 })},
		{"another key", "key", other(func(o *cache.Identity) { o.Key = otherDigest })},
		{"another encoder", "encoder", other(func(o *cache.Identity) { o.Encoder = otherDigest })},
		{"another checkpoint", "checkpoint", other(func(o *cache.Identity) { o.Checkpoint = otherDigest })},
		{"not a number", "numbers", changed(good, float(3, float32(math.NaN())))},
		{"infinite", "numbers", changed(good, float(3, float32(math.Inf(-1))))},
		{"a row that is not a unit vector", "numbers", changed(good, float(5, 3))},
	} {
		t.Run(test.name, func(t *testing.T) {
			rows, err := cache.Decode(id, test.value)
			invalid, ok := errors.AsType[*cache.InvalidError](err)
			if !ok || invalid.Part != test.part || rows != nil {
				t.Errorf("Decode = %d rows, %v; want none and an InvalidError in part %q", len(rows), err, test.part)
			}
			if ok && cache.ReasonOf(err) != cache.ReasonInvalid {
				t.Errorf("ReasonOf = %s, want %s", cache.ReasonOf(err), cache.ReasonInvalid)
			}
		})
	}
}

func TestDecodeFindsEveryCut(t *testing.T) {
	id := textIdentity()
	good := encoded(t, id)
	for n := range len(good) {
		if _, err := cache.Decode(id, good[:n]); err == nil {
			t.Fatalf("cut to %d of %d bytes and not noticed", n, len(good))
		}
	}
}

// FuzzDecode holds that whatever decodes is exactly what Encode writes, so
// that there is one value for each identity and set of numbers.
func FuzzDecode(f *testing.F) {
	id := textIdentity()
	good := encoded(f, id)
	f.Add(good)
	f.Add(encoded(f, imageIdentity()))
	f.Add(good[:len(good)-1])
	f.Add([]byte{})
	f.Add([]byte("AGQC"))
	f.Add(changed(good, func(b []byte) { b[4] = 9 }))
	f.Add(changed(good, func(b []byte) { b[115] = 0x7f; b[114] = 0xc0 }))
	f.Fuzz(func(t *testing.T, value []byte) {
		rows, err := cache.Decode(id, value)
		if err != nil {
			if _, ok := errors.AsType[*cache.InvalidError](err); !ok || rows != nil {
				t.Fatalf("Decode = %d rows, %v; want none and an InvalidError", len(rows), err)
			}
			return
		}
		again, err := cache.Encode(id, rows)
		if err != nil {
			t.Fatalf("Encode of what was decoded: %v", err)
		}
		if !bytes.Equal(again, value) {
			t.Fatalf("encoded again\n%x, decoded\n%x", again, value)
		}
	})
}

func BenchmarkDecodeText(b *testing.B) {
	id := textIdentity()
	id.Dim = 512
	value := encoded(b, id)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cache.Decode(id, value); err != nil {
			b.Fatal(err)
		}
	}
}
