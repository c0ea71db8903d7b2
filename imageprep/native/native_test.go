package native_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
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
		if byLibrary := img.Decoder != imageprep.GoDecoder; byLibrary != (img.Info.Format == "webp") {
			t.Errorf("%s was decoded by %s", name, img.Decoder)
		}
	}
}

// decodable returns the goldens of the libraries' formats.
func decodable() map[string][]byte {
	files := testimages.Named()
	maps.DeleteFunc(files, func(name string, _ []byte) bool { return !strings.HasPrefix(name, "webp") })
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
	files["empty"] = nil
	files["webp and more"] = append(bytes.Clone(testimages.WebP()), "PK\x03\x04 and so on"...)
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
// comes out is pixels or one of the image kinds, the same by the library as in
// Go but for one file in a hundred: coefficients that overflow the transform come
// out differently. Files that the library took count apart: where it
// takes none, Go would be held against itself.
func TestAgreesOnDamage(t *testing.T) {
	with, without := preparers(t)
	rng := rand.New(rand.NewPCG(7, 8))
	files, byLibrary, differ := 0, 0, 0
	for _, name := range slices.Sorted(maps.Keys(decodable())) {
		data := testimages.Golden(name)
		for range 150 {
			damaged := bytes.Clone(data)
			for range 1 + rng.IntN(3) {
				damaged[rng.IntN(len(damaged))] ^= byte(1 + rng.IntN(255))
			}
			files++
			if !agree(t, name, damaged, with, without) {
				differ++
			}
			if img, err := with.Prepare(context.Background(), damaged); err == nil && img.Decoder != imageprep.GoDecoder {
				byLibrary++
			}
		}
	}
	if differ > files/100 {
		t.Errorf("the paths disagree on %d of %d damaged files", differ, files)
	}
	if byLibrary < files/4 {
		t.Errorf("the library decoded %d of %d damaged files, want a quarter at least", byLibrary, files)
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

// TestManyAtOnce decodes different pictures side by side: pooled memory is
// never shared.
func TestManyAtOnce(t *testing.T) {
	with, without := preparers(t)
	names := []string{"webp-lossy-61x45.webp", "webp-lossy-300x200.webp", "webp-lossless.webp", "jpeg-420-300x200.jpg"}
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
	data := testimages.WebP()[20:]
	for _, n := range load(t).Found {
		for name, err := range map[string]error{
			"a byte short":  n.Decode(make([]byte, 64*48*3-1), data, 64, 48),
			"another size":  n.Decode(make([]byte, 32*48*3), data, 32, 48),
			"larger":        n.Decode(make([]byte, 640*480*3), data, 640, 480),
			"no data":       n.Decode(make([]byte, 64*48*3), nil, 64, 48),
			"negative size": n.Decode(make([]byte, 64*48*3), data, -64, 48),
		} {
			if err == nil {
				t.Errorf("%s: %s was accepted", n.Name(), name)
			}
		}
	}
}
