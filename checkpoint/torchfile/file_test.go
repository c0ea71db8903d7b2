package torchfile_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint/torchfile"
)

// expectation is what make_torch.py says is in a file.
type expectation struct {
	Tensors map[string]struct {
		DType   torchfile.DType `json:"dtype"`
		Shape   []int           `json:"shape"`
		Float32 []float64       `json:"float32"` // null: not of floating point
	} `json:"tensors"`
	Scalars map[string]any `json:"scalars"`
	Opaque  []string       `json:"opaque"`
}

// fixture reads a file that torch.save wrote.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(b []byte, skip ...string) (*torchfile.File, error) {
	return torchfile.Open(bytes.NewReader(b), int64(len(b)), skip, torchfile.DefaultLimits())
}

func TestOpenWhatTorchWrote(t *testing.T) {
	var document struct {
		Files map[string]expectation `json:"files"`
	}
	decoder := json.NewDecoder(bytes.NewReader(fixture(t, "torch/expected.json")))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		t.Fatal(err)
	}
	if len(document.Files) < 9 {
		t.Fatalf("%d files are described, want at least 9", len(document.Files))
	}
	for name, want := range document.Files {
		t.Run(name, func(t *testing.T) {
			f, err := open(fixture(t, "torch/"+name+".pt"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want.Tensors)), slices.Sorted(maps.Keys(f.Tensors))); diff != "" {
				t.Errorf("names of tensors: (-want +got)\n%s", diff)
			}
			for path, w := range want.Tensors {
				checkTensor(t, path, f.Tensors[path], w.DType, w.Shape, w.Float32)
			}
			if diff := cmp.Diff(numbers(want.Scalars), f.Scalars); diff != "" {
				t.Errorf("scalars: (-want +got)\n%s", diff)
			}
			slices.Sort(want.Opaque)
			if got := slices.Sorted(maps.Keys(f.Opaque)); !slices.Equal(got, want.Opaque) {
				t.Errorf("opaque: %q, want %q", got, want.Opaque)
			}
		})
	}
}

func checkTensor(t *testing.T, path string, got torchfile.Tensor, dtype torchfile.DType, shape []int, want []float64) {
	t.Helper()
	if got.DType != dtype || !slices.Equal(got.Shape, shape) {
		t.Errorf("%s: %s %v, want %s %v", path, got.DType, got.Shape, dtype, shape)
		return
	}
	values, err := got.Float32()
	if want == nil {
		if err == nil || !strings.Contains(err.Error(), string(dtype)) {
			t.Errorf("%s: error %v, want one that names %s", path, err, dtype)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	same := func(a float32, b float64) bool { return math.Float32bits(a) == math.Float32bits(float32(b)) }
	if !slices.EqualFunc(values, want, same) {
		t.Errorf("%s: %v, want %v", path, values, want)
	}
}

// numbers gives JSON's numbers the types of the reader: whole ones int64.
func numbers(scalars map[string]any) map[string]any {
	out := map[string]any{}
	for path, v := range scalars {
		if n, ok := v.(json.Number); ok {
			if whole, err := n.Int64(); err == nil {
				v = whole
			} else if f, err := n.Float64(); err == nil {
				v = f
			}
		}
		out[path] = v
	}
	return out
}

func TestOpenNamesOpaqueObjects(t *testing.T) {
	f, err := open(fixture(t, "torch/numpy.pt"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"float64": "an object of numpy._core.multiarray.scalar",
		"float32": "an object of numpy._core.multiarray.scalar",
	}
	if diff := cmp.Diff(want, f.Opaque); diff != "" {
		t.Errorf("Opaque: (-want +got)\n%s", diff)
	}
}

// What older releases wrote and the one behind the fixtures does not.
func TestOpenOlderWriters(t *testing.T) {
	scalar := call("numpy.core.multiarray.scalar", call("numpy.dtype", text("f8"))+tuple()+"b", text("8 bytes."))
	for name, parts := range map[string][]part{
		"no byte order, before PyTorch 2.1": partsOf(saved(scalar))[:2],
		"a scalar of numpy 1":               partsOf(saved(scalar)),
		"an address for a key": append(partsOf(saved(storageID("HalfStorage", "94113470915200", 2))),
			part{name: "x/data/94113470915200", data: storageOf(1)}),
	} {
		f, err := open(zipOf(parts...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if f.Opaque["x"] == "" || len(f.Opaque) != 1 {
			t.Errorf("%s: Opaque is %v, want x alone", name, f.Opaque)
		}
	}
}

// A training's own file holds a whole scheduler and, inside, a whole optimizer.
func TestOpenSkips(t *testing.T) {
	for _, name := range []string{
		"original/shared/regression/model.pth.tar-2", "original/shared/prompt_learner/model.pth.tar-10",
		"torch/step.pt", "torch/multi_step.pt",
	} {
		t.Run(name, func(t *testing.T) {
			b := fixture(t, name)
			f, err := open(b, "optimizer", "scheduler", "val_result", "schedule")
			if err != nil {
				t.Fatal(err)
			}
			for path := range f.Tensors {
				if !strings.HasPrefix(path, "state_dict.") {
					t.Errorf("tensor %q was named, want those of state_dict only", path)
				}
			}
			if len(f.Opaque) != 0 {
				t.Errorf("Opaque: %v, want none", f.Opaque)
			}
		})
	}
}

func TestOpenKeysThatNameNothing(t *testing.T) {
	// What is not skipped must have a name: the optimizer's state has tensors
	// for keys only inside the scheduler, which is a marker as a whole.
	f, err := open(fixture(t, "original/shared/regression/model.pth.tar-2"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Tensors["optimizer.state.0.momentum_buffer"]; !ok {
		t.Errorf("tensors are %q, want optimizer.state.0.momentum_buffer among them", slices.Sorted(maps.Keys(f.Tensors)))
	}
	if got := f.Opaque["scheduler.successor"]; got != "an object of torch.optim.lr_scheduler.CosineAnnealingLR" {
		t.Errorf("Opaque[scheduler.successor] is %q", got)
	}
}

// Where the pickle is cut, or the archive, there is an error and no panic.
func TestOpenTruncated(t *testing.T) {
	whole := fixture(t, "torch/parameter.pt")
	for n := range whole {
		if _, err := open(whole[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are taken for a file", n, len(whole))
		}
	}
	code := pickleOf(t, whole)
	for n := range code {
		if _, err := open(archiveOf(code[:n], storageOf(4), storageOf(1))); err == nil {
			t.Errorf("the first %d of %d bytes are taken for a pickle", n, len(code))
		}
	}
	if _, err := open(archiveOf(code, storageOf(4), storageOf(1))); err != nil {
		t.Errorf("the whole pickle: %v", err)
	}
}

func TestFloat32ChecksTheSum(t *testing.T) {
	b := fixture(t, "torch/parameter.pt")
	at := bytes.Index(b, []byte("\x00\x00\x80\x3f")) // 1.0, the frozen parameter
	if at < 0 {
		t.Fatal("1.0 is not in the file")
	}
	b[at]++
	f, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Tensors["frozen"].Float32(); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("error is %v, want one about the checksum", err)
	}
}

func TestLimitsValidate(t *testing.T) {
	err := torchfile.Limits{}.Validate()
	for _, field := range []string{"ArchiveBytes", "Entries", "PickleBytes", "Steps", "Depth",
		"Tensors", "Rank", "Elements"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
	if err := torchfile.DefaultLimits().Validate(); err != nil {
		t.Errorf("the default limits: %v", err)
	}
}
