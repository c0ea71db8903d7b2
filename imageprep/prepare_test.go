package imageprep_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

func TestPrepareSaysWhatItSaw(t *testing.T) {
	p := newPreparer(t)
	for _, tc := range []struct {
		file, format string
		frames       bool // ignored
	}{
		{"jpeg-420.jpg", "jpeg", false},
		{"png-rgb8.png", "png", false},
		{"png-animated.png", "png", true},
		{"png-animated-default.png", "png", true},
		{"webp-lossy-61x45.webp", "webp", false},
		{"webp-animated.webp", "webp", true},
		{"gif-plain.gif", "gif", false},
		{"gif-animated.gif", "gif", true},
	} {
		t.Run(tc.file, func(t *testing.T) {
			data := testimages.Golden(tc.file)
			img, err := p.Prepare(context.Background(), data)
			if err != nil {
				t.Fatal(err)
			}
			if img.Info.Format != tc.format || img.Info.FramesIgnored != tc.frames || img.Info.Digest != quality.DigestOf(data) {
				t.Errorf("info %+v, want format %s, frames ignored %v, digest of the file", img.Info, tc.format, tc.frames)
			}
			if got := len(img.Pixels.Bytes()); got != quality.PixelsLen {
				t.Errorf("%d bytes of pixels, want %d", got, quality.PixelsLen)
			}
		})
	}
}

// TestManyFramesCostOne is H10: ten thousand frames, of which one is decoded.
func TestManyFramesCostOne(t *testing.T) {
	p := newPreparer(t)
	data := testimages.AnimatedGIF(8, 8, 10_000)
	one, err := p.Prepare(context.Background(), testimages.GIF(8, 8))
	if err != nil {
		t.Fatal(err)
	}
	var img quality.Image
	got := allocated(func() { img, err = p.Prepare(context.Background(), data) })
	if err != nil {
		t.Fatal(err)
	}
	if !img.Info.FramesIgnored || !bytes.Equal(img.Pixels.Bytes(), one.Pixels.Bytes()) {
		t.Errorf("frames ignored: %v; pixels against the first frame's: %s", img.Info.FramesIgnored,
			difference(img.Pixels.Bytes(), one.Pixels.Bytes()))
	}
	if got > 1<<20 {
		t.Errorf("allocated %d bytes, want under 1 MiB", got)
	}
}

// TestPolyglots is H05: the magic bytes decide, and what follows an image or
// hides in its metadata changes nothing.
func TestPolyglots(t *testing.T) {
	p := newPreparer(t)
	script := []byte("<script>alert(1)</script>")
	zip := []byte("PK\x03\x04 and so on")
	jpeg := testimages.JPEG(40, 30)
	exif := testimages.JPEGSegment(bytes.Clone(jpeg[:2]), 0xE1, append([]byte("Exif\x00\x00"), script...))
	for name, tc := range map[string]struct{ plain, mixed []byte }{
		"png and zip":      {testimages.PNG(40, 30), append(testimages.PNG(40, 30), zip...)},
		"gif and script":   {testimages.GIF(40, 30), append(testimages.GIF(40, 30), script...)},
		"jpeg and zip":     {jpeg, append(bytes.Clone(jpeg), zip...)},
		"html in exif":     {jpeg, append(exif, jpeg[2:]...)},
		"webp and script":  {testimages.WebP(), append(testimages.WebP(), script...)},
		"jpeg behind jpeg": {jpeg, append(bytes.Clone(jpeg), testimages.ScanFlood(4096, 4096, 99)...)},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := p.Prepare(context.Background(), tc.plain)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Prepare(context.Background(), tc.mixed)
			if err != nil {
				t.Fatal(err)
			}
			if d := difference(got.Pixels.Bytes(), want.Pixels.Bytes()); d != "" {
				t.Error(d)
			}
		})
	}
	if _, err := p.Prepare(context.Background(),
		append([]byte("%PDF-1.4 "), jpeg...)); quality.KindOf(err) != quality.KindUnsupportedImageFormat {
		t.Errorf("a PDF that holds a JPEG: error %v, want kind %s", err, quality.KindUnsupportedImageFormat)
	}
}

