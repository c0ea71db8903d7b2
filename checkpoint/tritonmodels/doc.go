// Package tritonmodels puts the models of checkpoints on Triton: what package
// lifecycle asks of its servers, said to package tritonclient.
//
// There are two ways, and the owner chooses. Where Triton and this process
// share a model repository, [Folder] writes head and ensemble there and a plain
// load call names them. Where they share no disk, the load call carries the
// head; such a checkpoint has no ensemble, because Triton reads the steps of an
// ensemble from disk and nowhere else (seen on 2.51.0: the load of an ensemble
// over a head that came with a call fails).
//
// It refuses to decide what is loaded when: that is lifecycle's.
package tritonmodels
