// Package arms measures what further checkpoints cost: the same images scored
// by 1, 2, 8 and 32 of them, in turns, so that whatever else the machine does
// falls on all alike. It doesn't know how a request is answered: package
// main passes a function.
package arms
