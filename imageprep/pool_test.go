package imageprep_test

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
)

// TestPooledMemoryLeaksNothing decodes every golden file into memory full of
// other bytes, and into memory that other images were in, by several
// goroutines. What an image gives may depend on nothing but the image.
func TestPooledMemoryLeaksNothing(t *testing.T) {
	want := map[string][]byte{}
	for name, data := range testimages.Named() {
		img, err := newPreparer(t).Prepare(context.Background(), data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want[name] = img.Pixels.Bytes()
	}
	shared := newPreparer(t)
	var wait sync.WaitGroup
	for worker := range 2 {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 7))
			dirty := newPreparer(t)
			for name, pixels := range want {
				dirty.Dirty(byte(1 + r.IntN(255)))
				for _, p := range []*imageprep.Preparer{dirty, shared} {
					img, err := p.Prepare(context.Background(), testimages.Golden(name))
					if err != nil {
						t.Errorf("%s: %v", name, err)
					} else if got := img.Pixels.Bytes(); !bytes.Equal(got, pixels) {
						t.Errorf("%s after others: %s", name, difference(got, pixels))
					}
				}
			}
		})
	}
	wait.Wait()
}

// TestResultsDependOnNothingBefore prepares whole and damaged files of every
// kind in random orders, by two goroutines that share their memory: what each
// gives, pixels or an error, is what it gives alone.
func TestResultsDependOnNothingBefore(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	var files [][]byte
	whole := tiny()
	for _, name := range slices.Sorted(maps.Keys(testimages.Named())) {
		whole = append(whole, testimages.Golden(name))
	}
	for _, data := range whole {
		damaged := bytes.Clone(data)
		for range 1 + r.IntN(3) {
			damaged[r.IntN(len(damaged))] ^= byte(1 + r.IntN(255))
		}
		files = append(files, data, testimages.WithChecksums(damaged), data[:len(data)-r.IntN(len(data)/2)])
	}
	cfg := imageprep.DefaultConfig()
	cfg.MaxPixels = 1 << 17
	fresh := func() *imageprep.Preparer {
		p, err := imageprep.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	want, refused := make([]anyResult, len(files)), 0
	for i, data := range files {
		if want[i] = prepareAny(t, fresh(), data); want[i].err != "" {
			refused++
		}
	}
	if refused < len(files)/5 || refused > len(files)*4/5 {
		t.Fatalf("%d of %d files are refused, want both kinds", refused, len(files))
	}
	shared := fresh()
	var wait sync.WaitGroup
	for worker := range 2 {
		order := rand.New(rand.NewPCG(uint64(worker), 13)).Perm(len(files))
		wait.Go(func() {
			for _, i := range order {
				if i%7 == 0 {
					shared.Dirty(byte(i))
				}
				img, err := shared.Prepare(context.Background(), files[i])
				got := anyResult{Image: img}
				if err != nil {
					got = anyResult{err: err.Error()}
				}
				if got.err != want[i].err || got.Info != want[i].Info ||
					!bytes.Equal(got.Pixels.Bytes(), want[i].Pixels.Bytes()) {
					t.Errorf("file %d: error %q, %+v, want error %q, %+v, or other pixels", i, got.err, got.Info,
						want[i].err, want[i].Info)
				}
			}
		})
	}
	wait.Wait()
}

// TestFailedDecodesGiveTheirMemoryBack cuts files short, after which the next
// good image must find the planes in the pool.
func TestFailedDecodesGiveTheirMemoryBack(t *testing.T) {
	p := newPreparer(t)
	for _, name := range []string{
		"jpeg-420-300x200.jpg", "jpeg-gray-progressive.jpg", "webp-lossy-300x200.webp", "webp-lossless.webp",
	} {
		data := testimages.Golden(name)
		if _, err := p.Prepare(context.Background(), data); err != nil {
			t.Fatal(err)
		}
		held := p.Held()
		if held == 0 {
			t.Fatalf("%s: nothing was kept", name)
		}
		if _, err := p.Prepare(context.Background(), incomplete(data)); err == nil {
			t.Fatalf("%s: a third of the file is missing and nothing said so", name)
		}
		if got := p.Held(); got < held {
			t.Errorf("%s: %d samples held after a failed decode, %d before", name, got, held)
		}
	}
}

// incomplete leaves a third of a file out. A WebP says that this is its size.
func incomplete(data []byte) []byte {
	data = data[:len(data)-len(data)/3]
	if kind := string(data[12:16]); kind == "VP8 " || kind == "VP8L" {
		return testimages.WebPOf(kind, data[20:])
	}
	return data
}

// TestSteadyStateAllocatesNothingThatGrows: an image like the last one costs
// the result and small change, whatever its size.
func TestSteadyStateAllocatesNothingThatGrows(t *testing.T) {
	const result = 224 * 224 * 3
	for _, tc := range []struct {
		name string
		data []byte
	}{
		{"jpeg 256", testimages.JPEG(256, 256)},
		{"jpeg 2048", testimages.JPEG(2048, 2048)},
		{"png 1024", testimages.PNG(1024, 1024)},
		{"lossy webp", testimages.Golden("webp-lossy-300x200.webp")},
		{"lossless webp", testimages.Golden("webp-lossless-noise.webp")},
		{"gray progressive jpeg", testimages.Golden("jpeg-gray-progressive.jpg")},
		{"progressive jpeg 2048", testimages.ScanFlood(2048, 2048, 3)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPreparer(t)
			perImage := bytesAnImage(t, p, tc.data)
			if limit := result + 100_000; perImage > limit {
				t.Errorf("%d bytes allocated an image, want at most %d", perImage, limit)
			}
		})
	}
}

// bytesAnImage returns the bytes that one more image of the same kind allocates.
func bytesAnImage(t *testing.T, p *imageprep.Preparer, data []byte) int {
	const n = 8
	var before, after runtime.MemStats
	for i := range n + 2 {
		if i == 2 {
			runtime.ReadMemStats(&before)
		}
		if _, err := p.Prepare(context.Background(), data); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc-before.TotalAlloc) / n
}

// TestPoolStaysWithinItsShare: what is kept is bounded by the memory budget,
// not by the largest image that came by.
func TestPoolStaysWithinItsShare(t *testing.T) {
	cfg := imageprep.DefaultConfig()
	cfg.MemoryBudget = 8 << 20
	p, err := imageprep.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range testimages.Named() {
		if path.Ext(name) == ".jpg" {
			if _, err := p.Prepare(context.Background(), data); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	if _, err := p.Prepare(context.Background(), testimages.JPEG(1500, 1500)); err != nil {
		t.Fatal(err)
	}
	if held, most := p.Held(), 1<<20; held > most {
		t.Errorf("%d samples held, want at most %d", held, most)
	}
}
