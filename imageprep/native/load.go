//go:build linux && (amd64 || arm64) && !nonative

package native

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/agiqa/agiqa/imageprep"
)

// Load opens the libraries that there are.
func Load() *Set {
	set := &Set{}
	if jpeg, err := openTurboJPEG(); err != nil {
		set.Missing = append(set.Missing, Missing{imageprep.JPEG, "libturbojpeg0", err})
	} else {
		set.Found = append(set.Found, jpeg)
	}
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

func (l library) has(name string) bool {
	_, err := purego.Dlsym(uintptr(l), name)
	return err == nil
}

// file returns the path of the file that symbol was loaded from, or "".
func (l library) file(symbol string) string {
	address, err := purego.Dlsym(uintptr(l), symbol)
	if err != nil {
		return ""
	}
	dladdr, err := purego.Dlsym(purego.RTLD_DEFAULT, "dladdr")
	if err != nil {
		return ""
	}
	// Dl_info of dlfcn.h.
	var info struct {
		fileName   *byte
		base       uintptr
		symbolName *byte
		symbol     uintptr
	}
	var find func(address uintptr, info unsafe.Pointer) int32
	purego.RegisterFunc(&find, dladdr)
	if find(address, unsafe.Pointer(&info)) == 0 || info.fileName == nil {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(info.fileName), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(info.fileName, n))
}

// versionIn looks for a version in the text of a library's file: libjpeg-turbo
// has no function that tells it. It returns "" when there is none.
func versionIn(path string, pattern *regexp.Regexp) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	m := pattern.FindSubmatch(data)
	if m == nil {
		return ""
	}
	return string(m[1])
}
