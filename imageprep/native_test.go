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

// fakeNative decodes WebP by a function, and notes what it was asked.
type fakeNative struct {
	decode func(dst []byte, width, height int) error
	asked  *[]string // "width x height"; nil: nothing is noted
}

func (n fakeNative) Format() imageprep.Format { return imageprep.WebP }
func (n fakeNative) Name() string             { return "libfake 1.2" }
func (n fakeNative) Tag() string              { return "fake-1" }
func (n fakeNative) Decode(dst, _ []byte, width, height int) error {
	if n.asked != nil {
		*n.asked = append(*n.asked, fmt.Sprintf("%dx%d", width, height))
	}
	return n.decode(dst, width, height)
}

// flat draws one level.
func flat(v byte) func([]byte, int, int) error {
	return func(dst []byte, width, height int) error {
		for i := range 3 * width * height {
			dst[i] = v
		}
		return nil
	}
}

func refuse([]byte, int, int) error { return errors.New("no") }

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
	for _, file := range []string{"webp-lossy-61x45.webp", "webp-lossless-alpha.webp"} {
		p := newWith(t, imageprep.DefaultConfig(), fakeNative{decode: flat(77)})
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
	p := newWith(t, imageprep.DefaultConfig(), fakeNative{decode: refuse})
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

// TestNativeIsAskedForItsFormatAlone: other formats have one decoder on every
// machine.
func TestNativeIsAskedForItsFormatAlone(t *testing.T) {
	for name, data := range testimages.Named() {
		var asked []string
		p := newWith(t, imageprep.DefaultConfig(), fakeNative{refuse, &asked})
		_, _ = p.Prepare(context.Background(), data) // the Go decoder's outcome is tested elsewhere
		if got, want := len(asked) > 0, strings.HasPrefix(name, "webp"); got != want {
			t.Errorf("%s: asked %v, want %v", name, asked, want)
		}
	}
}

// TestIDsKeepDecodersModesAndRecipesApart: whatever could give other pixels has
// another id.
func TestIDsKeepDecodersModesAndRecipesApart(t *testing.T) {
	for _, tc := range []struct {
		natives     []imageprep.Native
		recipe      quality.Recipe
		exact, fast quality.PreprocessID
	}{
		{nil, quality.Pillow12, "pillow12-bicubic-224/go-2", "fast-bicubic-224/go-2"},
		{nil, quality.Pillow13, "pillow13-bicubic-224/go-2", "fast-pillow13-bicubic-224/go-2"},
		{[]imageprep.Native{fakeNative{}}, quality.Pillow12,
			"pillow12-bicubic-224/go-2+fake-1", "fast-bicubic-224/go-2+fake-1"},
	} {
		for _, configured := range []quality.PreprocessMode{quality.Exact, quality.Fast} {
			cfg := imageprep.DefaultConfig()
			cfg.Mode = configured
			p := newWith(t, cfg, tc.natives...)
			want := map[quality.PreprocessMode]quality.PreprocessID{quality.Exact: tc.exact, quality.Fast: tc.fast}
			want[""] = want[configured]
			for mode, id := range want {
				if got := p.ID(mode, tc.recipe); got != id {
					t.Errorf("configured %s, mode %q: id %s, want %s", configured, mode, got, id)
				}
			}
		}
	}
}

// noting returns a preparer whose JPEGs are drawn by how far they shrink, which
// it notes.
func noting(t *testing.T, width, height int, asked *[]int) *imageprep.Preparer {
	t.Helper()
	p := newPreparer(t)
	p.WithDecoder(imageprep.JPEG, func(_ context.Context, by int) (int, int, error) {
		*asked = append(*asked, by)
		return (width + by - 1) / by, (height + by - 1) / by, nil
	})
	return p
}

// TestFastShrinksLargeJPEGs: by as much as leaves twice the result's side.
func TestFastShrinksLargeJPEGs(t *testing.T) {
	for _, tc := range []struct {
		w, h uint16
		want int
	}{
		{640, 480, 1}, {894, 3000, 1}, {895, 3000, 2}, {1024, 1024, 2}, {1788, 1900, 2}, {2047, 2049, 4}, {3576, 4001, 4},
		{3577, 4001, 8}, {5000, 5000, 8},
	} {
		for mode, want := range map[quality.PreprocessMode]int{quality.Fast: tc.want, quality.Exact: 1} {
			var asked []int
			p := noting(t, int(tc.w), int(tc.h), &asked)
			in, err := p.Inspect(testimages.JPEGHeader(0xC0, tc.w, tc.h, 8, 3))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.PrepareViews(context.Background(), in, mode, []quality.View{{}}); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(asked, []int{want}) {
				t.Errorf("%d x %d, %s: shrunk by %v, want %d", tc.w, tc.h, mode, asked, want)
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
		want  []int // reductions, in their order
	}{
		{800, []string{"224", "448/r0c0"}, []int{1}},
		{1024, []string{"224"}, []int{2}},
		{1024, []string{"448/r0c0", "448/r1c1"}, []int{1}},
		{1024, []string{"448/r0c0", "224", "448/r1c1"}, []int{1, 2}},
		{1791, []string{"448/r0c0"}, []int{2}},
		{1790, []string{"448/r0c0"}, []int{1}},
		{4000, []string{"1120/r0c0", "448/r0c0", "224"}, []int{1, 4, 8}},
	} {
		var asked []int
		p := noting(t, int(tc.side), int(tc.side), &asked)
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
			t.Errorf("%d pixels, views %v: shrunk by %v, want %v", tc.side, tc.views, decodes, tc.want)
		}
		for i, v := range views {
			alone, err := p.PrepareViews(context.Background(), in, quality.Fast, []quality.View{v})
			if err != nil || !bytes.Equal(alone.Views[0].Bytes(), img.Views[i].Bytes()) {
				t.Errorf("%d pixels, view %s: not what it is without %v: %v", tc.side, v, tc.views, err)
			}
		}
	}
}

// TestFastIsCloseToExact: a picture that shrinks while it is decoded looks the
// same after the resize, but for a level or two.
func TestFastIsCloseToExact(t *testing.T) {
	p := newPreparer(t)
	in, err := p.Inspect(testimages.JPEG(1200, 1000))
	if err != nil {
		t.Fatal(err)
	}
	var got [2]quality.Pixels
	for i, mode := range []quality.PreprocessMode{quality.Exact, quality.Fast} {
		prepared, err := p.PrepareViews(context.Background(), in, mode, []quality.View{{}})
		if err != nil {
			t.Fatal(err)
		}
		got[i] = prepared.Views[0]
	}
	sum := 0
	for i, v := range got[0].Bytes() {
		sum += max(int(v), int(got[1].Bytes()[i])) - min(int(v), int(got[1].Bytes()[i]))
	}
	if mean := float64(sum) / quality.PixelsLen; mean == 0 || mean > 3 {
		t.Errorf("fast is %.2f levels off on average, want more than 0 and at most 3", mean)
	}
}

// TestNativeMemoryIsAdmitted: its output counts beside what the Go decoder
// takes, which may have to follow.
func TestNativeMemoryIsAdmitted(t *testing.T) {
	data := testimages.Golden("webp-lossy-300x200.webp")
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
		_, err := newWith(t, cfg, fakeNative{decode: flat(1)}).Prepare(context.Background(), data)
		if tc.want != (err == nil) || err != nil && quality.KindOf(err) != quality.KindImageTooExpensive {
			t.Errorf("budget %d: error %v", tc.budget, err)
		}
	}
}

func TestPanicInNativeCostsOneCall(t *testing.T) {
	p := newWith(t, imageprep.DefaultConfig(), fakeNative{decode: func([]byte, int, int) error { panic("ouch") }})
	for range 2 {
		_, err := p.Prepare(context.Background(), testimages.WebP())
		if quality.KindOf(err) != quality.KindImageCorrupt || !strings.Contains(err.Error(), "ouch") {
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
