package imageprep_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// seeds gives every small golden and every hostile header.
func seeds(f *testing.F) {
	for _, data := range testimages.Named() {
		if len(data) < 4000 {
			f.Add(data)
		}
	}
	for _, data := range testimages.Hostile() {
		f.Add(data)
	}
	f.Add(testimages.ScanFlood(64, 64, 40))
	f.Add([]byte("<svg/>"))
}

// FuzzSniff: the same bytes give the same header; a header has pixels and an
// estimate; an error is one of the closed kinds.
func FuzzSniff(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := imageprep.Sniff(data)
		again, againErr := imageprep.Sniff(data)
		if (err == nil) != (againErr == nil) || h.Format != again.Format || h.Pixels() != again.Pixels() ||
			h.DecodeBytes() != again.DecodeBytes() {
			t.Fatalf("first %+v, %v; then %+v, %v", h, err, again, againErr)
		}
		if err != nil {
			if !imageKind(quality.KindOf(err)) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if h.Width <= 0 || h.Height <= 0 || h.Frames < 1 || h.Scans < 1 || h.Bits < 1 || h.Channels < 1 {
			t.Fatalf("header %+v", h)
		}
		if h.Pixels() <= 25_000_000 && h.DecodeBytes() <= 0 {
			t.Fatalf("estimate of %d bytes for %+v", h.DecodeBytes(), h)
		}
	})
}

// FuzzPrepare: the same bytes give the same pixels; success means within the
// limits; an error is one of the closed kinds, never internal.
func FuzzPrepare(f *testing.F) {
	seeds(f)
	cfg := imageprep.DefaultConfig()
	cfg.MaxPixels = 1 << 18
	p, err := imageprep.New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := p.Prepare(context.Background(), data)
		again, againErr := p.Prepare(context.Background(), data)
		if quality.KindOf(err) != quality.KindOf(againErr) && err != nil {
			t.Fatalf("first %v, then %v", err, againErr)
		}
		if err != nil {
			if !imageKind(quality.KindOf(err)) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if int64(img.Info.Width)*int64(img.Info.Height) > cfg.MaxPixels || int64(len(data)) > cfg.MaxBytes {
			t.Fatalf("accepted beyond its limits: %+v", img.Info)
		}
		if againErr != nil || !bytes.Equal(img.Pixels.Bytes(), again.Pixels.Bytes()) || img.Info != again.Info {
			t.Fatal("the same bytes gave different pixels")
		}
	})
}
