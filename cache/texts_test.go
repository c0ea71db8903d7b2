package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/quality"
)

func TestTextsLayers(t *testing.T) {
	c, source, remote := checkpointNamed("a"), &fakeSource{}, newMemory(t)
	m := newMetrics(t)
	withRemote := func(config *cache.TextsConfig) { config.Remote, config.Meter = remote, m.provider }

	first := newTexts(t, source, withRemote)
	wantText(t, first, c, false) // memory and remote miss; the source runs
	wantText(t, first, c, true)  // memory
	closeTexts(t, first)         // and so the remote write is done

	second := newTexts(t, source, withRemote) // another server: its own memory, the same remote
	wantText(t, second, c, true)
	wantText(t, second, c, true)

	if got := source.count("a"); got != 1 {
		t.Errorf("the source ran %d times, want 1", got)
	}
	want := map[string]int64{
		"cache=text,layer=memory,outcome=miss": 2,
		"cache=text,layer=memory,outcome=hit":  2,
		"cache=text,layer=redis,outcome=miss":  1,
		"cache=text,layer=redis,outcome=hit":   1,
	}
	if diff := cmp.Diff(want, m.values(t, "agiqa.cache.requests")); diff != "" {
		t.Errorf("agiqa.cache.requests (-want +got):\n%s", diff)
	}
	if got := m.values(t, "agiqa.cache.errors"); len(got) != 0 {
		t.Errorf("agiqa.cache.errors = %v, want none", got)
	}
}

func TestTextsWithoutRemote(t *testing.T) {
	source := &fakeSource{}
	texts := newTexts(t, source, nil)
	wantText(t, texts, checkpointNamed("a"), false)
	wantText(t, texts, checkpointNamed("a"), true)
	wantText(t, texts, checkpointNamed("b"), false)
	if source.count("a") != 1 || source.count("b") != 1 {
		t.Errorf("the source ran %v, want once for each", source.calls)
	}
}

func TestTextsKeyNamesEverythingThatMatters(t *testing.T) {
	remote, c := newMemory(t), checkpointNamed("a")
	otherEncoder := testEncoder
	otherEncoder.Digest = quality.DigestOf([]byte("another encoder"))
	sameNameOtherNumbers := c
	sameNameOtherNumbers.Digest = quality.DigestOf([]byte("retrained"))
	renamed := c
	renamed.Name = "renamed"
	ofOtherEncoder := c
	ofOtherEncoder.Encoder = otherEncoder.Digest

	seed := newTexts(t, &fakeSource{}, func(config *cache.TextsConfig) { config.Remote = remote })
	wantText(t, seed, c, false)
	closeTexts(t, seed)

	for _, test := range []struct {
		name       string
		encoder    quality.Encoder
		recipe     string
		checkpoint quality.Checkpoint
		wantCached bool
	}{
		{"the same", testEncoder, "", c, true},
		{"a new name for the same numbers", testEncoder, "", renamed, true},
		{"other numbers under the same name", testEncoder, "", sameNameOtherNumbers, false},
		{"another encoder", otherEncoder, "", ofOtherEncoder, false},
		{"another recipe", testEncoder, "v2", c, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			texts := newTexts(t, &fakeSource{}, func(config *cache.TextsConfig) {
				config.Remote, config.Encoder, config.Recipe = remote, test.encoder, test.recipe
			})
			wantText(t, texts, test.checkpoint, test.wantCached)
		})
	}
}

func TestTextsSingleFlight(t *testing.T) {
	const callers = 50
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		source := &fakeSource{before: func(context.Context, quality.Checkpoint) error { <-release; return nil }}
		texts := newTexts(t, source, nil)
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() { wantText(t, texts, checkpointNamed(fmt.Sprint(i%2)), false) })
		}
		synctest.Wait() // every caller waits now
		close(release)
		group.Wait()
		for _, name := range []string{"0", "1"} {
			if got := source.count(name); got != 1 {
				t.Errorf("the source ran %d times for checkpoint %s and its %d callers, want 1", got, name, callers/2)
			}
		}
		wantText(t, texts, checkpointNamed("0"), true)
	})
}

// lateStore misses a number of times before it finds.
type lateStore struct {
	cache.Store
	misses int
}

