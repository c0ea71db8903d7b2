package imageprep

import (
	"runtime"

	"github.com/agiqa/agiqa/imageprep/internal/pool"
)

// buffers is the memory that decoders and the resampler share and that stays
// for the next image.
type buffers struct {
	samples      *pool.Pool[byte]
	coefficients *pool.Pool[int16]
	masks        *pool.Pool[uint64] // of blocks of coefficients
	pixels       *pool.Pool[uint32] // of lossless WebP
}

// newBuffers keeps enough for as many images as run at once, each with three
// planes, three upsampled rows and the resampler's lines, and of each kind no
// more than an eighth of the memory that decodes may take together.
func newBuffers(cfg Config) *buffers {
	n := 8 * runtime.GOMAXPROCS(0)
	share := int(min(cfg.MemoryBudget/8, 1<<40))
	return &buffers{samples: pool.New[byte](n, share), coefficients: pool.New[int16](n, share/2),
		masks: pool.New[uint64](n, share/64), pixels: pool.New[uint32](n, share/4)}
}

// keeper is a pool of any kind.
type keeper interface {
	HeldBytes() int64
	Age()
	Drop()
}

func (b *buffers) pools() []keeper { return []keeper{b.samples, b.coefficients, b.masks, b.pixels} }

// held is how many bytes are kept for the next image.
func (b *buffers) held() int64 {
	n := int64(0)
	for _, p := range b.pools() {
		n += p.HeldBytes()
	}
	return n
}
