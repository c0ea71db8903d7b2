package torchfile_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/checkpoint/torchfile"
)

func TestOpenRefusesPickles(t *testing.T) {
	view := func(offset int64, shape, strides []int64) []byte {
		return saved(tensorOf(offset, numbersOf(shape...), numbersOf(strides...)))
	}
	storage := func(args ...string) []byte { return saved(tuple(args...) + "Q") }
	float, cpu, four := global("torch.FloatStorage"), text("cpu"), number(4)
	for _, test := range []struct {
		name string
		code []byte
		want string
	}{
		{"a command", saved(call("os.system", text("true"))), `refers to the Python name "os.system"`},
		{"a command by another name", saved(call("posix.system", text("true"))), `"posix.system"`},
		{"evaluation", saved(call("builtins.eval", text("1"))), `"builtins.eval"`},
		{"evaluation, in the words of Python 2", saved(call("__builtin__.eval", text("1"))), `"__builtin__.eval"`},
		{"a command that is never called", saved(global("os.system")), `"os.system"`},
		{"a command from the stack", saved(text("os") + text("system") + "\x93"), `"os.system"`},
		{"a command under a dotted name", saved(text("torch") + text("serialization.os.system") + "\x93"),
			`"torch.serialization.os.system"`},
		{"a command inside a marker", saved(call("numpy.dtype", call("os.system", text("true")))), `"os.system"`},
		{"a command as an attribute", saved(call("collections.OrderedDict") + dict(text("a"), global("os.system")) + "b"),
			`"os.system"`},
		{"a command below a skipped key", []byte("\x80\x02" + dict(text("skipped"), call("os.system", text("true"))) + "."),
			`"os.system"`},
		{"a name of many bytes", saved("c" + strings.Repeat("a", 300) + "\nb\n"), "no line feed within 255 bytes"},
		{"a name that is no text", saved(number(1) + text("system") + "\x93"), "want two texts"},

		{"calls a text", saved(text("x") + tuple() + "R"), `REDUCE: calls the text "x"`},
		{"calls a storage type", saved(call("torch.FloatStorage")), "REDUCE: calls torch.FloatStorage"},
		{"calls with a list", saved(global("numpy.dtype") + list() + "R"), "want a tuple"},
		{"makes a tensor with NEWOBJ", saved(global("torch._utils._rebuild_tensor_v2") + tuple() + "\x81"),
			"NEWOBJ: makes an object of torch._utils"},
		{"makes a text with NEWOBJ", saved(text("x") + tuple() + "\x81"), "NEWOBJ: makes an object of the text"},
		{"a dictionary of something", saved(call("collections.OrderedDict", text("x"))), "an argument is the text"},
		{"a dictionary of two", saved(call("collections.defaultdict", global("builtins.dict"), "N")), "2 arguments"},
		{"attributes of a text", saved(text("x") + dict() + "b"), "BUILD: sets attributes of the text"},
		{"appends to a text", saved(text("x") + "Na"), "APPEND: appends to the text"},
		{"items of a list", saved(list() + "NNs"), "SETITEM: sets items of a list"},
		{"a key without a value", saved("}(Nu"), "a key has no value"},

		{"opcode INST", saved("(ios\nsystem\n"), "byte 11: opcode INST is not read"},
		{"opcode OBJ", saved("(o"), "opcode OBJ is not read"},
		{"opcode PERSID", saved("Pid\n"), "opcode PERSID is not read"},
		{"opcode EXT1", saved("\x82\x01"), "opcode EXT1 is not read"},
		{"opcode NEWOBJ_EX", saved("NNN\x92"), "opcode NEWOBJ_EX is not read"},
		{"no opcode", saved("\xff"), "byte 10: 0xff is no opcode"},
		{"protocol 0", []byte("\x80\x00}."), "protocol 0"},
		{"protocol 5", []byte("\x80\x05}."), "protocol 5"},
		{"empty", nil, "no STOP"},
		{"no STOP", []byte("\x80\x02}"), "no STOP"},
		{"STOP with nothing", []byte("\x80\x02."), "0 values are left"},
		{"STOP with two values", []byte("\x80\x02}}."), "2 values are left"},
		{"STOP with a mark", []byte("\x80\x02}(."), "1 marks are open"},
		{"more after STOP", []byte("\x80\x02}.}"), "1 bytes follow"},
		{"takes from below a mark", saved("N(a"), "the stack is empty"},
		{"no mark", []byte("\x80\x02t."), "there is no mark"},
		{"a memo that is not set", saved("h\x07"), "BINGET: nothing was kept under 7"},
		{"a long memo that is not set", saved("j\xff\xff\xff\xff"), "LONG_BINGET: nothing was kept under 4294967295"},
		{"a memo of nothing", []byte("\x80\x02q\x00."), "BINPUT: the stack is empty"},
		{"a text of 4 GB", saved("X\xff\xff\xff\xff"), "4294967295 bytes are wanted"},
		{"bytes of 4 GB", saved("B\xff\xff\xff\xff"), "4294967295 bytes are wanted"},
		{"a text of half a character", saved("X\x01\x00\x00\x00\xc3"), "not UTF-8"},
		{"a number of 255 bytes", saved("\x8a\xff"), "a number of 255 bytes"},
		{"marks in marks", []byte("\x80\x02" + strings.Repeat("(", 100) + "."), "more than 64 marks"},
		{"more steps than allowed", []byte("\x80\x02" + strings.Repeat("N", 1<<18) + "."), "more than 262144 opcodes"},

		{"not a dictionary", []byte("\x80\x02" + list() + "."), "holds a list of 0, want a dictionary"},
		{"a key of None", saved(dict("N", "N")), "None for a key"},
		{"a key twice", []byte("\x80\x02" + dict(text("x"), "N", text("x"), "N") + "."), `the key "x" twice`},
		{"two names alike", []byte("\x80\x02" + dict(text("a.b"), "N", text("a"), dict(text("b"), "N")) + "."),
			`two values are named "a.b"`},
		{"a number and its text", saved(dict(number(7), dict(), text("7"), dict())), `the key "7" twice`},
		{"a list in itself", saved("]q\x00h\x00a"), "nested more than 64 deep"},
		{"a dictionary in itself", saved("}q\x00X\x01\x00\x00\x00yh\x00s"), "nested more than 64 deep"},
		{"lists in lists", saved(strings.Repeat("](", 63) + strings.Repeat("e", 63) + strings.Repeat("\x85", 5000)),
			"nested more than 64 deep"},
		{"lists that double", saved(doubling(40)), "holds more than 262144 values"},
		{"a long key above many values", saved(dict(text(strings.Repeat("k", 257)), "N")), "more than 256 bytes"},

		{"a persistent id of text", saved(text("x") + "Q"), "a persistent id is the text"},
		{"a persistent id of another kind", storage(text("module"), float, text("0"), cpu, four),
			"a persistent id is a tuple of 5"},
		{"a storage of no type", storage(text("storage"), text("x"), text("0"), cpu, four),
			`the type of a storage is the text "x"`},
		{"a storage of another type", saved(storageID("ComplexFloatStorage", "0", 4)), `"torch.ComplexFloatStorage"`},
		{"a storage by path", saved(storageID("FloatStorage", "../version", 4)),
			`the key of a storage is the text "../version"`},
		{"a storage by number", storage(text("storage"), float, number(0), cpu, four), "the key of a storage is 0"},
		{"a storage nowhere", storage(text("storage"), float, text("0"), "N", four), "the location of storage 0 is None"},
		{"a storage that is missing", saved(storageID("FloatStorage", "9", 4)), "archive has no data/9"},
		{"a storage of too few bytes", saved(storageID("FloatStorage", "0", 5)), "has 16 bytes, 5 of float32 need 20"},
		{"a storage of too many bytes", saved(storageID("FloatStorage", "0", 3)), "has 16 bytes, 3 of float32 need 12"},
		{"a storage whose bytes overflow", saved(storageID("DoubleStorage", "0", 1<<61+2)), "is not from 0 to 2147483647"},
		{"a storage of negative size", saved(storageID("FloatStorage", "0", -4)), "-4 is not from 0"},
		{"a storage of two types", saved(list(storageID("FloatStorage", "0", 4), storageID("IntStorage", "0", 4))),
			"storage 0 is 4 of int32 here and 4 of float32 before"},

		{"an offset outside", view(4, []int64{1}, []int64{1}), "reaches outside the storage"},
		{"a negative offset", view(-1, []int64{1}, []int64{1}), "offset: -1 is not from 0"},
		{"an offset of 2^63-1", view(math.MaxInt64, []int64{1}, []int64{1}), "offset: 9223372036854775807 is not from 0"},
		{"a shape outside", view(0, []int64{5}, []int64{1}), "reaches outside the storage"},
		{"an empty view outside", view(5, []int64{0}, []int64{1}), "reaches outside the storage"},
		{"a stride outside", view(0, []int64{2, 2}, []int64{3, 1}), "reaches outside the storage"},
		{"a negative stride", view(3, []int64{4}, []int64{-1}), "strides: -1 is not from 0"},
		{"strides whose sum overflows", view(0, []int64{1 << 25, 2}, []int64{math.MaxInt32, math.MaxInt32}),
			"reaches outside the storage"},
		{"a shape whose product overflows", view(0, []int64{1 << 30, 1 << 30, 1 << 30, 1 << 30}, []int64{0, 0, 0, 0}),
			"more than 67108864 elements"},
		{"an expanded shape of 2^31-1", view(0, []int64{math.MaxInt32}, []int64{0}), "more than 67108864 elements"},
		{"expanded shapes that are too much together", saved(list(
			tensorOf(0, numbersOf(1<<26-1), numbersOf(0)), tensorOf(0, numbersOf(2), numbersOf(0)))),
			"more than 67108864 elements"},
		{"a negative dimension", view(0, []int64{-1}, []int64{1}), "shape: -1 is not from 0"},
		{"too many dimensions", view(0, make([]int64, 9), make([]int64, 9)), "9 dimensions, at most 8"},
		{"not as many strides", view(0, []int64{2, 2}, []int64{1}), "not as many strides as dimensions"},
		{"a shape of text", saved(tensorOf(0, text("2"), numbersOf(1))), "shape: is the text"},
		{"a dimension of text", saved(tensorOf(0, tuple(text("2")), numbersOf(1))), "where a number is wanted"},
		{"a tensor of nothing", saved(call("torch._utils._rebuild_tensor_v2")), "0 arguments, want 6 or 7"},
		{"a tensor of text", saved(call("torch._utils._rebuild_tensor_v2", text("0"), "N", "N", "N", "N", "N")),
			"the storage is the text"},
		{"a tensor that is the negative of its numbers",
			saved(call("torch._utils._rebuild_tensor_v2", storageID("FloatStorage", "0", 4),
				number(0), numbersOf(1), numbersOf(1), "\x89", dict(), dict(text("neg"), "\x88"))), "a tensor has properties"},
		{"a parameter of nothing", saved(call("torch._utils._rebuild_parameter")), "0 arguments, want 3"},
		{"a parameter of text", saved(call("torch._utils._rebuild_parameter", text("0"), "\x88", dict())),
			"the data of a parameter is the text"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, archiveOf(test.code, storageOf(4)), test.want)
		})
	}
}

