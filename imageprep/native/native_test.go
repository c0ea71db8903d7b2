package native_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/imageprep/native"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// load opens the libraries, which only a short run may do without.
func load(t testing.TB) *native.Set {
	t.Helper()
	set := native.Load()
	t.Cleanup(set.Close)
	for _, m := range set.Missing {
		if testing.Short() {
			t.Skipf("no native decoder of %s: %v", m.Format, m.Err)
		}
		t.Fatalf("no native decoder of %s: apt-get install %s (%v)", m.Format, m.Package, m.Err)
	}
	return set
}

// preparers returns one with the libraries and one without.
func preparers(t testing.TB, edit ...func(*imageprep.Config)) (with, without *imageprep.Preparer) {
	t.Helper()
	cfg := imageprep.DefaultConfig()
	for _, e := range edit {
		e(&cfg)
	}
	with, err := imageprep.New(cfg, load(t).Found...)
	if err != nil {
		t.Fatal(err)
	}
	if without, err = imageprep.New(cfg); err != nil {
		t.Fatal(err)
	}
	return with, without
}

func TestLibrariesPassTheSelfTest(t *testing.T) {
	for _, n := range load(t).Found {
		if err := imageprep.Verify(context.Background(), n); err != nil {
			t.Errorf("%s: %v", n.Name(), err)
		}
		t.Log(n.Name())
	}
}

// goDecodes says which goldens the libraries are not asked for: four
// components and several sequential scans.
func goDecodes(name, mode string) bool {
	return mode == "CMYK" || strings.HasPrefix(name, "jpeg-420-scans")
}

// oddSampling are ratios that libjpeg-turbo 2 has no name for, and 3 has.
var oddSampling = regexp.MustCompile(`^jpeg-(410|441|uneven|mixed|lumalow)`)

