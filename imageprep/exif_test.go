package imageprep_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
)

// tiff returns a directory with a width and an orientation.
func tiff(order binary.AppendByteOrder, magic string, orientation uint16) []byte {
	b := order.AppendUint32([]byte(magic), 8)
	b = order.AppendUint16(b, 2)
	for _, entry := range [][2]uint16{{0x0100, 640}, {0x0112, orientation}} {
		b = order.AppendUint16(b, entry[0])
		b = order.AppendUint16(b, 3) // SHORT
		b = order.AppendUint32(b, 1)
		b = order.AppendUint16(b, entry[1])
		b = order.AppendUint16(b, 0)
	}
	return order.AppendUint32(b, 0)
}

// withExif puts metadata into a file of each format that has a place for it.
func withExif(exif []byte) map[string][]byte {
	jpeg, png, webp := testimages.JPEG(40, 30), testimages.PNG(40, 30), testimages.WebP()
	const header = 8 + 25 // of a PNG
	h, _ := imageprep.Sniff(webp)
	extended := append([]byte("VP8X\x0a\x00\x00\x00\x08\x00\x00\x00"), byte(h.Width-1), 0, 0, byte(h.Height-1), 0, 0)
	extended = append(extended, webp[12:]...)
	extended = append(extended, "EXIF"...)
	extended = append(binary.LittleEndian.AppendUint32(extended, uint32(len(exif))), exif...)
	riff := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(4+len(extended)))
	return map[string][]byte{
		"jpeg": append(testimages.JPEGSegment(jpeg[:2:2], 0xE1, slices.Concat([]byte("Exif\x00\x00"), exif)), jpeg[2:]...),
		"png":  append(testimages.PNGChunk(png[:header:header], "eXIf", exif), png[header:]...),
		"webp": slices.Concat(riff, []byte("WEBP"), extended),
	}
}

// TestOrientationIsReported and changes no pixel.
func TestOrientationIsReported(t *testing.T) {
	p := newPreparer(t)
	sound := tiff(binary.LittleEndian, "II*\x00", 6)
	for name, tc := range map[string]struct {
		exif []byte
		want bool
	}{
		"upright":                {tiff(binary.LittleEndian, "II*\x00", 1), false},
		"turned":                 {sound, true},
		"mirrored, big-endian":   {tiff(binary.BigEndian, "MM\x00*", 2), true},
		"an orientation of 9":    {tiff(binary.BigEndian, "MM\x00*", 9), false},
		"the wrong byte order":   {tiff(binary.BigEndian, "II*\x00", 6), false},
		"cut in its entries":     {sound[:30], false},
		"cut in its header":      {sound[:6], false},
		"a directory far beyond": {append([]byte("II*\x00\xff\xff\xff\xff"), sound[8:]...), false},
		"empty":                  {nil, false},
	} {
		for format, data := range withExif(tc.exif) {
			in, err := p.Inspect(data)
			if err != nil {
				t.Errorf("%s, %s: %v", name, format, err)
			} else if in.Info.OrientationIgnored != tc.want {
				t.Errorf("%s, %s: orientation ignored %v, want %v", name, format, in.Info.OrientationIgnored, tc.want)
			}
		}
	}
	for format, plain := range map[string][]byte{
		"jpeg": testimages.JPEG(40, 30), "png": testimages.PNG(40, 30), "webp": testimages.WebP(),
	} {
		want, err1 := p.Prepare(context.Background(), plain)
		got, err2 := p.Prepare(context.Background(), withExif(sound)[format])
		if err1 != nil || err2 != nil || !bytes.Equal(got.Pixels.Bytes(), want.Pixels.Bytes()) {
			t.Errorf("%s: errors %v, %v, or other pixels", format, err1, err2)
		}
	}
}