func (s *lateStore) Get(ctx context.Context, key string) ([]byte, error) {
	if s.misses > 0 {
		s.misses--
		return nil, cache.ErrNotFound
	}
	return s.Store.Get(ctx, key)
}

// TestTextsSeesAFlightThatHasJustLanded covers a caller who looked into memory
// just before another call stored it there, and starts one of its own just after.
func TestTextsSeesAFlightThatHasJustLanded(t *testing.T) {
	memory, source := &lateStore{Store: newMemory(t)}, &fakeSource{}
	texts := newTexts(t, source, func(config *cache.TextsConfig) { config.Memory = memory })
	wantText(t, texts, checkpointNamed("a"), false)
	memory.misses = 1
	wantText(t, texts, checkpointNamed("a"), true)
	if got := source.count("a"); got != 1 {
		t.Errorf("the source ran %d times, want 1", got)
	}
}

func TestTextsFlightOutlivesItsFirstCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, release := checkpointNamed("a"), make(chan struct{})
		source := &fakeSource{before: func(ctx context.Context, _ quality.Checkpoint) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		texts := newTexts(t, source, nil)

		first, cancel := context.WithCancel(t.Context())
		var firstErr, lateErr error
		var group sync.WaitGroup
		group.Go(func() { _, _, firstErr = texts.TextEmbeddings(first, c) })
		synctest.Wait()
		group.Go(func() { wantText(t, texts, c, false) })
		impatient, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		group.Go(func() { _, _, lateErr = texts.TextEmbeddings(impatient, c) })
		synctest.Wait()

		cancel()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantKind(t, firstErr, quality.KindClientClosedRequest)
		wantKind(t, lateErr, quality.KindDeadlineExceeded)
		close(release)
		group.Wait()
		if got := source.count("a"); got != 1 {
			t.Errorf("the source ran %d times, want 1", got)
		}
	})
}

func TestTextsFlightEndsByItsOwnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := true
		source := &fakeSource{before: func(ctx context.Context, _ quality.Checkpoint) error {
			if !hang {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}}
		texts := newTexts(t, source, func(config *cache.TextsConfig) { config.SourceTimeout = 3 * time.Second })
		begin := time.Now()
		_, _, err := texts.TextEmbeddings(context.Background(), checkpointNamed("a"))
		wantKind(t, err, quality.KindDeadlineExceeded)
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("a caller without a deadline waited %s, want 3s", took)
		}
		hang = false
		wantText(t, texts, checkpointNamed("a"), false)
	})
}

func TestTextsRemembersNoFailure(t *testing.T) {
	overloaded := quality.Errorf(quality.KindOverloaded, "full")
	for _, test := range []struct {
		name   string
		before func(context.Context, quality.Checkpoint) error
		want   quality.Kind
	}{
		{"an error of the source", func(context.Context, quality.Checkpoint) error { return overloaded },
			quality.KindOverloaded},
		{"an error without a kind", func(context.Context, quality.Checkpoint) error { return errors.New("odd") },
			quality.KindInternal},
		{"a panic", func(context.Context, quality.Checkpoint) error { panic("injected") }, quality.KindInternal},
	} {
		t.Run(test.name, func(t *testing.T) {
			source, remote := &fakeSource{before: test.before}, newMemory(t)
			texts := newTexts(t, source, func(config *cache.TextsConfig) { config.Remote = remote })
			for range 2 {
				_, cached, err := texts.TextEmbeddings(t.Context(), checkpointNamed("a"))
				if got := quality.KindOf(err); got != test.want || cached {
					t.Errorf("error = %v of kind %s, cached = %t; want kind %s, not cached", err, got, cached, test.want)
				}
			}
			if got := source.count("a"); got != 2 {
				t.Errorf("the source ran %d times in two calls, want 2", got)
			}
			source.before = nil
			wantText(t, texts, checkpointNamed("a"), false)
			closeTexts(t, texts)
			if got := remote.Stats().Entries; got != 1 {
				t.Errorf("the remote store has %d entries, want the one good value", got)
			}
		})
	}
}

func TestTextsSharesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		source := &fakeSource{before: func(context.Context, quality.Checkpoint) error { <-release; panic("injected") }}
		texts := newTexts(t, source, nil)
		var group sync.WaitGroup
		for range 3 {
			group.Go(func() {
				_, _, err := texts.TextEmbeddings(t.Context(), checkpointNamed("a"))
				wantKind(t, err, quality.KindInternal)
			})
		}
		synctest.Wait()
		close(release)
		group.Wait()
		if got := source.count("a"); got != 1 {
			t.Errorf("the source ran %d times, want 1", got)
		}
	})
}

