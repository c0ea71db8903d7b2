package torchfile

import (
	"errors"
	"fmt"
	"math"
	"regexp"
)

// builder makes tensors from the arguments of the calls that a pickle asks for.
type builder struct {
	archive  *archive
	storages map[string]*storage // by key
	tensors  int
	elements int
	limits   Limits
}

// A key is a number that torch.save counts up; the first versions took an
// address for it.
var storageKey = regexp.MustCompile(`^[0-9]{1,20}$`)

// storage resolves ("storage", type, key, location, number of elements). The
// location, such as "cuda:0", is where the tensor was in training.
func (b *builder) storage(id any) (*storage, error) {
	args, ok := id.(tuple)
	if !ok || len(args) != 5 || args[0] != "storage" {
		return nil, fmt.Errorf("a persistent id is %s, want (\"storage\", type, key, location, elements)", describe(id))
	}
	kind, ok := args[1].(global)
	if !ok || kind.meaning != storageType {
		return nil, fmt.Errorf("the type of a storage is %s", describe(args[1]))
	}
	key, ok := args[2].(string)
	if !ok || !storageKey.MatchString(key) {
		return nil, fmt.Errorf("the key of a storage is %s, want a decimal number as text", describe(args[2]))
	}
	if _, ok := args[3].(string); !ok {
		return nil, fmt.Errorf("the location of storage %s is %s, want text", key, describe(args[3]))
	}
	numel, err := whole(args[4])
	if err != nil {
		return nil, fmt.Errorf("the size of storage %s: %w", key, err)
	}
	if s, ok := b.storages[key]; ok {
		if s.dtype != kind.dtype || s.numel != numel {
			return nil, fmt.Errorf("storage %s is %d of %s here and %d of %s before", key, numel, kind.dtype, s.numel, s.dtype)
		}
		return s, nil
	}
	name := storagePrefix + key
	at, ok := b.archive.entries[name]
	if !ok {
		return nil, fmt.Errorf("archive has no %s", name)
	}
	if want := int64(numel) * kind.dtype.size(); at.size != want {
		return nil, fmt.Errorf("%s has %d bytes, %d of %s need %d", name, at.size, numel, kind.dtype, want)
	}
	s := &storage{archive: b.archive, name: name, span: at, dtype: kind.dtype, numel: numel}
	b.storages[key] = s
	return s, nil
}

// tensor resolves (storage, offset, shape, strides, requires_grad, hooks) and,
// since PyTorch 1.13, a dictionary of properties.
func (b *builder) tensor(args tuple) (Tensor, error) {
	if len(args) != 6 && len(args) != 7 {
		return Tensor{}, fmt.Errorf("%d arguments, want 6 or 7", len(args))
	}
	s, ok := args[0].(*storage)
	if !ok {
		return Tensor{}, fmt.Errorf("the storage is %s", describe(args[0]))
	}
	if len(args) == 7 {
		if err := plain(args[6]); err != nil {
			return Tensor{}, err
		}
	}
	t := Tensor{DType: s.dtype, storage: s}
	var err error
	if t.offset, err = whole(args[1]); err != nil {
		return Tensor{}, fmt.Errorf("offset: %w", err)
	}
	if t.Shape, err = b.wholes(args[2]); err != nil {
		return Tensor{}, fmt.Errorf("shape: %w", err)
	}
	if t.strides, err = b.wholes(args[3]); err != nil {
		return Tensor{}, fmt.Errorf("strides: %w", err)
	}
	if err := b.measure(&t); err != nil {
		return Tensor{}, fmt.Errorf("shape %v, strides %v from element %d of %d: %w", t.Shape,
			t.strides, t.offset, s.numel, err)
	}
	return t, nil
}

// measure counts the tensor's elements and wants them inside the storage. No
// product is formed before a division has shown that it fits.
func (b *builder) measure(t *Tensor) error {
	if len(t.Shape) != len(t.strides) {
		return errors.New("not as many strides as dimensions")
	}
	if b.tensors++; b.tensors > b.limits.Tensors {
		return fmt.Errorf("more than %d tensors", b.limits.Tensors)
	}
	t.elements = 1
	for _, d := range t.Shape {
		if d == 0 {
			t.elements = 0
			return t.within(t.offset - 1) // an empty view may stand at the very end
		}
	}
	left := b.limits.Elements - b.elements
	last := t.offset
	for i, d := range t.Shape {
		if t.elements > left/d {
			return fmt.Errorf("the file has more than %d elements", b.limits.Elements)
		}
		t.elements *= d
		if steps := d - 1; steps > 0 && t.strides[i] > (math.MaxInt-last)/steps {
			return errors.New("reaches outside the storage")
		}
		last += (d - 1) * t.strides[i]
	}
	b.elements += t.elements
	if b.elements > b.limits.Elements {
		return fmt.Errorf("the file has more than %d elements", b.limits.Elements)
	}
	return t.within(last)
}

// within wants the last element to lie inside the storage.
func (t *Tensor) within(last int) error {
	if last >= t.storage.numel {
		return errors.New("reaches outside the storage")
	}
	return nil
}

// parameter resolves (tensor, requires_grad, hooks).
func (b *builder) parameter(args tuple) (Tensor, error) {
	if len(args) != 3 {
		return Tensor{}, fmt.Errorf("%d arguments, want 3", len(args))
	}
	t, ok := args[0].(Tensor)
	if !ok {
		return Tensor{}, fmt.Errorf("the data of a parameter is %s", describe(args[0]))
	}
	return t, nil
}

// plain refuses a tensor's properties: one of them says that every number
// stands for its negative.
func plain(properties any) error {
	if d, ok := properties.(*dict); properties == (none{}) || ok && len(d.keys) == 0 {
		return nil
	}
	return fmt.Errorf("a tensor has properties (%s), which are not read", describe(properties))
}

// wholes reads a tuple of whole numbers.
func (b *builder) wholes(v any) ([]int, error) {
	t, ok := v.(tuple)
	if !ok {
		return nil, fmt.Errorf("is %s, want a tuple", describe(v))
	}
	if len(t) > b.limits.Rank {
		return nil, fmt.Errorf("has %d dimensions, at most %d are allowed", len(t), b.limits.Rank)
	}
	out := make([]int, len(t))
	for i, v := range t {
		var err error
		if out[i], err = whole(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// whole reads a number from 0 to what an int32 holds: a larger one counts more
// than any file that is read.
func whole(v any) (int, error) {
	n, ok := v.(int64)
	if !ok {
		return 0, fmt.Errorf("%s where a number is wanted", describe(v))
	}
	if n < 0 || n > math.MaxInt32 {
		return 0, fmt.Errorf("%d is not from 0 to %d", n, math.MaxInt32)
	}
	return int(n), nil
}