// wantError wants b refused with an error that holds want and stays short.
func wantError(t *testing.T, b []byte, want string) {
	t.Helper()
	_, err := open(b, "skipped")
	switch {
	case err == nil:
		t.Errorf("is read, want an error with %q", want)
	case !strings.Contains(err.Error(), want):
		t.Errorf("error is %q, want one with %q", err, want)
	case len(err.Error()) > 1000:
		t.Errorf("error has %d bytes", len(err.Error()))
	}
}

// doubling is a tuple of n lists, of which each but the first holds the one
// before it twice: few opcodes that name 2^n values.
func doubling(n int) string {
	items := []string{"](NNe"}
	for i := range n {
		items = append(items, fmt.Sprintf("q%c](h%ch%ce", i, i, i))
	}
	return tuple(items...)
}

func TestOpenRefusesArchives(t *testing.T) {
	sound := partsOf(saved("N"), storageOf(4))
	with := func(p ...part) []byte { return zipOf(append(partsOf(saved("N"), storageOf(4)), p...)...) }
	change := func(i int, edit func(*part)) []byte {
		parts := partsOf(saved("N"), storageOf(4))
		edit(&parts[i])
		return zipOf(parts...)
	}
	if _, err := open(zipOf(sound...)); err != nil {
		t.Fatalf("the archive that the others are made from: %v", err)
	}
	for _, test := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "is not a zip archive"},
		{"something else", []byte("a picture, perhaps"), "is not a zip archive"},
		{"a bare pickle", []byte("\x80\x02}."), "is a bare pickle"},
		{"the format before 1.6", fixture(t, "torch/legacy.pth"), "convert it with PyTorch 1.6 or newer: torch.save("},
		{"TorchScript", fixture(t, "torch/torchscript.pt"), "is TorchScript"},
		{"an end without a directory", zipOf(sound...)[:60], "zip directory"},
		{"no version", zipOf(sound[0], sound[2]), "archive has no version"},
		{"no pickle", zipOf(sound[1:]...), "archive has no data.pkl"},
		{"a version of the future", change(1, func(p *part) { p.data = []byte("11\n") }), "version is \"11\\n\""},
		{"a version that is none", change(1, func(p *part) { p.data = []byte("three") }), "want 1 to 10"},
		{"a long version", change(1, func(p *part) { p.data = make([]byte, 17) }), "version has 17 bytes"},
		{"big-endian", change(2, func(p *part) { p.data = []byte("big") }), `byteorder is "big"`},
		{"path upwards", with(part{name: "x/../../etc/passwd"}), "not a plain relative path"},
		{"absolute path", with(part{name: "/etc/passwd"}), "not a plain relative path"},
		{"path with backslashes", with(part{name: `x\..\y`}), "not a plain relative path"},
		{"path with a line feed", with(part{name: "x/a\nb"}), "not a plain relative path"},
		{"folder", with(part{name: "x/data/"}), "not a plain relative path"},
		{"another folder", with(part{name: "y/data.pkl"}), `not in the archive's one folder "x"`},
		{"the folder itself", with(part{name: "x"}), `not in the archive's one folder "x"`},
		{"entry twice", with(part{name: "x/data/0", data: storageOf(4)}), `entry "x/data/0" appears twice`},
		{"compressed", change(0, func(p *part) { p.method = zip.Deflate }), "is compressed (method 8)"},
		{"compressed, 1 TB", change(3, func(p *part) { p.method, p.size = zip.Deflate, 1<<40 }), "is compressed (method 8)"},
		{"stored, 1 TB of 16 bytes", change(3, func(p *part) { p.size = 1 << 40 }), "has 16 bytes of 1099511627776"},
		{"encrypted", change(3, func(p *part) { p.flags = 1 }), "is encrypted"},
		{"overlapping entries", overlapping(), "overlap"},
		{"entry beyond the file", beyond(), "outside the file"},
		{"pickle of another checksum", bytes.Replace(zipOf(sound...), []byte("Nu."), []byte("\x88u."), 1),
			"data.pkl: checksum"},
		{"too many entries", manyEntries(5000), "entries"},
		{"a directory too long", manyEntries(100_000), "longer than its entries may make it"},
		{"a pickle too long", archiveOf(make([]byte, 4<<20+1)), "data.pkl has 4194305 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) { wantError(t, test.file, test.want) })
	}
}

