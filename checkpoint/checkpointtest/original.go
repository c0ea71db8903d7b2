package checkpointtest

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/checkpoint/safetensors"
)

// WriteOriginal writes the draft's numbers as CLIP-AGIQA's own training saves
// them, below dir: what torch.save makes of a dict of state_dict and epoch.
// That torch itself writes the same is held by tests of package checkpoint,
// which read files that it wrote.
func (d *Draft) WriteOriginal(t testing.TB, dir string, epoch int) {
	t.Helper()
	d.WriteOriginalNamed(t, dir, epoch, func(name string) string { return name })
}

// WriteOriginalNamed is WriteOriginal with other names of the tensors.
func (d *Draft) WriteOriginalNamed(t testing.TB, dir string, epoch int, name func(string) string) {
	t.Helper()
	file := fmt.Sprintf("model.pth.tar-%d", epoch)
	for folder, names := range map[string][][2]string{
		"prompt_learner": {{"context", "ctx"}},
		"regression": {
			{"head.0.weight", "1.weight"}, {"head.0.bias", "1.bias"},
			{"head.1.weight", "4.weight"}, {"head.1.bias", "4.bias"},
		},
	} {
		var tensors []safetensors.Tensor
		for _, n := range names {
			x := d.Tensors[n[0]]
			x.Name = name(n[1])
			tensors = append(tensors, x)
		}
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		writeTorch(t, filepath.Join(dir, folder, file), tensors, epoch)
	}
}

// WritePickle writes a file as torch.save makes it around a pickle.
func WritePickle(t testing.TB, name string, code string, storages ...[]byte) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	entry := func(name string, content []byte) {
		part, err := w.CreateHeader(&zip.FileHeader{Name: "archive/" + name, Method: zip.Store})
		if err == nil {
			_, err = part.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	entry("data.pkl", []byte(code))
	entry("version", []byte("3\n"))
	entry("byteorder", []byte("little"))
	for i, s := range storages {
		entry(fmt.Sprintf("data/%d", i), s)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func writeTorch(t testing.TB, name string, tensors []safetensors.Tensor, epoch int) {
	t.Helper()
	var state strings.Builder
	var storages [][]byte
	for i, x := range tensors {
		stride, strides := 1, make([]int, len(x.Shape))
		for k := len(x.Shape) - 1; k >= 0; k-- {
			strides[k], stride = stride, stride*x.Shape[k]
		}
		storage := tuple(text("storage"), "ctorch\nFloatStorage\n", text(fmt.Sprint(i)), text("cpu"), number(len(x.Data))) +
			"Q"
		state.WriteString(text(x.Name) + "ctorch._utils\n_rebuild_tensor_v2\n" +
			tuple(storage, number(0), numbers(x.Shape), numbers(strides), "\x89", "ccollections\nOrderedDict\n(tR") + "R")
		storages = append(storages, x.Bytes())
	}
	code := "\x80\x02}(" + text("state_dict") + "}(" + state.String() + "u" + text("epoch") + number(epoch) + "u."
	WritePickle(t, name, code, storages...)
}

// Pieces of a pickle; each leaves one value on its stack.
func text(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func number(n int) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func numbers(ns []int) string {
	var items []string
	for _, n := range ns {
		items = append(items, number(n))
	}
	return tuple(items...)
}

func tuple(items ...string) string { return "(" + strings.Join(items, "") + "t" }
