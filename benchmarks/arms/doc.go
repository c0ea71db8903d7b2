// Package arms measures what further checkpoints cost, or further views: the
// same images scored by 1, 2, 8 and 32 checkpoints, or in 1, 2, 4 and 5 views,
// in turns, so that whatever else the machine does falls on all alike. It
// doesn't know how a request is answered: the caller passes a function.
package arms