// directory edits fields of an archive's directory: edit gets each of its
// headers in turn.
func directory(b []byte, edit func(i int, header []byte)) []byte {
	end := bytes.LastIndex(b, []byte("PK\x05\x06"))
	at := int(binary.LittleEndian.Uint32(b[end+16:])) // where the directory begins
	for i := 0; bytes.HasPrefix(b[at:], []byte("PK\x01\x02")); i++ {
		header := b[at:]
		edit(i, header)
		for _, field := range []int{28, 30, 32} { // lengths of name, extra, comment
			at += int(binary.LittleEndian.Uint16(header[field:]))
		}
		at += 46
	}
	return b
}

// overlapping is an archive whose second entry lies inside the first.
func overlapping() []byte {
	inner := zipOf(part{name: "x/data/1", data: storageOf(4)})
	parts := append(partsOf(saved("N"), inner), part{name: "x/data/1", data: storageOf(4)})
	whole := zipOf(parts...)
	within := bytes.Index(whole, inner)
	return directory(whole, func(i int, header []byte) {
		if i == len(parts)-1 {
			binary.LittleEndian.PutUint32(header[42:], uint32(within)) // where the entry begins
		}
	})
}

// beyond is an archive whose last entry says that it is longer than the file.
func beyond() []byte {
	parts := partsOf(saved("N"), storageOf(4))
	return directory(zipOf(parts...), func(i int, header []byte) {
		if i == len(parts)-1 {
			binary.LittleEndian.PutUint32(header[20:], 1<<30) // both sizes
			binary.LittleEndian.PutUint32(header[24:], 1<<30)
		}
	})
}

