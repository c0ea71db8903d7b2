package torchfile_test

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/agiqa/agiqa/checkpoint/torchfile"
)

// small limits keep a fuzzer fast, and let it reach them.
func small() torchfile.Limits {
	return torchfile.Limits{
		ArchiveBytes: 1 << 20, Entries: 64, PickleBytes: 64 << 10, Steps: 4096, Depth: 16,
		Tensors: 64, Rank: 4, Elements: 1 << 12,
	}
}

// FuzzOpen reads whole files.
func FuzzOpen(f *testing.F) {
	files, err := filepath.Glob("../testdata/torch/*.p*")
	if err != nil || len(files) == 0 {
		f.Fatalf("no fixtures: %v", err)
	}
	for _, name := range files {
		f.Add(fixture(f, "torch/"+filepath.Base(name)))
	}
	f.Add(archiveOf(saved(call("os.system", text("true")))))
	f.Add(overlapping())
	f.Fuzz(func(t *testing.T, file []byte) { checkOpened(t, file) })
}

// FuzzPickle reads pickles in a sound archive with one storage of 16 bytes, so
// that the fuzzer need not find out about checksums.
func FuzzPickle(f *testing.F) {
	f.Add(saved(tensorOf(0, numbersOf(2, 2), numbersOf(1, 2))))
	f.Add(saved(tensorOf(3, numbersOf(5), numbersOf(0))))
	f.Add(saved(call("torch._utils._rebuild_parameter", tensorOf(1, numbersOf(), numbersOf()), "\x88", dict())))
	f.Add(saved(list(text("a"), number(1), "N\x88\x89K\x01M\x01\x02J\x01\x02\x03\x04G\x3f\xf0\x00\x00\x00\x00\x00\x00")))
	f.Add(saved(call("collections.defaultdict", global("builtins.dict")) + "}b"))
	f.Add(saved(global("torch.optim.sgd.SGD") + ")\x81}b"))
	f.Add(saved(doubling(4)))
	f.Add([]byte("\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94h\x01s."))
	f.Fuzz(func(t *testing.T, code []byte) { checkOpened(t, archiveOf(code, storageOf(4))) })
}

// checkOpened wants a file refused, or opened with every tensor readable in
// full and no name twice. Nothing may panic.
func checkOpened(t *testing.T, file []byte) {
	opened, err := torchfile.Open(bytes.NewReader(file), int64(len(file)), []string{"optimizer"}, small())
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the reader looked for a file: %v", err)
		}
		return
	}
	total := 0
	for path, tensor := range opened.Tensors {
		n := 1
		for _, d := range tensor.Shape {
			n *= d
		}
		if tensor.Len() != n {
			t.Errorf("%q: Len is %d, shape %v", path, tensor.Len(), tensor.Shape)
		}
		if total += n; n < 0 || total > small().Elements {
			t.Errorf("%q: shape %v, %d elements until here, limit %d", path, tensor.Shape, total, small().Elements)
		}
		if values, err := tensor.Float32(); err == nil && len(values) != n {
			t.Errorf("%q: %d numbers of shape %v", path, len(values), tensor.Shape)
		}
		_, scalar := opened.Scalars[path]
		_, opaque := opened.Opaque[path]
		if scalar || opaque {
			t.Errorf("%q names two values", path)
		}
	}
}
