package imageprep

import (
	"errors"
	"fmt"

	"github.com/agiqa/agiqa/quality"
)

// Config bounds what one image and all images together may cost. The zero
// value is not usable; start from [DefaultConfig].
type Config struct {
	// MaxBytes bounds the size of a file. Default 20 MB.
	MaxBytes int64
	// MaxPixels bounds width times height of the canvas. Default 25 million.
	MaxPixels int64
	// MaxScans bounds the scans of a JPEG: each of them makes the decoder visit
	// every block for as little as a few bytes of input. Ordinary files have at
	// most ten. Default 30.
	MaxScans int
	// MemoryBudget bounds the memory, in bytes, of all decodes that are under
	// way together, by the estimate of [Header.DecodeBytes]. A decode waits for
	// its share; one whose own estimate is larger is refused. Default 512 MiB,
	// room for the largest image within the other limits.
	MemoryBudget int64
	// Mode is what is done where nothing else is asked for. Default exact.
	Mode quality.PreprocessMode
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{MaxBytes: 20_000_000, MaxPixels: 25_000_000, MaxScans: 30, MemoryBudget: 512 << 20, Mode: quality.Exact}
}

// maxPixels keeps every product of Header within an int64, and is far beyond
// what a server should decode.
const maxPixels = 1 << 40

// Validate reports every fault, each naming its field.
func (c Config) Validate() error {
	var faults []error
	positive := func(name string, v int64) {
		if v <= 0 {
			faults = append(faults, fmt.Errorf("%s is %d, must be positive", name, v))
		}
	}
	positive("MaxBytes", c.MaxBytes)
	positive("MaxPixels", c.MaxPixels)
	positive("MaxScans", int64(c.MaxScans))
	positive("MemoryBudget", c.MemoryBudget)
	if c.MaxPixels > maxPixels {
		faults = append(faults, fmt.Errorf("MaxPixels is %d, must be at most %d", c.MaxPixels, int64(maxPixels)))
	}
	if !c.Mode.Known() {
		faults = append(faults, fmt.Errorf("%s is %q, must be %s or %s", "Mode", c.Mode, quality.Exact, quality.Fast))
	}
	return errors.Join(faults...)
}

// checkSize is the first and cheapest bound.
func (c Config) checkSize(data []byte) error {
	if n := int64(len(data)); n > c.MaxBytes {
		return quality.Errorf(quality.KindPayloadTooLarge, "image of %d bytes, at most %d are accepted", n, c.MaxBytes)
	}
	return nil
}

// checkHeader applies the limits to what the header promises
// and what its decode needs.
func (c Config) checkHeader(h Header, memory int64) error {
	switch {
	case h.Pixels() > c.MaxPixels:
		return quality.Errorf(quality.KindImageTooManyPixels, "image of %d x %d pixels, at most %d pixels are accepted",
			h.Width, h.Height, c.MaxPixels)
	case h.Scans > c.MaxScans:
		return quality.Errorf(quality.KindImageTooManyScans, "jpeg of %d scans, at most %d are accepted", h.Scans, c.MaxScans)
	case memory > c.MemoryBudget:
		return quality.Errorf(quality.KindImageTooExpensive,
			"image needs %d bytes to decode, at most %d are available", memory, c.MemoryBudget)
	}
	return nil
}