// TestEqualsPillow: every golden gives Pillow's 224x224 pixels through the
// libraries. Their origin is internal/testimages/make_goldens.py, whose
// libraries are newer than any distribution's; no tolerance.
func TestEqualsPillow(t *testing.T) {
	p, _ := preparers(t)
	expected, _, err := testimages.Expected()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range expected {
		img, err := p.Prepare(context.Background(), testimages.Golden(name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if sha256.Sum256(img.Pixels.Bytes()) != want.Out {
			t.Errorf("%s, decoded by %s, differs from Pillow", name, img.Decoder)
		}
		if oddSampling.MatchString(name) {
			continue
		}
		byLibrary := img.Decoder != imageprep.GoDecoder
		if wanted := (img.Info.Format == "jpeg" || img.Info.Format == "webp") &&
			!goDecodes(name, want.Mode); byLibrary != wanted {
			t.Errorf("%s (%s) was decoded by %s, library wanted: %v", name, want.Mode, img.Decoder, wanted)
		}
	}
}

// decodable returns the goldens of the libraries' formats.
func decodable() map[string][]byte {
	files := testimages.Named()
	maps.DeleteFunc(files, func(name string, _ []byte) bool {
		return !strings.HasPrefix(name, "jpeg") && !strings.HasPrefix(name, "webp")
	})
	return files
}

// agree holds the two paths against each other: the same decision, the same
// kind of error, the same pixels.
func agree(t *testing.T, what string, data []byte, with, without *imageprep.Preparer) (same bool) {
	t.Helper()
	got, gotErr := with.Prepare(context.Background(), data)
	want, wantErr := without.Prepare(context.Background(), data)
	switch {
	case (gotErr == nil) != (wantErr == nil), quality.KindOf(gotErr) != quality.KindOf(wantErr) && gotErr != nil:
		t.Logf("%s: with libraries (%s): %v; in Go: %v", what, got.Decoder, gotErr, wantErr)
		return false
	case gotErr == nil && !bytes.Equal(got.Pixels.Bytes(), want.Pixels.Bytes()):
		t.Logf("%s: pixels of %s differ from Go's", what, got.Decoder)
		return false
	}
	return true
}

// TestAgreesOnHostileFiles: whatever the Go path refuses is refused, for the
// same reason.
func TestAgreesOnHostileFiles(t *testing.T) {
	with, without := preparers(t)
	files := testimages.Hostile()
	files["scan flood"] = testimages.ScanFlood(64, 64, 40)
	files["scans, not too many"] = testimages.ScanFlood(64, 64, 20)
	files["empty"] = nil
	for n, data := range map[string][]byte{"jpeg": testimages.JPEG(64, 48), "webp": testimages.WebP()} {
		files[n+" and more"] = append(bytes.Clone(data), "PK\x03\x04 and so on"...)
	}
	for name, data := range files {
		if !agree(t, name, data, with, without) {
			t.Errorf("%s: the paths disagree", name)
		}
	}
}

// TestAgreesOnCuts cuts goldens at random places.
func TestAgreesOnCuts(t *testing.T) {
	with, without := preparers(t)
	rng := rand.New(rand.NewPCG(5, 6))
	for name, data := range decodable() {
		cuts := []int{len(data) - 1, len(data) - 2, len(data) - 3}
		for range 12 {
			cuts = append(cuts, rng.IntN(len(data)))
		}
		for _, cut := range cuts {
			if !agree(t, fmt.Sprintf("%s cut at %d of %d", name, cut, len(data)), data[:max(0, cut)], with, without) {
				t.Errorf("%s cut at %d: the paths disagree", name, cut)
			}
		}
	}
}

// TestAgreesOnDamage flips bytes. Nothing here may end the process, and what
// comes out is pixels or one of the image kinds. The decision is the Go path's
// but for damage that libjpeg does not notice, such as a run that leads out of
// its block: Go refuses it, and Pillow does not. A thousandth is far more than
// was ever seen (1 of 7,040, other formats counted).
func TestAgreesOnDamage(t *testing.T) {
	with, without := preparers(t)
	rng := rand.New(rand.NewPCG(7, 8))
	files, differ := 0, 0
	for _, name := range slices.Sorted(maps.Keys(decodable())) {
		data := testimages.Golden(name)
		for range 40 {
			damaged := bytes.Clone(data)
			for range 1 + rng.IntN(3) {
				damaged[rng.IntN(len(damaged))] ^= byte(1 + rng.IntN(255))
			}
			files++
			if !agree(t, name, damaged, with, without) {
				differ++
			}
		}
	}
	if differ > files/1000 {
		t.Errorf("the paths disagree on %d of %d damaged files", differ, files)
	}
}

// FuzzDecode looks for bytes that end the process.
func FuzzDecode(f *testing.F) {
	for _, data := range decodable() {
		if len(data) < 4000 {
			f.Add(data)
		}
	}
	with, without := preparers(f, func(cfg *imageprep.Config) { cfg.MaxPixels = 1 << 18 })
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := with.Prepare(context.Background(), data)
		if _, pure := without.Prepare(context.Background(), data); err != nil && pure == nil {
			t.Fatalf("the library's path refuses what Go's accepts: %v", err)
		}
	})
}

