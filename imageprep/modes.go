package imageprep

import (
	"strings"

	"github.com/agiqa/agiqa/quality"
)

// goTag names the Go decoders in the preprocess id. It changes whenever a pixel
// of theirs could.
const goTag = "go-1"

// The resampler and the crop, in the preprocess id. The second is fed with
// JPEGs that were shrunk while they were decoded.
const (
	exactRecipe = "pillow-bicubic-224"
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
// empty mode is the configured one. Without a native JPEG decoder nothing can
// shrink while it is decoded, and both modes are the same.
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
	return mode == quality.Fast && p.natives[JPEG] != nil
}
