package imageprep

import (
	"strings"

	"github.com/agiqa/agiqa/quality"
)

// goTag names the Go decoders in the preprocess id. It changes whenever a pixel
// of theirs could.
const goTag = "go-2"

// The resampler and the crop, in the preprocess id. The second is fed with
// JPEGs that were shrunk while they were decoded.
const (
	exactRecipe = "pillow12-bicubic-224"
	fastRecipe  = "fast-bicubic-224"
)

// preprocessID composes RECIPE/DECODER+DECODER...: the resampler, the Go
// decoders, which are in every id because they decode what no other one takes,
// and the native decoders in the order of their formats.
func preprocessID(recipe string, natives map[Format]Native) quality.PreprocessID {
	tags := []string{goTag}
	for _, f := range []Format{JPEG, PNG, WebP, GIF} {
		if n := natives[f]; n != nil {
			tags = append(tags, n.Tag())
		}
	}
	return quality.PreprocessID(recipe + "/" + strings.Join(tags, "+"))
}

// ID names the way from bytes to pixels, for cache keys and provenance. An
// empty mode is the configured one.
func (p *Preparer) ID(mode quality.PreprocessMode) quality.PreprocessID {
	if p.shrinks(mode) {
		return p.fastID
	}
	return p.exactID
}

// shrinks reports whether mode, or the configured one, shrinks JPEGs while
// they are decoded.
func (p *Preparer) shrinks(mode quality.PreprocessMode) bool {
	if mode == "" {
		mode = p.cfg.Mode
	}
	return mode == quality.Fast
}

// reductionFor is how far fast preprocessing lets a JPEG shrink while it is
// decoded for a view at size: to a short side of at least twice that.
func reductionFor(h Header, size int) int {
	short := min(h.Width, h.Height)
	for _, by := range []int{8, 4, 2} {
		if h.Format == JPEG && (short+by-1)/by >= 2*size {
			return by
		}
	}
	return 1
}
