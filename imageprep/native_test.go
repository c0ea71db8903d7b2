package imageprep_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// fakeNative decodes one format by a function, and notes what it was asked.
type fakeNative struct {
	format imageprep.Format
	decode func(dst []byte, width, height, samples int) error
	asked  *[]string // "width x height x samples"; nil: nothing is noted
}

func (n fakeNative) Format() imageprep.Format { return n.format }
func (n fakeNative) Name() string             { return "libfake 1.2" }
func (n fakeNative) Tag() string              { return "fake-" + string(n.format) }
func (n fakeNative) Decode(dst, _ []byte, width, height, samples int) error {
	if n.asked != nil {
		*n.asked = append(*n.asked, fmt.Sprintf("%dx%dx%d", width, height, samples))
	}
	return n.decode(dst, width, height, samples)
}

// flat draws one level.
func flat(v byte) func([]byte, int, int, int) error {
	return func(dst []byte, width, height, samples int) error {
		for i := range width * height * samples {
			dst[i] = v
		}
		return nil
	}
}

func refuse([]byte, int, int, int) error { return errors.New("no") }

func newWith(t *testing.T, cfg imageprep.Config, natives ...imageprep.Native) *imageprep.Preparer {
	t.Helper()
	p, err := imageprep.New(cfg, natives...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestNativeDecodes: what it draws is what comes out, and its name stands in
// the provenance.
func TestNativeDecodes(t *testing.T) {
	for file, format := range map[string]imageprep.Format{
		"jpeg-420.jpg": imageprep.JPEG, "jpeg-gray.jpg": imageprep.JPEG, "jpeg-420-progressive.jpg": imageprep.JPEG,
		"webp-lossy-61x45.webp": imageprep.WebP, "webp-lossless-alpha.webp": imageprep.WebP,
	} {
		p := newWith(t, imageprep.DefaultConfig(), fakeNative{format: format, decode: flat(77)})
		img, err := p.Prepare(context.Background(), testimages.Golden(file))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if want := bytes.Repeat([]byte{77}, quality.PixelsLen); !bytes.Equal(img.Pixels.Bytes(), want) ||
			img.Decoder != "libfake 1.2" {
			t.Errorf("%s: decoder %q, %s", file, img.Decoder, difference(img.Pixels.Bytes(), want))
		}
	}
}

// TestGoDecidesWhereNativeRefuses: the native decoder's refusal leaves no
// trace, neither in the pixels nor in the kind of error.
func TestGoDecidesWhereNativeRefuses(t *testing.T) {
	pure := newPreparer(t)
	p := newWith(t, imageprep.DefaultConfig(), fakeNative{format: imageprep.JPEG, decode: refuse},
		fakeNative{format: imageprep.WebP, decode: refuse})
	files := testimages.Named()
	for name, data := range testimages.Named() {
		files[name+", cut"] = data[:len(data)*2/3]
	}
	for name, data := range files {
		want, wantErr := pure.Prepare(context.Background(), data)
		got, err := p.Prepare(context.Background(), data)
		if quality.KindOf(err) != quality.KindOf(wantErr) || (err == nil) != (wantErr == nil) {
			t.Errorf("%s: error %v, want %v", name, err, wantErr)
		} else if err == nil &&
			(got.Decoder != imageprep.GoDecoder || !bytes.Equal(got.Pixels.Bytes(), want.Pixels.Bytes())) {
			t.Errorf("%s: decoder %q, %s", name, got.Decoder, difference(got.Pixels.Bytes(), want.Pixels.Bytes()))
		}
	}
}

// TestNativeIsNotAskedForUnusualFiles: what libjpeg would take and Go refuses,
// or sees otherwise, never reaches a native decoder.
func TestNativeIsNotAskedForUnusualFiles(t *testing.T) {
	incomplete := testimages.JPEGHeader(0xC2, 64, 64, 8, 1)                 // DC only
	incomplete = append(append(incomplete, make([]byte, 8)...), 0xFF, 0xD9) // 64 blocks of one bit
	other := testimages.JPEGSegment(testimages.JPEG(64, 48)[:2:2], 0xE1, []byte("a segment"))
	for name, tc := range map[string]struct {
		data []byte
		want bool // asked
	}{
		"plain":                  {testimages.JPEG(64, 48), true},
		"with a segment":         {append(other, testimages.JPEG(64, 48)[2:]...), true},
		"progressive":            {testimages.Golden("jpeg-422-progressive.jpg"), true},
		"scan flood":             {testimages.ScanFlood(64, 64, 3), false}, // bits are sent again
		"progressive, DC only":   {incomplete, false},
		"several scans":          {testimages.Golden("jpeg-420-scans.jpg"), false},
		"CMYK":                   {testimages.Golden("jpeg-cmyk-plain.jpg"), false},
		"YCCK":                   {testimages.Golden("jpeg-ycck.jpg"), false},
		"png":                    {testimages.PNG(64, 48), false},
		"gif":                    {testimages.GIF(64, 48), false},
		"progressive, cut short": {testimages.Golden("jpeg-422-progressive.jpg")[:1000], false},
	} {
		var asked []string
		p := newWith(t, imageprep.DefaultConfig(), fakeNative{imageprep.JPEG, refuse, &asked})
		_, _ = p.Prepare(context.Background(), tc.data) // the Go decoder's outcome is tested elsewhere
		if got := len(asked) > 0; got != tc.want {
			t.Errorf("%s: asked %v, want %v", name, asked, tc.want)
		}
	}
}

// TestIDsKeepDecodersAndModesApart: whatever could give other pixels has
// another id, and what cannot has the same one.
func TestIDsKeepDecodersAndModesApart(t *testing.T) {
	jpeg, webp := fakeNative{format: imageprep.JPEG}, fakeNative{format: imageprep.WebP}
	for _, tc := range []struct {
		natives     []imageprep.Native
		exact, fast quality.PreprocessID
	}{
		{nil, "pillow-bicubic-224/go-1", "pillow-bicubic-224/go-1"},
		{[]imageprep.Native{webp}, "pillow-bicubic-224/go-1+fake-webp", "pillow-bicubic-224/go-1+fake-webp"},
		{[]imageprep.Native{jpeg}, "pillow-bicubic-224/go-1+fake-jpeg", "fast-bicubic-224/go-1+fake-jpeg"},
		{[]imageprep.Native{webp, jpeg}, "pillow-bicubic-224/go-1+fake-jpeg+fake-webp",
			"fast-bicubic-224/go-1+fake-jpeg+fake-webp"},
	} {
		for _, configured := range []quality.PreprocessMode{quality.Exact, quality.Fast} {
			cfg := imageprep.DefaultConfig()
			cfg.Mode = configured
			p := newWith(t, cfg, tc.natives...)
			want := map[quality.PreprocessMode]quality.PreprocessID{quality.Exact: tc.exact, quality.Fast: tc.fast}
			want[""] = want[configured]
			for mode, id := range want {
				if got := p.ID(mode); got != id {
					t.Errorf("configured %s, mode %q: id %s, want %s", configured, mode, got, id)
				}
			}
		}
	}
}

// TestFastShrinksLargeJPEGs: by as much as leaves twice the result's side.
func TestFastShrinksLargeJPEGs(t *testing.T) {
	for _, tc := range []struct {
		w, h uint16
		want string
	}{
		{640, 480, "640x480x3"}, {894, 3000, "894x3000x3"}, {895, 3000, "448x1500x3"}, {1024, 1024, "512x512x3"},
		{1788, 1900, "894x950x3"}, {2047, 2049, "512x513x3"}, {3576, 4001, "894x1001x3"},
		{3577, 4001, "448x501x3"}, {5000, 5000, "625x625x3"},
	} {
		for mode, want := range map[quality.PreprocessMode]string{
			quality.Fast: tc.want, quality.Exact: fmt.Sprintf("%dx%dx3", tc.w, tc.h),
		} {
			var asked []string
			p := newWith(t, imageprep.DefaultConfig(), fakeNative{imageprep.JPEG, flat(9), &asked})
			in, err := p.Inspect(testimages.JPEGHeader(0xC0, tc.w, tc.h, 8, 3))
			if err != nil {
				t.Fatal(err)
			}
			img, err := p.PrepareViews(context.Background(), in, mode, []quality.View{{}})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(asked, []string{want}) || img.Views[0].Bytes()[0] != 9 {
				t.Errorf("%d x %d, %s: asked for %v, want %s", tc.w, tc.h, mode, asked, want)
			}
		}
	}
}

// TestFastShrinksAsEachViewAllows: the pixels of a view, which are cached, may
// not depend on what else a request needs. So views of sizes that allow
// different reductions are decoded apart, and all others together.
func TestFastShrinksAsEachViewAllows(t *testing.T) {
	for _, tc := range []struct {
		side  uint16
		views []string
		want  []string // decodes, in order of text
	}{
		{800, []string{"224", "448/r0c0"}, []string{"800x800x3"}},
		{1024, []string{"224"}, []string{"512x512x3"}},
		{1024, []string{"448/r0c0", "448/r1c1"}, []string{"1024x1024x3"}},
		{1024, []string{"448/r0c0", "224", "448/r1c1"}, []string{"1024x1024x3", "512x512x3"}},
		{1791, []string{"448/r0c0"}, []string{"896x896x3"}},
		{1790, []string{"448/r0c0"}, []string{"1790x1790x3"}},
		{4000, []string{"1120/r0c0", "448/r0c0", "224"}, []string{"1000x1000x3", "4000x4000x3", "500x500x3"}},
	} {
		var asked []string
		p := newWith(t, imageprep.DefaultConfig(), fakeNative{imageprep.JPEG, shade, &asked})
		in, err := p.Inspect(testimages.JPEGHeader(0xC0, tc.side, tc.side, 8, 3))
		if err != nil {
			t.Fatal(err)
		}
		views := viewsOf(t, tc.views...)
		img, err := p.PrepareViews(context.Background(), in, quality.Fast, views)
		if err != nil {
			t.Fatal(err)
		}
		decodes := slices.Clone(asked)
		slices.Sort(decodes)
		if !slices.Equal(decodes, tc.want) {
			t.Errorf("%d pixels, views %v: decoded as %v, want %v", tc.side, tc.views, decodes, tc.want)
		}
		for i, v := range views {
			alone, err := p.PrepareViews(context.Background(), in, quality.Fast, []quality.View{v})
			if err != nil || !bytes.Equal(alone.Views[0].Bytes(), img.Views[i].Bytes()) {
				t.Errorf("%d pixels, view %s: not what it is without %v: %v", tc.side, v, tc.views, err)
			}
		}
	}
}

// shade fills a picture with a value that its width determines.
func shade(dst []byte, width, _, _ int) error {
	for i := range dst {
		dst[i] = byte(width / 8)
	}
	return nil
}

// TestFastNeedsANativeDecoder: without one it is exact, and when the one there
// is refuses, the Go decoder decodes in full.
func TestFastNeedsANativeDecoder(t *testing.T) {
	data := testimages.JPEG(1200, 1000)
	want, err := newPreparer(t).Prepare(context.Background(), data)
	if err != nil {
		t.Fatal(err)
	}
	cfg := imageprep.DefaultConfig()
	cfg.Mode = quality.Fast
	for name, p := range map[string]*imageprep.Preparer{
		"none": newWith(t, cfg), "one that refuses": newWith(t, cfg, fakeNative{format: imageprep.JPEG, decode: refuse}),
	} {
		got, err := p.Prepare(context.Background(), data)
		if err != nil || !bytes.Equal(got.Pixels.Bytes(), want.Pixels.Bytes()) {
			t.Errorf("%s: error %v, %s", name, err, difference(got.Pixels.Bytes(), want.Pixels.Bytes()))
		}
	}
}

// TestNativeMemoryIsAdmitted: its output counts beside the planes of the Go
// decoder, which may have to follow.
func TestNativeMemoryIsAdmitted(t *testing.T) {
	data := testimages.JPEG(300, 200)
	h, err := imageprep.Sniff(data)
	if err != nil {
		t.Fatal(err)
	}
	cfg := imageprep.DefaultConfig()
	for _, tc := range []struct {
		budget int64
		want   bool
	}{{h.DecodeBytes() + 3*300*200, true}, {h.DecodeBytes() + 3*300*200 - 1, false}} {
		cfg.MemoryBudget = tc.budget
		_, err := newWith(t, cfg, fakeNative{format: imageprep.JPEG, decode: flat(1)}).Prepare(context.Background(), data)
		if tc.want != (err == nil) || err != nil && quality.KindOf(err) != quality.KindImageTooExpensive {
			t.Errorf("budget %d: error %v", tc.budget, err)
		}
	}
}

func TestPanicInNativeCostsOneCall(t *testing.T) {
	p := newWith(t, imageprep.DefaultConfig(),
		fakeNative{format: imageprep.JPEG, decode: func([]byte, int, int, int) error { panic("ouch") }})
	for range 2 {
		if _, err := p.Prepare(context.Background(),
			testimages.JPEG(64, 48)); quality.KindOf(err) != quality.KindImageCorrupt || !strings.Contains(err.Error(), "ouch") {
			t.Errorf("error %v, want kind %s with the panic as its cause", err, quality.KindImageCorrupt)
		}
	}
}

func TestOnlyInspectedImagesArePrepared(t *testing.T) {
	_, err := newPreparer(t).PrepareViews(context.Background(), imageprep.Inspected{Data: testimages.PNG(8, 8)}, "",
		[]quality.View{{}})
	if quality.KindOf(err) != quality.KindInternal {
		t.Errorf("error %v, want kind %s", err, quality.KindInternal)
	}
}
