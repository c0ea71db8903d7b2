package imageprep_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// TestStagesAreTheWhole: decoding and resizing apart give what Prepare gives,
// also in memory that the image before was in.
func TestStagesAreTheWhole(t *testing.T) {
	p := newPreparer(t)
	var rgb imageprep.RGB
	for name, want := range expectations(t) {
		var err error
		if rgb, err = p.DecodeRGB(context.Background(), testimages.Golden(name), rgb); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if rgb.Width != want.Width || rgb.Height != want.Height || sha256.Sum256(rgb.Pix) != want.RGB {
			t.Errorf("%s: %d x %d at full size, other than Pillow's %d x %d", name, rgb.Width,
				rgb.Height, want.Width, want.Height)
		}
		pixels, err := p.ResizeRGB(context.Background(), rgb)
		if err != nil || sha256.Sum256(pixels.Bytes()) != want.Out {
			t.Errorf("%s: resized otherwise than by Pillow, error %v", name, err)
		}
	}
}

func TestStagesKeepTheLimits(t *testing.T) {
	p := newPreparer(t)
	if _, err := p.DecodeRGB(context.Background(), testimages.ScanFlood(64, 64, 40),
		imageprep.RGB{}); quality.KindOf(err) != quality.KindImageTooManyScans {
		t.Errorf("error %v, want %v", err, quality.KindImageTooManyScans)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.ResizeRGB(ctx, imageprep.RGB{Width: 3, Height: 3, Pix: bytes.Repeat([]byte{9}, 27)}); !errors.Is(err,
		context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}
