// Package preprocess measures preparation of images against Pillow and NumPy
// doing the same, interleaved in one run on one core.
//
// Three steps are timed: decode (file to full-size RGB), resize (RGB to the
// 224x224 result) and whole (file to result). [Contestant] is who does them;
// [Pillow] is a Python process that lives through the run, so that its start
// costs nothing, and every contestant takes its turn in every round, so that
// whatever else the machine does meets them all. The result of a contestant is
// compared with the others' before anything is timed: a fast wrong answer is a
// failure, not a record.
//
// It knows nothing of servers. cmd/agiqa wires it to "agiqa bench preprocess".
package preprocess
