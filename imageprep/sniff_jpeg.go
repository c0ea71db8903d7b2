package imageprep

import (
	"errors"

	"github.com/agiqa/agiqa/imageprep/internal/jpeg"
)

func sniffJPEG(data []byte) (Header, error) {
	info, err := jpeg.Inspect(data)
	switch {
	case errors.Is(err, jpeg.ErrTruncated):
		return Header{}, truncated(JPEG).Because(err)
	case err != nil:
		return Header{}, corrupt(JPEG).Because(err)
	}
	if name := jpegProcess(info); name != "" {
		return Header{}, unsupported(name)
	}
	return Header{
		Format: JPEG, Width: info.Width, Height: info.Height,
		Frames: 1, Scans: info.Scans, Bits: info.Bits, Channels: info.Components,
		Progressive: info.Process == 0xC2, Turned: exifTurns(info.Exif), planes: info.PlaneBytes,
	}, nil
}

// jpegProcess names a coding process that is not decoded, by the
// start-of-frame marker (T.81 table B.1).
func jpegProcess(info jpeg.Info) string {
	switch info.Process {
	case 0xC3, 0xC7:
		return "jpeg_lossless"
	case 0xC5, 0xC6:
		return "jpeg_hierarchical"
	case 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF:
		return "jpeg_arithmetic"
	}
	switch {
	case info.Bits == 12:
		return "jpeg_12bit"
	case info.Bits != 8:
		return "jpeg_precision"
	case info.Components != 1 && info.Components != 3 && info.Components != 4:
		return "jpeg_components"
	}
	return ""
}
