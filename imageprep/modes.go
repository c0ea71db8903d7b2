package imageprep

import "github.com/agiqa/agiqa/quality"

// goTag names the decoders in the preprocess id. It changes whenever a pixel of
// an undamaged file could.
const goTag = "go-2"

// preprocessID composes RECIPE/DECODERS. The recipe of JPEGs that were shrunk
// while they were decoded is no Pillow's, and says so.
func preprocessID(recipe quality.Recipe, shrinks bool) quality.PreprocessID {
	name := recipe.String()
	if shrinks {
		name = fastNames[recipe]
	}
	return quality.PreprocessID(name + "/" + goTag)
}

var fastNames = map[quality.Recipe]string{
	quality.Pillow12: "fast-bicubic-224", quality.Pillow13: "fast-pillow13-bicubic-224",
}

// ids are the preprocess ids of one mode by recipe.
type ids map[quality.Recipe]quality.PreprocessID

func newIDs(shrinks bool) ids {
	out := ids{}
	for _, r := range quality.Recipes() {
		out[r] = preprocessID(r, shrinks)
	}
	return out
}

// ID names the way from bytes to pixels by a recipe, for cache keys and
// provenance. An empty mode is the configured one.
func (p *Preparer) ID(mode quality.PreprocessMode, recipe quality.Recipe) quality.PreprocessID {
	if p.shrinks(mode) {
		return p.fastIDs[recipe]
	}
	return p.exactIDs[recipe]
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
