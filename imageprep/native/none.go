//go:build !linux || !(amd64 || arm64) || nonative

package native

import (
	"errors"

	"github.com/agiqa/agiqa/imageprep"
)

// Load finds nothing: this build opens no libraries.
func Load() *Set {
	err := errors.New("this build opens no libraries")
	return &Set{Missing: []Missing{{Format: imageprep.WebP, Err: err}}}
}
