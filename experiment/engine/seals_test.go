package engine_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/quality"
)

// pictureOf is the digest of the nth image of a benchmark.
func pictureOf(n int) (d quality.Digest) {
	binary.BigEndian.PutUint64(d[:], uint64(n)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(d[8:], uint64(n))
	return d
}

// watchedStore counts look-ups of single images, and can be made to fail.
type watchedStore struct {
	*storetest.Store
	lookups atomic.Int64
	down    atomic.Bool
}

func (s *watchedStore) SightingsOf(ctx context.Context, image quality.Digest) ([]experiment.Sighting, error) {
	s.lookups.Add(1)
	if s.down.Load() {
		return nil, quality.Errorf(quality.KindStoreUnavailable, "no connection")
	}
	return s.Store.SightingsOf(ctx, image)
}

// A server that can't remember all images asks the store, and where that doesn't
// answer nobody is told a score that may have to be withheld.
func TestMoreImagesThanAreRemembered(t *testing.T) {
	t.Parallel()
	s, store, c := begin(t, "")
	for i := range 5 {
		s.ask(t.Context(), fmt.Sprint(i), fmt.Sprint("blind ", i), true, "")
		s.ask(t.Context(), fmt.Sprint(i), fmt.Sprint("open ", i), false, "")
	}
	watched := &watchedStore{Store: store}
	second := newServer(t, watched, c, sound, func(d *engine.Deps) { d.MaxImages = 4 })
	must(t, second.Refresh(t.Context()))
	arm := []quality.Digest{digest("other")}
	check := func(what string, image string, named []quality.Digest, kind quality.Kind) {
		t.Helper()
		if err := second.Withheld(t.Context(), digest(image), named); (err == nil) != (kind == "") ||
			err != nil && quality.KindOf(err) != kind {
			t.Errorf("%s, %s: %v, want %q", what, image, err, kind)
		}
	}
	for i := range 5 {
		check("full", fmt.Sprint("blind ", i), nil, quality.KindForbidden)
		check("full", fmt.Sprint("open ", i), nil, "")
		check("full", fmt.Sprint("open ", i), arm, quality.KindForbidden)
	}
	check("full", "never seen", nil, "")
	check("full", "never seen", arm, "")
	if watched.lookups.Load() == 0 {
		t.Error("the store is never asked")
	}
	tasks, err := second.Tasks(t.Context(), "sharper", engine.TaskRequest{By: app, Rater: "r", Count: 100})
	if err != nil || len(tasks) != 5 {
		t.Errorf("%d tasks, %v", len(tasks), err)
	}
	// An image that is not remembered, and was shown with its score in a phase before.
	_, err = s.Change(t.Context(), "sharper", 0, experiment.Change{Do: experiment.DoWeigh, By: "me",
		Weights: map[experiment.ArmID]experiment.PPM{"demo": 300_000, "new": 700_000}})
	must(t, err)
	must(t, second.Refresh(t.Context()))
	for _, image := range []string{"open 4", "new"} {
		s.ask(t.Context(), "u", image, true, "")
	}
	tasks, err = second.Tasks(t.Context(), "sharper", engine.TaskRequest{By: app, Rater: "r", Count: 100})
	want := map[quality.Digest]bool{digest("new"): true}
	for i := range 5 {
		want[digest(fmt.Sprint("blind ", i))] = true
	}
	for _, task := range tasks {
		if !want[task.Image] {
			t.Errorf("in the next phase: a task about %s", task.Image)
		}
	}
	if err != nil || len(tasks) != len(want) {
		t.Errorf("in the next phase: %d tasks, %v", len(tasks), err)
	}
	watched.down.Store(true)
	check("without the store", "never seen", nil, quality.KindStoreUnavailable)
	check("without the store", "never seen", arm, quality.KindStoreUnavailable)

	// One that remembers all of them doesn't ask.
	watched = &watchedStore{Store: store}
	second = newServer(t, watched, c, sound)
	must(t, second.Refresh(t.Context()))
	check("with room", "blind 1", nil, quality.KindForbidden)
	check("with room", "never seen", arm, "")
	if n := watched.lookups.Load(); n != 0 {
		t.Errorf("%d look-ups of images that are remembered", n)
	}
}

// BenchmarkWithheld is what the memory of images costs a scored image, while an
// experiment has 1,000,000 of them; and how long a gateway reads those at its start.
func BenchmarkWithheld(b *testing.B) {
	const images = 1_000_000
	c := &clock{t: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)}
	store := storetest.Open(b, c.now)
	first := newServer(b, store, c, sound)
	_, err := first.Create(b.Context(), []byte(definition), "me")
	must(b, err)
	_, err = first.Start(b.Context(), "sharper", "me")
	must(b, err)
	for n := 0; n < images; n += 512 {
		var batch []experiment.Exposure
		for i := n; i < min(n+512, images); i++ {
			batch = append(batch, experiment.Exposure{ID: fmt.Sprint(i), Assignment: fmt.Sprint(i), Experiment: "sharper",
				Phase: 1, Image: pictureOf(i), Blind: i%2 == 0})
		}
		must(b, store.AppendExposures(b.Context(), batch))
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	watched := &watchedStore{Store: store}
	s := newServer(b, watched, c, sound)
	start := time.Now()
	for lookups := int64(-1); lookups != watched.lookups.Load(); _ = s.Withheld(b.Context(), pictureOf(images), nil) {
		lookups = watched.lookups.Load()
		must(b, s.Refresh(b.Context()))
	}
	took := time.Since(start)
	arm := []quality.Digest{digest("other")}
	b.Run("by the store", func(b *testing.B) {
		small := newServer(b, store, c, sound, func(d *engine.Deps) { d.MaxImages = 1 })
		must(b, small.Refresh(b.Context()))
		for n := 0; b.Loop(); n += 2 {
			_ = small.Withheld(b.Context(), pictureOf(n%images), arm)
		}
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	for name, place := range map[string]int{"known": 0, "unknown": images} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for n := place; pb.Next(); n += 2 {
					_ = s.Withheld(b.Context(), pictureOf(place+n%images), arm)
				}
			})
			b.ReportMetric(took.Seconds(), "s-to-read")
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/images, "B/image")
		})
	}
}
