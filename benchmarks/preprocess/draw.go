package preprocess

import (
	"bytes"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"

	"github.com/agiqa/agiqa/internal/pictures"
)

// Draw makes the same picture as files of every format, for each size of a
// side. Go writes baseline 4:2:0 JPEG, PNG and GIF; Pillow, when there is one,
// writes all of them, and those that Go cannot: 4:4:4 and progressive JPEG,
// WebP. done is called after each file.
func Draw(sides []int, p *Pillow, done func()) ([]Case, error) {
	var cases []Case
	for _, side := range sides {
		picture := pictures.Photo(side)
		source, err := pictures.PNG(picture)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			data, err := f.write(picture, source, p)
			if err != nil {
				return nil, fmt.Errorf("drawing %s: %w", f.name, err)
			}
			if data != nil {
				cases = append(cases, Case{Name: fmt.Sprintf("%s-%d", f.name, side), Format: f.name,
					Width: side, Height: side, Data: data})
			}
			done()
		}
	}
	return cases, nil
}

// DrawnFiles is how many files Draw makes of one size.
func DrawnFiles() int { return len(files) }

type file struct {
	name    string
	format  string // Pillow's name
	options map[string]any
	encode  func(*bytes.Buffer, image.Image) error // without Pillow; nil: left out
}

const quality90 = 90

var files = []file{
	{"jpeg-420", "JPEG", map[string]any{"quality": quality90, "subsampling": 2},
		func(b *bytes.Buffer, m image.Image) error {
			return jpeg.Encode(b, m, &jpeg.Options{Quality: quality90})
		}},
	{"jpeg-444", "JPEG", map[string]any{"quality": quality90, "subsampling": 0}, nil},
	{"jpeg-420-progressive", "JPEG", map[string]any{"quality": quality90, "subsampling": 2, "progressive": true}, nil},
	{"png", "PNG", nil, func(b *bytes.Buffer, m image.Image) error { return png.Encode(b, m) }},
	{"webp-lossy", "WEBP", map[string]any{"quality": quality90}, nil},
	{"webp-lossless", "WEBP", map[string]any{"lossless": true, "method": 2}, nil},
	{"gif", "GIF", nil, func(b *bytes.Buffer, m image.Image) error { return gif.Encode(b, m, nil) }},
}

func (f file) write(picture image.Image, source []byte, p *Pillow) ([]byte, error) {
	switch {
	case p != nil:
		return p.Encode(source, f.format, f.options)
	case f.encode == nil:
		return nil, nil
	}
	var b bytes.Buffer
	err := f.encode(&b, picture)
	return b.Bytes(), err
}
