package torchfile

import "fmt"

// meaning is what the machine does with a name from Python.
type meaning int

const (
	rebuildTensor    meaning = iota // called with storage, offset, shape, strides
	rebuildParameter                // called with a tensor
	makeDict                        // called, gives an empty dictionary
	storageType                     // names the element type of a storage
	foreign                         // called, gives a marker
	notCalled                       // stands as an argument
)

// global is a name that a pickle may import.
type global struct {
	name    string
	meaning meaning
	dtype   DType // of a storageType
}

// foreignNames are what training leaves in a file beside its tensors. Nothing
// of them is there to run: each is a word in a list. Optimizers and schedulers
// come as whole objects where one scheduler holds another.
func foreignNames() []string {
	return []string{
		"numpy.core.multiarray.scalar",  // numpy 1
		"numpy._core.multiarray.scalar", // numpy 2
		"numpy.core.multiarray._reconstruct",
		"numpy._core.multiarray._reconstruct",
		"numpy.dtype", "numpy.ndarray", "_codecs.encode",
		"collections.Counter",
		"torch.optim.sgd.SGD", "torch.optim.adam.Adam", "torch.optim.adamw.AdamW", "torch.optim.rmsprop.RMSprop",
		"torch.optim.lr_scheduler.StepLR", "torch.optim.lr_scheduler.MultiStepLR",
		"torch.optim.lr_scheduler.CosineAnnealingLR",
	}
}

// allowed returns every name that a pickle may import.
func allowed() map[string]global {
	names := make(map[string]global)
	add := func(name string, m meaning, t DType) { names[name] = global{name: name, meaning: m, dtype: t} }
	add("torch._utils._rebuild_tensor_v2", rebuildTensor, "")
	add("torch._utils._rebuild_parameter", rebuildParameter, "")
	add("collections.OrderedDict", makeDict, "")
	add("collections.defaultdict", makeDict, "")
	add("__builtin__.dict", notCalled, "") // the factory of a defaultdict, as protocol 2 spells it
	add("builtins.dict", notCalled, "")
	for storage, t := range map[string]DType{
		"Float": Float32, "Half": Float16, "BFloat16": BFloat16, "Double": Float64, "Long": Int64,
		"Int": Int32, "Short": Int16, "Char": Int8, "Byte": Uint8, "Bool": Bool,
	} {
		add("torch."+storage+"Storage", storageType, t)
	}
	for _, name := range foreignNames() {
		add(name, foreign, "")
	}
	return names
}

// find returns the meaning of an import, or an error that names it.
func (m *machine) find(module, name string) (global, error) {
	full := module + "." + name
	g, ok := m.allowed[full]
	if !ok {
		return global{}, fmt.Errorf("the file refers to the Python name %.140q, which is not allowed", full)
	}
	return g, nil
}