// badSource gives one unusable row.
type badSource struct{ row quality.Embedding }

func (s badSource) EmbedPrompts(
	_ context.Context, _ quality.Encoder, c quality.Checkpoint,
) (quality.TextEmbeddings, error) {
	text := textOf(c)
	text[3] = s.row
	return text, nil
}

func (s badSource) EmbedPrompt(context.Context, quality.Encoder, string) (quality.Embedding, error) {
	return s.row, nil
}

func TestTextsRefusesUnusableEmbeddings(t *testing.T) {
	nan := unit(testDim, 1)
	nan[2] = float32(math.NaN())
	inf := unit(testDim, 1)
	inf[2] = float32(math.Inf(1))
	for _, test := range []struct {
		name string
		row  quality.Embedding
	}{
		{"missing", nil},
		{"too short", unit(testDim-1, 1)},
		{"too long", unit(testDim+1, 1)},
		{"not a number", nan},
		{"infinite", inf},
		{"all zero", make(quality.Embedding, testDim)},
	} {
		t.Run(test.name, func(t *testing.T) {
			memory := newMemory(t)
			texts := newTexts(t, badSource{test.row}, func(config *cache.TextsConfig) { config.Memory = memory })
			_, _, err := texts.TextEmbeddings(t.Context(), checkpointNamed("a"))
			wantKind(t, err, quality.KindModelBadOutput)
			if got := memory.Stats().Entries; got != 0 {
				t.Errorf("%d values were kept, want none", got)
			}
		})
	}
}

func TestTextsRefusesAnotherEncodersCheckpoint(t *testing.T) {
	source := &fakeSource{}
	texts := newTexts(t, source, nil)
	c := checkpointNamed("a")
	c.Encoder = quality.DigestOf([]byte("another encoder"))
	_, _, err := texts.TextEmbeddings(t.Context(), c)
	wantKind(t, err, quality.KindEncoderMismatch)
	if got := source.count("a"); got != 0 {
		t.Errorf("the source ran %d times, want 0", got)
	}
}

func TestTextsSurvivesBrokenStores(t *testing.T) {
	broken := errors.New("broken")
	memory, remote := &faultyStore{Store: newMemory(t)}, &faultyStore{Store: newMemory(t)}
	for _, s := range []*faultyStore{memory, remote} {
		s.getErr.Store(&broken)
		s.setErr.Store(&broken)
	}
	m, source := newMetrics(t), &fakeSource{}
	texts := newTexts(t, source, func(config *cache.TextsConfig) {
		config.Memory, config.Remote, config.Meter = memory, remote, m.provider
	})
	wantText(t, texts, checkpointNamed("a"), false)
	wantText(t, texts, checkpointNamed("a"), false)
	closeTexts(t, texts)

	if diff := cmp.Diff(map[string]int64{
		"cache=text,layer=memory,outcome=error": 2,
		"cache=text,layer=redis,outcome=error":  2,
	}, m.values(t, "agiqa.cache.requests")); diff != "" {
		t.Errorf("agiqa.cache.requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int64{
		"cache=text,layer=memory,operation=read,reason=other":  2,
		"cache=text,layer=memory,operation=write,reason=other": 2,
		"cache=text,layer=redis,operation=read,reason=other":   2,
		"cache=text,layer=redis,operation=write,reason=other":  2,
	}, m.values(t, "agiqa.cache.errors")); diff != "" {
		t.Errorf("agiqa.cache.errors (-want +got):\n%s", diff)
	}
}

func TestTextsJittersTheTimeToLive(t *testing.T) {
	const ttl, fraction, n = time.Hour, 0.25, 200
	var mu sync.Mutex
	seen := map[time.Duration]bool{}
	memory := &faultyStore{Store: newMemory(t), onSet: func(_ context.Context, got time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		seen[got] = true
		if got > ttl || got < ttl*3/4 {
			t.Errorf("a value was kept for %s, want between %s and %s", got, ttl*3/4, ttl)
		}
	}}
	texts := newTexts(t, &fakeSource{}, func(config *cache.TextsConfig) {
		config.Memory, config.TTL, config.JitterFraction = memory, ttl, fraction
	})
	for i := range n {
		wantText(t, texts, checkpointNamed(fmt.Sprint(i)), false)
	}
	if len(seen) < n/2 {
		t.Errorf("%d values have %d different times to live, want nearly as many", n, len(seen))
	}
}

