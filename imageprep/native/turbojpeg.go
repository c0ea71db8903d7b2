//go:build linux && (amd64 || arm64) && !nonative

package native

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"

	"github.com/agiqa/agiqa/imageprep"
)

// Constants of turbojpeg.h.
const (
	tjPixelRGB  = 0
	tjPixelGray = 6
	tjSpaceGray = 2

	tjAccurateDCT   = 4096 // islow, Pillow's; fancy upsampling is what no flag means
	tjStopOnWarning = 8192
)

// TurboJPEG is libjpeg-turbo. It is safe for concurrent use.
type TurboJPEG struct {
	name string
	idle chan uintptr // decompressors that wait for work; further ones are destroyed after use

	initDecompress func() uintptr
	header         func(handle uintptr, data *byte, size uint, width, height, sampling, space *int32) int32
	decompress     func(handle uintptr, data *byte, size uint, dst *byte, width, pitch, height, format, flags int32) int32
	destroy        func(handle uintptr) int32
	errorText      func(handle uintptr) string
}

var turboVersion = regexp.MustCompile(`libjpeg-turbo version ([0-9.]+)`)

// openTurboJPEG binds version 2's functions, which version 3 has too.
func openTurboJPEG() (*TurboJPEG, error) {
	lib, err := openFirst("libturbojpeg.so.0")
	if err != nil {
		return nil, err
	}
	t := &TurboJPEG{idle: make(chan uintptr, runtime.GOMAXPROCS(0))}
	if err := lib.bind(map[string]any{
		"tjInitDecompress":    &t.initDecompress,
		"tjDecompressHeader3": &t.header,
		"tjDecompress2":       &t.decompress,
		"tjDestroy":           &t.destroy,
		"tjGetErrorStr2":      &t.errorText, // since 2.0, as is the flag that stops on warnings
	}); err != nil {
		return nil, err
	}
	version := versionIn(lib.file("tjDecompress2"), turboVersion)
	switch {
	case version != "":
	case lib.has("tj3Init"):
		version = "3"
	default:
		version = "2"
	}
	t.name = "libjpeg-turbo " + version
	return t, nil
}

// Format implements imageprep.Native.
func (t *TurboJPEG) Format() imageprep.Format { return imageprep.JPEG }

// Name implements imageprep.Native.
func (t *TurboJPEG) Name() string { return t.name }

// Tag implements imageprep.Native.
func (t *TurboJPEG) Tag() string { return "turbo-1" }

// Decode implements imageprep.Native. A width and height that are the header's
// divided by 2, 4 or 8 and rounded up choose a smaller inverse DCT.
func (t *TurboJPEG) Decode(dst, data []byte, width, height, samples int) error {
	if err := checkSize(dst, data, width, height, samples); err != nil {
		return err
	}
	handle, err := t.take()
	if err != nil {
		return err
	}
	defer t.give(handle)
	// The slices' memory stays where it is: passing pointers to a function
	// value makes it escape to the heap, and KeepAlive holds it there.
	defer runtime.KeepAlive(data)
	defer runtime.KeepAlive(dst)
	var w, h, sampling, space int32
	if t.header(handle, &data[0], uint(len(data)), &w, &h, &sampling, &space) != 0 {
		return t.fault(handle)
	}
	if !reduced(int(w), int(h), width, height) {
		return fmt.Errorf("header says %d x %d, %d x %d was expected", w, h, width, height)
	}
	format := int32(tjPixelRGB)
	if samples == 1 {
		format = tjPixelGray
	}
	if (samples == 1) != (space == tjSpaceGray) {
		return fmt.Errorf("colour space %d with %d samples a pixel", space, samples)
	}
	if t.decompress(handle, &data[0], uint(len(data)), &dst[0], int32(width), int32(width*samples), int32(height), format,
		tjAccurateDCT|tjStopOnWarning) != 0 {
		return t.fault(handle)
	}
	return nil
}

// reduced reports whether width x height is w x h as it is or reduced.
func reduced(w, h, width, height int) bool {
	for _, by := range []int{1, 2, 4, 8} {
		if (w+by-1)/by == width && (h+by-1)/by == height {
			return true
		}
	}
	return false
}

func (t *TurboJPEG) fault(handle uintptr) error { return errors.New(t.errorText(handle)) }

func (t *TurboJPEG) take() (uintptr, error) {
	select {
	case handle := <-t.idle:
		return handle, nil
	default:
	}
	if handle := t.initDecompress(); handle != 0 {
		return handle, nil
	}
	return 0, errors.New("no memory for a decompressor")
}

func (t *TurboJPEG) give(handle uintptr) {
	select {
	case t.idle <- handle:
	default:
		t.destroy(handle)
	}
}

// Close destroys the decompressors that are not in use.
func (t *TurboJPEG) Close() {
	for {
		select {
		case handle := <-t.idle:
			t.destroy(handle)
		default:
			return
		}
	}
}
