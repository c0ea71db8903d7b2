package torchfile

import (
	"errors"
	"fmt"
)

// Limits bound what a file may ask of its reader.
type Limits struct {
	ArchiveBytes int64 // longest file
	Entries      int   // most entries in the archive
	PickleBytes  int64 // longest data.pkl
	// Steps is how many opcodes may run, and how many values may be found when
	// the result is named. An opcode makes at most one value, one place on the
	// stack and one memo, so this bounds all three.
	Steps    int
	Depth    int // most containers inside one another, and most open marks
	Tensors  int // most tensors
	Rank     int // most dimensions of one tensor
	Elements int // most numbers in all tensors together, however they share storages
}

// DefaultLimits leave room for a training checkpoint of a whole ViT-L/14 head
// with its optimizer, or of a small network.
func DefaultLimits() Limits {
	return Limits{
		ArchiveBytes: 256 << 20,
		Entries:      4096,
		PickleBytes:  4 << 20,
		Steps:        1 << 18,
		Depth:        64,
		Tensors:      4096,
		Rank:         8,
		Elements:     64 << 20,
	}
}

// Validate reports every limit that is not positive.
func (l Limits) Validate() error {
	var faults []error
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"ArchiveBytes", l.ArchiveBytes}, {"Entries", int64(l.Entries)}, {"PickleBytes", l.PickleBytes},
		{"Steps", int64(l.Steps)}, {"Depth", int64(l.Depth)}, {"Tensors", int64(l.Tensors)},
		{"Rank", int64(l.Rank)}, {"Elements", int64(l.Elements)},
	} {
		if f.value <= 0 {
			faults = append(faults, fmt.Errorf("torch file limit %s is %d, must be positive", f.name, f.value))
		}
	}
	return errors.Join(faults...)
}