func TestTextsBoundsRemoteWrites(t *testing.T) {
	const most = 2
	synctest.Test(t, func(t *testing.T) {
		remote := &faultyStore{Store: newMemory(t)}
		release := make(chan struct{})
		remote.onSet = func(context.Context, time.Duration) { <-release }
		m := newMetrics(t)
		texts := newTexts(t, &fakeSource{}, func(config *cache.TextsConfig) {
			config.Remote, config.Meter, config.MaxWrites = remote, m.provider, most
		})
		for i := range 5 {
			wantText(t, texts, checkpointNamed(fmt.Sprint(i)), false) // none waits for the stuck writes
		}
		synctest.Wait()
		close(release)
		closeTexts(t, texts)
		if diff := cmp.Diff(map[string]int64{
			"cache=text,layer=redis,operation=write,reason=dropped": 5 - most,
		}, m.values(t, "agiqa.cache.errors")); diff != "" {
			t.Errorf("agiqa.cache.errors (-want +got):\n%s", diff)
		}
	})
}

func TestTextsRemoteWriteHasItsOwnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := &faultyStore{Store: newMemory(t)}
		var took time.Duration
		remote.onSet = func(ctx context.Context, _ time.Duration) {
			begin := time.Now()
			<-ctx.Done()
			took = time.Since(begin)
		}
		texts := newTexts(t, &fakeSource{}, func(config *cache.TextsConfig) {
			config.Remote, config.WriteTimeout = remote, 100*time.Millisecond
		})
		ctx, cancel := context.WithCancel(t.Context())
		if _, _, err := texts.TextEmbeddings(ctx, checkpointNamed("a")); err != nil {
			t.Fatal(err)
		}
		cancel() // the request is over; the write is not
		closeTexts(t, texts)
		if took != 100*time.Millisecond {
			t.Errorf("the write was given %s, want 100ms", took)
		}
	})
}

func TestTextsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{before: func(ctx context.Context, _ quality.Checkpoint) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		texts := newTexts(t, source, func(config *cache.TextsConfig) { config.SourceTimeout = time.Hour })
		var waiting error
		var group sync.WaitGroup
		group.Go(func() { _, _, waiting = texts.TextEmbeddings(t.Context(), checkpointNamed("a")) })
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := texts.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close with a call that does not end: %v, want deadline exceeded", err)
		}
		group.Wait()
		wantKind(t, waiting, quality.KindDraining)
		_, _, err := texts.TextEmbeddings(t.Context(), checkpointNamed("b"))
		wantKind(t, err, quality.KindDraining)
	})
}

func TestTextsConfigNamesEveryFault(t *testing.T) {
	valid := cache.DefaultTextsConfig()
	valid.Encoder, valid.Memory = testEncoder, newMemory(t)
	for _, test := range []struct {
		name   string
		config cache.TextsConfig
		want   []string
	}{
		{"valid", valid, nil},
		{"zero", cache.TextsConfig{},
			[]string{"Encoder.Digest", "Encoder.Dim", "Memory", "TTL", "SourceTimeout", "LogInterval"}},
		{"a remote store without keys or bounds", func() cache.TextsConfig {
			c := valid
			c.Remote, c.WriteTimeout, c.MaxWrites = newMemory(t), 0, 0
			return c
		}(), []string{"Keys", "WriteTimeout", "MaxWrites"}},
		{"jitter of one", func() cache.TextsConfig { c := valid; c.JitterFraction = 1; return c }(),
			[]string{"JitterFraction"}},
		{"jitter below zero", func() cache.TextsConfig { c := valid; c.JitterFraction = -0.1; return c }(),
			[]string{"JitterFraction"}},
		{"jitter not a number", func() cache.TextsConfig { c := valid; c.JitterFraction = math.NaN(); return c }(),
			[]string{"JitterFraction"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := cache.NewTexts(test.config, &fakeSource{})
			wantFaults(t, err, test.want)
		})
	}
	if _, err := cache.NewTexts(valid, nil); err == nil {
		t.Error("NewTexts without a source: no error")
	}
}