func manyEntries(n int) []byte {
	parts := partsOf(saved("N"))
	for i := range n {
		parts = append(parts, part{name: fmt.Sprintf("x/%d", i)})
	}
	return zipOf(parts...)
}

func TestOpenArchiveTooLong(t *testing.T) {
	limits := torchfile.DefaultLimits()
	limits.ArchiveBytes = 100
	b := archiveOf(saved("N"))
	_, err := torchfile.Open(bytes.NewReader(b), int64(len(b)), nil, limits)
	if err == nil || !strings.Contains(err.Error(), "at most 100 are allowed") {
		t.Errorf("error is %v, want one with the limit", err)
	}
}

// What a hostile file makes the reader allocate stays far below what it asks.
func TestOpenMemory(t *testing.T) {
	const most = 96 << 20
	for name, file := range map[string][]byte{
		"empty dictionaries":     archiveOf(bytes.Repeat([]byte("}"), 4<<20)),
		"empty lists kept":       archiveOf([]byte("\x80\x04" + strings.Repeat("]\x94", 2<<20-1))),
		"tuples in tuples":       archiveOf([]byte(")" + strings.Repeat("\x85", 4<<20-1))),
		"long key, many values":  archiveOf(saved(dict(text(strings.Repeat("k", 240)), list(strings.Repeat("N", 1<<17))))),
		"lists that double":      archiveOf(saved(doubling(40))),
		"a directory of entries": manyEntries(100_000),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := open(file)
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > most {
				t.Errorf("%d bytes allocated, want at most %d (error: %v)", got, most, err)
			}
			t.Logf("%.1f MB", float64(after.TotalAlloc-before.TotalAlloc)/1e6)
		})
	}
}