// TestTruncated is H04: a file cut anywhere is truncated, or, where the cut
// falls behind the last pixel, the whole image. A cut within the magic bytes
// leaves no format to name.
func TestTruncated(t *testing.T) {
	p := newPreparer(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for name, data := range testimages.Named() {
		whole, err := p.Prepare(context.Background(), data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range 12 {
			checkCut(t, p, name, data, rng.IntN(len(data)), whole)
		}
		for _, cut := range []int{0, 1, 11, 12, len(data) - 2, len(data) - 1} {
			checkCut(t, p, name, data, cut, whole)
		}
	}
}

func checkCut(t *testing.T, p *imageprep.Preparer, name string, data []byte, cut int, whole quality.Image) {
	t.Helper()
	img, err := p.Prepare(context.Background(), data[:cut])
	switch kind := quality.KindOf(err); {
	case err == nil:
		if !bytes.Equal(img.Pixels.Bytes(), whole.Pixels.Bytes()) {
			t.Errorf("%s cut at %d of %d gave other pixels: %s", name, cut, len(data),
				difference(img.Pixels.Bytes(), whole.Pixels.Bytes()))
		}
	case kind == quality.KindUnsupportedImageFormat && cut < 12:
	case kind != quality.KindImageTruncated:
		t.Errorf("%s cut at %d of %d: %v", name, cut, len(data), err)
	}
}

// TestDamaged flips bytes: whatever comes out, it is pixels or one of the
// image kinds.
func TestDamaged(t *testing.T) {
	p := newPreparer(t)
	rng := rand.New(rand.NewPCG(3, 4))
	for name, data := range testimages.Named() {
		for range 8 {
			damaged := bytes.Clone(data)
			for range 1 + rng.IntN(3) {
				damaged[rng.IntN(len(damaged))] ^= byte(1 + rng.IntN(255))
			}
			if _, err := p.Prepare(context.Background(), damaged); err != nil && !imageKind(quality.KindOf(err)) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// imageKind reports whether Prepare may answer with k, given a context that
// does not end.
func imageKind(k quality.Kind) bool {
	switch k {
	case quality.KindUnsupportedImageFormat, quality.KindImageCorrupt, quality.KindImageTruncated,
		quality.KindImageZeroDimension,
		quality.KindImageTooManyPixels, quality.KindImageTooManyScans,
		quality.KindImageTooExpensive, quality.KindPayloadTooLarge:
		return true
	}
	return false
}

// TestPanicCostsOneCall: a decoder that panics, with a plain string as well as
// with an error, makes its image corrupt and gives its memory back.
func TestPanicCostsOneCall(t *testing.T) {
	cfg := imageprep.DefaultConfig()
	h, err := imageprep.Sniff(testimages.PNG(64, 64))
	if err != nil {
		t.Fatal(err)
	}
	cfg.MemoryBudget = h.DecodeBytes() // no room for a share that is not returned
	for _, value := range []any{"a plain string", errors.New("an error"), 42} {
		t.Run(fmt.Sprintf("%T", value), func(t *testing.T) {
			p, err := imageprep.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			p.WithDecoder(imageprep.PNG, func(context.Context, int) (int, int, error) { panic(value) })
			for range 2 {
				_, err := p.Prepare(context.Background(), testimages.PNG(64, 64))
				if quality.KindOf(err) != quality.KindImageCorrupt || !strings.Contains(err.Error(), fmt.Sprint(value)) {
					t.Errorf("error %v, want kind %s with the panic as its cause", err, quality.KindImageCorrupt)
				}
				if e, ok := errors.AsType[*quality.Error](err); ok && strings.Contains(e.Detail, fmt.Sprint(value)) {
					t.Errorf("the caller is shown the panic: %q", e.Detail)
				}
			}
		})
	}
}

// TestDecodedSizeIsChecked: a decoder that returns another size than the
// header promised is not believed.
func TestDecodedSizeIsChecked(t *testing.T) {
	for _, size := range [][2]int{{0, 0}, {64, 63}, {65, 64}} {
		p := newPreparer(t)
		p.WithDecoder(imageprep.PNG, func(context.Context, int) (int, int, error) { return size[0], size[1], nil })
		if _, err := p.Prepare(context.Background(),
			testimages.PNG(64, 64)); quality.KindOf(err) != quality.KindImageCorrupt {
			t.Errorf("decoded %v: error %v, want kind %s", size, err, quality.KindImageCorrupt)
		}
	}
}

// countdown is a context whose deadline passes after a number of looks at it.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// TestDeadlineReachesIntoEveryDecoder lets the deadline pass at every look in
// turn: each ends in deadline_exceeded, and there are enough of them.
func TestDeadlineReachesIntoEveryDecoder(t *testing.T) {
	p := newPreparer(t)
	for name, tc := range map[string]struct {
		data []byte
		want int // looks at least
	}{
		"jpeg":             {testimages.JPEG(90, 90), 90 + 90/16},
		"progressive jpeg": {testimages.Golden("jpeg-420-progressive.jpg"), 45 + 10},
		"png":              {testimages.PNG(90, 90), 90 + 3},
		"gif":              {testimages.GIF(224, 224), 224 + 3},
		"webp":             {testimages.WebP(), 45 + 3},
		"lossless webp":    {testimages.WebPLossless(), 45 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			looks := 0
			for ; ; looks++ {
				_, err := p.Prepare(&countdown{context.Background(), looks}, tc.data)
				if err == nil {
					break
				}
				if quality.KindOf(err) != quality.KindDeadlineExceeded {
					t.Fatalf("after %d looks: error %v, want kind %s", looks, err, quality.KindDeadlineExceeded)
				}
			}
			if looks < tc.want {
				t.Errorf("the context was looked at %d times, want at least %d", looks, tc.want)
			}
		})
	}
}

func TestContextThatIsOver(t *testing.T) {
	p := newPreparer(t)
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancel()
	for want, ctx := range map[quality.Kind]context.Context{quality.KindClientClosedRequest: cancelled,
		quality.KindDeadlineExceeded: late} {
		if _, err := p.Prepare(ctx, testimages.PNG(64, 64)); quality.KindOf(err) != want {
			t.Errorf("error %v, want kind %s", err, want)
		}
	}
}

// TestMemoryBudgetIsShared: while one decode holds the whole budget another
// waits, as long as its context allows, and gets its turn afterwards.
func TestMemoryBudgetIsShared(t *testing.T) {
	data := testimages.PNG(64, 64)
	h, err := imageprep.Sniff(data)
	if err != nil {
		t.Fatal(err)
	}
	cfg := imageprep.DefaultConfig()
	cfg.MemoryBudget = h.DecodeBytes()
	p, err := imageprep.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}, 2), make(chan struct{})
	p.WithDecoder(imageprep.PNG, func(context.Context, int) (int, int, error) {
		started <- struct{}{}
		<-release
		return 64, 64, nil
	})
	var wg sync.WaitGroup
	results := make(chan error, 2)
	prepare := func() {
		_, err := p.Prepare(context.Background(), data)
		results <- err
	}
	wg.Go(prepare)
	<-started
	late, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancel()
	if _, err := p.Prepare(late, data); quality.KindOf(err) != quality.KindDeadlineExceeded {
		t.Errorf("with the budget used up: error %v, want kind %s", err, quality.KindDeadlineExceeded)
	}
	wg.Go(prepare)
	close(release)
	wg.Wait()
	for range 2 {
		if err := <-results; err != nil {
			t.Errorf("a decode that had to wait: %v", err)
		}
	}
}

func TestPrepareIsConcurrent(t *testing.T) {
	p := newPreparer(t)
	var wg sync.WaitGroup
	for _, file := range []string{"jpeg-420.jpg", "png-rgb8.png", "webp-lossy-61x45.webp", "gif-plain.gif"} {
		want := expectations(t)[file].Out
		for range 4 {
			wg.Go(func() {
				img, err := p.Prepare(context.Background(), testimages.Golden(file))
				if err != nil || quality.DigestOf(img.Pixels.Bytes()) != quality.Digest(want) {
					t.Errorf("%s: error %v, or other pixels", file, err)
				}
			})
		}
	}
	wg.Wait()
}

// TestGIFCodeSizes: the code size that a GIF begins with is 2 to 8, and Pillow
// reads 0 to 12. The values are Pillow 13.0.0's.
func TestGIFCodeSizes(t *testing.T) {
	p := newPreparer(t)
	for name, tc := range map[string]struct {
		bits byte
		data []byte
		want []byte // of the only pixel; nil: damaged
	}{
		"1, as in tracking pixels": {1, []byte{0x32}, []byte{10, 20, 30}},
		"0":                        {0, []byte{0x01}, []byte{10, 20, 30}},
		"12":                       {12, []byte{0x00, 0x30, 0x00, 0x00}, []byte{40, 50, 60}},
		"13":                       {13, []byte{0x00, 0x60, 0x00, 0x00}, nil},
		"255":                      {255, []byte{0x00, 0x60, 0x00, 0x00}, nil},
	} {
		data := append([]byte("GIF89a\x01\x00\x01\x00\x80\x00\x00"), 10, 20, 30, 40, 50, 60)
		data = append(data, ",\x00\x00\x00\x00\x01\x00\x01\x00\x00"...)
		data = append(append(data, tc.bits, byte(len(tc.data))), tc.data...)
		data = append(data, 0, ';')
		got, err := p.DecodeRGB(context.Background(), data, imageprep.RGB{})
		if tc.want == nil {
			if quality.KindOf(err) != quality.KindImageCorrupt {
				t.Errorf("%s: error %v, want %s", name, err, quality.KindImageCorrupt)
			}
		} else if err != nil || !bytes.Equal(got.Pix, tc.want) {
			t.Errorf("%s: pixels %v, error %v, want %v", name, got.Pix, err, tc.want)
		}
	}
}
