//go:build linux && (amd64 || arm64) && !nonative

package native

import (
	"errors"
	"fmt"

	"github.com/ebitengine/purego"

	"github.com/agiqa/agiqa/imageprep"
)

// Load opens the libraries that there are.
func Load() *Set {
	set := &Set{}
	if webp, err := openWebP(); err != nil {
		set.Missing = append(set.Missing, Missing{imageprep.WebP, "libwebp7", err})
	} else {
		set.Found = append(set.Found, webp)
	}
	return set
}

// library is one that the dynamic loader opened.
type library uintptr

// openFirst opens the first of several names of a library.
func openFirst(names ...string) (library, error) {
	var faults []error
	for _, name := range names {
		handle, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err == nil {
			return library(handle), nil
		}
		faults = append(faults, err)
	}
	return 0, errors.Join(faults...)
}

// bind points each of fns, pointers to function variables, at the symbol of
// its name.
func (l library) bind(fns map[string]any) error {
	for name, fn := range fns {
		symbol, err := purego.Dlsym(uintptr(l), name)
		if err != nil {
			return fmt.Errorf("too old or too new: %w", err)
		}
		purego.RegisterFunc(fn, symbol)
	}
	return nil
}
