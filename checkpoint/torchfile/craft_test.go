package torchfile_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
)

// part is an entry of a crafted archive. Its fields are written as they are,
// whether or not they fit together.
type part struct {
	name   string
	data   []byte
	method uint16
	flags  uint16
	size   uint64 // 0: as data is long
}

// zipOf writes an archive of parts.
func zipOf(parts ...part) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, p := range parts {
		h := &zip.FileHeader{
			Name: p.name, Method: p.method, Flags: p.flags, CRC32: crc32.ChecksumIEEE(p.data),
			CompressedSize64: uint64(len(p.data)), UncompressedSize64: uint64(len(p.data)),
		}
		if p.size != 0 {
			h.UncompressedSize64 = p.size
		}
		body, err := w.CreateRaw(h)
		if err == nil {
			_, err = body.Write(p.data)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// partsOf is what torch.save writes around a pickle and storages 0, 1, ...
func partsOf(code []byte, storages ...[]byte) []part {
	parts := []part{
		{name: "x/data.pkl", data: code}, {name: "x/version", data: []byte("3\n")},
		{name: "x/byteorder", data: []byte("little")},
	}
	for i, s := range storages {
		parts = append(parts, part{name: fmt.Sprintf("x/data/%d", i), data: s})
	}
	return parts
}

func archiveOf(code []byte, storages ...[]byte) []byte { return zipOf(partsOf(code, storages...)...) }

// storageOf is n float32 of zero.
func storageOf(n int) []byte { return make([]byte, 4*n) }

// pickleOf takes the pickle out of a file.
func pickleOf(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.File {
		if !strings.HasSuffix(f.Name, "/data.pkl") {
			continue
		}
		raw, err := f.OpenRaw()
		if err != nil {
			t.Fatal(err)
		}
		code, err := io.ReadAll(raw)
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	t.Fatal("there is no data.pkl")
	return nil
}

// Pieces of pickles, as Python code would be written. Each leaves one value.
func text(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}
func number(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}
func tuple(items ...string) string { return "(" + strings.Join(items, "") + "t" }
func list(items ...string) string  { return "](" + strings.Join(items, "") + "e" }
func dict(pairs ...string) string  { return "}(" + strings.Join(pairs, "") + "u" }
func global(name string) string {
	dot := strings.LastIndex(name, ".")
	return "c" + name[:dot] + "\n" + name[dot+1:] + "\n"
}
func call(name string, args ...string) string { return global(name) + tuple(args...) + "R" }
func numbersOf(n ...int64) string {
	var items []string
	for _, x := range n {
		items = append(items, number(x))
	}
	return tuple(items...)
}

// storageID names storage key, of n elements.
func storageID(kind, key string, n int64) string {
	return tuple(text("storage"), global("torch."+kind), text(key), text("cpu"), number(n)) + "Q"
}

// tensorOf is a view of storage 0, which has four float32.
func tensorOf(offset int64, shape, strides string) string {
	return call("torch._utils._rebuild_tensor_v2", storageID("FloatStorage", "0", 4), number(offset), shape, strides,
		"\x89", call("collections.OrderedDict"))
}

// saved is a whole pickle of {"x": value}.
func saved(value string) []byte { return []byte("\x80\x02" + dict(text("x"), value) + ".") }
