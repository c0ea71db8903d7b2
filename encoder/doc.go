// Package encoder makes the default CLIP encoder servable: it reads the
// published weights of CLIP's image tower from the file that they come in,
// composes the project's own graph from them and writes a complete Triton
// model repository around it.
//
// An encoder's folder (encoders/NAME) holds what is committed of it:
// encoder.json with names, shapes and digests ([Document]), the calibration of
// its int8 graph ([Calibration]) and the text tower. The weights are fetched
// once by whoever runs the server, as a Python package of which only the ONNX
// file is read; none of its code runs.
//
// The conversion is arithmetic in a fixed order, so its result is known
// beforehand: encoder.json pins the SHA-256 of every graph, and another result
// is refused. The package runs no graph and knows no server; it stands beside
// package checkpoint, whose bundles it adds to the repository.
package encoder
