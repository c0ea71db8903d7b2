package imageprep

import "bytes"

// Format is an image format that Prepare decodes.
type Format string

// The formats.
const (
	JPEG Format = "jpeg"
	PNG  Format = "png"
	WebP Format = "webp"
	GIF  Format = "gif"
)

const (
	pngMagic  = "\x89PNG\r\n\x1a\n"
	jpegMagic = "\xff\xd8\xff"
)

// formatOf decides by magic bytes alone: neither a file name nor a
// Content-Type is asked. It returns "" for anything else.
func formatOf(data []byte) Format {
	switch {
	case bytes.HasPrefix(data, []byte(jpegMagic)):
		return JPEG
	case bytes.HasPrefix(data, []byte(pngMagic)):
		return PNG
	case bytes.HasPrefix(data, []byte("GIF87a")), bytes.HasPrefix(data, []byte("GIF89a")):
		return GIF
	case len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		return WebP
	}
	return ""
}

// otherFormat names what else data seems to be, for the error message.
func otherFormat(data []byte) string {
	for _, m := range []struct{ magic, name string }{
		{"II*\x00", "tiff"}, {"MM\x00*", "tiff"}, {"II+\x00", "tiff"}, {"MM\x00+", "tiff"},
		{"BM", "bmp"}, {"%PDF-", "pdf"}, {"8BPS", "psd"}, {"\x00\x00\x01\x00", "ico"},
		{"\xff\x0a", "jxl"}, {"\x00\x00\x00\x0cJXL ", "jxl"},
		{"\xff\x4f\xff\x51", "jpeg2000"}, {"\x00\x00\x00\x0cjP  ", "jpeg2000"},
		{"PK\x03\x04", "zip"}, {"\x1f\x8b", "gzip"}, {"\x7fELF", "elf"}, {"MZ", "exe"}, {"P6", "ppm"}, {"P5", "pgm"},
	} {
		if bytes.HasPrefix(data, []byte(m.magic)) {
			return m.name
		}
	}
	if name := isoBrand(data); name != "" {
		return name
	}
	return markup(data)
}

// isoBrand reads the brand of an ISO media file.
func isoBrand(data []byte) string {
	if len(data) < 12 || string(data[4:8]) != "ftyp" {
		return ""
	}
	switch string(data[8:12]) {
	case "avif", "avis":
		return "avif"
	case "heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1":
		return "heic"
	}
	return "mp4"
}

// markup recognises SVG and HTML by the first kilobyte.
func markup(data []byte) string {
	head := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(data[:min(len(data), 1024)], []byte("\xef\xbb\xbf")), " \t\r\n"))
	switch {
	case !bytes.HasPrefix(head, []byte("<")):
		return ""
	case bytes.Contains(head, []byte("<svg")):
		return "svg"
	case bytes.HasPrefix(head, []byte("<!doctype html")), bytes.HasPrefix(head, []byte("<html")):
		return "html"
	}
	return "xml"
}
