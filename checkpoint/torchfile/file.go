package torchfile

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// longestPath bounds a name made of keys. Without it, one long key above many
// values would be copied into the name of each.
const longestPath = 256

// File is what was saved: a dictionary, whose values are named by the keys
// that lead to them, joined with dots. An element of a list or tuple has its
// position for a key. {"state_dict": {"ctx": tensor}, "epoch": 5} gives the
// tensor "state_dict.ctx" and the scalar "epoch". No name appears twice.
type File struct {
	Tensors map[string]Tensor
	Scalars map[string]any    // nil, bool, int64, float64 or string
	Opaque  map[string]string // objects that were not read, and what they are
}

// Open reads a file of size bytes that torch.save wrote. What lies below the
// keys of skip, in the outermost dictionary, is checked as all the rest is
// (nothing in it may import another name than the allowed ones), but not
// named: the states of optimizers hold tensors as keys, for which there is no
// name. The tensors are read from file when they are asked for, so it must stay
// open. The errors are for whoever wrote the file; an error of file itself is
// wrapped.
func Open(file io.ReaderAt, size int64, skip []string, limits Limits) (*File, error) {
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	a, err := openArchive(file, size, limits)
	if err != nil {
		return nil, err
	}
	code, err := a.read(pickleEntry, limits.PickleBytes)
	if err != nil {
		return nil, err
	}
	build := &builder{archive: a, storages: map[string]*storage{}, limits: limits}
	saved, err := newMachine(code, build, limits).run()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pickleEntry, err)
	}
	top, ok := saved.(*dict)
	if !ok {
		return nil, fmt.Errorf("holds %s, want a dictionary", describe(saved))
	}
	n := &namer{
		file:   &File{Tensors: map[string]Tensor{}, Scalars: map[string]any{}, Opaque: map[string]string{}},
		limits: limits,
	}
	if err := n.dict("", top, 0, skip); err != nil {
		return nil, err
	}
	return n.file, nil
}

// namer gives every value its name. A value may be reached in several ways,
// and a list may hold itself, so it counts what it visits.
type namer struct {
	file    *File
	visited int
	limits  Limits
}

func (n *namer) value(path string, v any, depth int) error {
	if n.visited++; n.visited > n.limits.Steps {
		return fmt.Errorf("holds more than %d values", n.limits.Steps)
	}
	if depth > n.limits.Depth {
		return fmt.Errorf("%.80q is nested more than %d deep", path, n.limits.Depth)
	}
	switch v := v.(type) {
	case *dict:
		return n.dict(path, v, depth, nil)
	case *list:
		return n.items(path, v.items, depth)
	case tuple:
		return n.items(path, v, depth)
	}
	if n.file.has(path) {
		return fmt.Errorf("two values are named %q", path)
	}
	switch v := v.(type) {
	case Tensor:
		n.file.Tensors[path] = v
	case none:
		n.file.Scalars[path] = nil
	case bool, int64, float64, string:
		n.file.Scalars[path] = v
	default:
		n.file.Opaque[path] = describe(v)
	}
	return nil
}

func (n *namer) dict(path string, d *dict, depth int, skip []string) error {
	seen := make(map[string]bool, len(d.keys)) // by name: 7 and "7" would be one
	for i, key := range d.keys {
		var name string
		switch k := key.(type) {
		case string:
			name = k
		case int64:
			name = strconv.FormatInt(k, 10)
		default:
			return fmt.Errorf("%q has %s for a key, want text or a whole number", path, describe(key))
		}
		if seen[name] {
			return fmt.Errorf("%q has the key %.80q twice", path, name)
		}
		seen[name] = true
		if slices.Contains(skip, name) {
			continue
		}
		if err := n.child(path, name, d.values[i], depth); err != nil {
			return err
		}
	}
	return nil
}

func (n *namer) items(path string, items []any, depth int) error {
	for i, v := range items {
		if err := n.child(path, strconv.Itoa(i), v, depth); err != nil {
			return err
		}
	}
	return nil
}

func (n *namer) child(path, name string, v any, depth int) error {
	if path != "" {
		name = path + "." + name
	}
	if len(name) > longestPath {
		return errors.New("a name of keys has more than " + strconv.Itoa(longestPath) + " bytes")
	}
	return n.value(name, v, depth+1)
}

// has reports whether something has the name already.
func (f *File) has(path string) bool {
	if _, ok := f.Tensors[path]; ok {
		return true
	}
	if _, ok := f.Scalars[path]; ok {
		return true
	}
	_, ok := f.Opaque[path]
	return ok
}
