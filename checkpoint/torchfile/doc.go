// Package torchfile reads the files of torch.save, and executes nothing.
//
// A file is a zip archive: <name>/data.pkl describes the saved object as a
// pickle, and <name>/data/<key> holds the bytes of one storage, uncompressed.
// A pickle is a program for a small stack machine that may call anything
// Python can import. The machine here knows the opcodes that dictionaries,
// lists, plain values and tensors need, and a short list of names. A tensor is
// put together from its storage, offset, shape and strides; an object of a
// class that training leaves behind (a numpy scalar, an optimizer) becomes a
// marker with the class's name and without its contents; any other name, such
// as os.system, is an error that says so, wherever in the file it stands.
//
// The reader treats the file as a stranger's: [Limits] bound everything that
// grows, the archive holds no compressed, overlapping or repeated entries, and
// every tensor lies inside its storage. It refuses the format from before
// PyTorch 1.6, TorchScript, and files written on big-endian machines.
//
// Format: the sources of PyTorch, torch/serialization.py and
// caffe2/serialize/inline_container.h; opcodes: Python's pickletools.
//
// It stands below package checkpoint, which knows what the tensors mean.
package torchfile
