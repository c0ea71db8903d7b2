//go:build linux && (amd64 || arm64) && !nonative

package native

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/agiqa/agiqa/imageprep"
)

// WebP is libwebp. It is safe for concurrent use.
type WebP struct {
	name string

	info   func(data *byte, size uint, width, height *int32) int32
	decode func(data *byte, size uint, dst *byte, dstSize uint, stride int32) uintptr
}

func openWebP() (*WebP, error) {
	lib, err := openFirst("libwebp.so.7", "libwebpdecoder.so.3")
	if err != nil {
		return nil, err
	}
	w := &WebP{}
	var version func() int32
	if err := lib.bind(map[string]any{
		"WebPGetInfo":           &w.info,
		"WebPDecodeRGBInto":     &w.decode,
		"WebPGetDecoderVersion": &version,
	}); err != nil {
		return nil, err
	}
	v := version()
	w.name = fmt.Sprintf("libwebp %d.%d.%d", v>>16&0xff, v>>8&0xff, v&0xff)
	return w, nil
}

// Format implements imageprep.Native.
func (w *WebP) Format() imageprep.Format { return imageprep.WebP }

// Name implements imageprep.Native.
func (w *WebP) Name() string { return w.name }

// Tag implements imageprep.Native.
func (w *WebP) Tag() string { return "webp-1" }

// Decode implements imageprep.Native. data is the bitstream of one picture,
// which the library takes without a container too: alpha planes and the rest
// of an animation never reach it. Upsampling is "fancy", its default.
func (w *WebP) Decode(dst, data []byte, width, height int) error {
	if err := checkSize(dst, data, width, height); err != nil {
		return err
	}
	// The slices' memory stays where it is: passing pointers to a function
	// value makes it escape to the heap, and KeepAlive holds it there.
	defer runtime.KeepAlive(data)
	defer runtime.KeepAlive(dst)
	var gotWidth, gotHeight int32
	if w.info(&data[0], uint(len(data)), &gotWidth, &gotHeight) == 0 {
		return errors.New("no WebP header")
	}
	if int(gotWidth) != width || int(gotHeight) != height {
		return fmt.Errorf("header says %d x %d, %d x %d was expected", gotWidth, gotHeight, width, height)
	}
	if w.decode(&data[0], uint(len(data)), &dst[0], uint(len(dst)), int32(3*width)) == 0 {
		return errors.New("damaged WebP")
	}
	return nil
}
