package imageprep_test

import (
	"context"
	"testing"

	"github.com/agiqa/agiqa/internal/testimages"
)

// BenchmarkPrepare is the whole path per format. The pictures are drawn, and
// easier to decode than photographs.
func BenchmarkPrepare(b *testing.B) {
	p := newPreparer(b)
	for _, bc := range []struct {
		name string
		data []byte
	}{
		{"jpeg-420-512", testimages.JPEG(512, 512)},
		{"jpeg-420-1024", testimages.JPEG(1024, 1024)},
		{"jpeg-420-2048", testimages.JPEG(2048, 2048)},
		{"jpeg-progressive-120x90", testimages.Golden("jpeg-gray-progressive.jpg")},
		{"png-1024", testimages.PNG(1024, 1024)},
		{"gif-1024", testimages.GIF(1024, 1024)},
		{"webp-lossy-300x200", testimages.Golden("webp-lossy-300x200.webp")},
		{"webp-lossless-61x45", testimages.WebPLossless()},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bc.data)))
			for b.Loop() {
				if _, err := p.Prepare(context.Background(), bc.data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSniff is what a refused file costs.
func BenchmarkSniff(b *testing.B) {
	p := newPreparer(b)
	data := testimages.ScanFlood(4096, 4096, 2000)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := p.Prepare(context.Background(), data); err == nil {
			b.Fatal("the flood was accepted")
		}
	}
}