// TestReducedEqualsPillow: the smaller inverse DCTs are those of Pillow's draft
// mode. The sums are of Pillow 13.0.0 (libjpeg-turbo 3.2.0), over each golden:
//
//	im = Image.open(f); w, h = im.size; im.draft("RGB", (w // by, h // by))
//	hashlib.sha256(im.convert("RGB").tobytes()).hexdigest()
func TestReducedEqualsPillow(t *testing.T) {
	cases := []struct {
		name          string
		by            int
		width, height int
		sum           string
	}{
		{"jpeg-420.jpg", 2, 31, 23, "03c409dcb782848ca18adb7685d3eb6e0fc16e79020c082831e67ee2b2ac1811"},
		{"jpeg-420.jpg", 4, 16, 12, "a7018ca54cbcffede9a81044ce48b9a50c691dd96b605f7488cf36b9528f110d"},
		{"jpeg-420.jpg", 8, 8, 6, "c6e7e308308468edfc209fbb2ff8d0c69cad3aa828b9c5f337784566103b72b2"},
		{"jpeg-444.jpg", 2, 31, 23, "aa08a2eb6cbb6400f8a12d3aa2e5edbd5bb16075f1856bff9441903ed886c69d"},
		{"jpeg-444.jpg", 4, 16, 12, "ad32a4cc90060bc088acc492b1d12fda73beccd7dbb4bf8cbbff8b329108c2d3"},
		{"jpeg-444.jpg", 8, 8, 6, "518eb84bceb4299e45dfcd2a2ec438334790ea7c5232418a45f17d31ebb1143a"},
		{"jpeg-422-progressive.jpg", 2, 31, 23, "e03755833a7fb5a3aad8c5363ae73e6a14cc21d5fd71ccd3c26f06f0da0ec543"},
		{"jpeg-422-progressive.jpg", 4, 16, 12, "a43d78e643fc83a20599e8e1503f786d77d7c6122fd28bcdd3a000aaee921764"},
		{"jpeg-422-progressive.jpg", 8, 8, 6, "c0bd93e6304c7c28f18dc7d9dd1b3d060b117d2c70ff3747cc27494d9a67f570"},
	}
	for _, n := range load(t).Found {
		if n.Format() != imageprep.JPEG {
			continue
		}
		for _, c := range cases {
			dst := make([]byte, 3*c.width*c.height)
			if err := n.Decode(dst, testimages.Golden(c.name), c.width, c.height, 3); err != nil {
				t.Errorf("%s by %d: %v", c.name, c.by, err)
			} else if got := fmt.Sprintf("%x", sha256.Sum256(dst)); got != c.sum {
				t.Errorf("%s by %d differs from Pillow: %s, want %s", c.name, c.by, got, c.sum)
			}
		}
	}
}

// TestManyAtOnce decodes different pictures side by side: pooled decompressors
// and memory are never shared.
func TestManyAtOnce(t *testing.T) {
	with, without := preparers(t)
	names := []string{"jpeg-420.jpg", "jpeg-444-progressive.jpg", "jpeg-gray.jpg", "webp-lossy-300x200.webp",
		"webp-lossless.webp", "jpeg-420-300x200.jpg"}
	var wg sync.WaitGroup
	for i := range 4 * len(names) {
		wg.Go(func() {
			for k := range 20 {
				name := names[(i+k)%len(names)]
				if !agree(t, name, testimages.Golden(name), with, without) {
					t.Errorf("%s differs when decoded beside others", name)
				}
			}
		})
	}
	wg.Wait()
}

// TestDecodeRefusesTooLittleMemory: the library is not called with less than
// it would write, whatever the caller says.
func TestDecodeRefusesTooLittleMemory(t *testing.T) {
	data := map[imageprep.Format][]byte{imageprep.JPEG: testimages.JPEG(64, 48), imageprep.WebP: testimages.WebP()[20:]}
	for _, n := range load(t).Found {
		for name, err := range map[string]error{
			"a byte short":  n.Decode(make([]byte, 64*48*3-1), data[n.Format()], 64, 48, 3),
			"another size":  n.Decode(make([]byte, 32*48*3), data[n.Format()], 32, 48, 3),
			"larger":        n.Decode(make([]byte, 640*480*3), data[n.Format()], 640, 480, 3),
			"no data":       n.Decode(make([]byte, 64*48*3), nil, 64, 48, 3),
			"gray or so":    n.Decode(make([]byte, 64*48*3), data[n.Format()], 64, 48, 1),
			"negative size": n.Decode(make([]byte, 64*48*3), data[n.Format()], -64, 48, 3),
		} {
			if err == nil {
				t.Errorf("%s: %s was accepted", n.Name(), name)
			}
		}
	}
}
