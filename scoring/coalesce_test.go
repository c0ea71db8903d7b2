package scoring_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

func coalesced(t *testing.T, b *bench, n int,
	score func(i int) (scoring.Response, error)) (responses []scoring.Response, errs []error) {
	t.Helper()
	responses, errs = make([]scoring.Response, n), make([]error, n)
	done := make(chan int, n)
	for i := range n {
		go func() { responses[i], errs[i] = score(i); done <- i }()
		synctest.Wait() // so that the first leads
	}
	for range n {
		<-done
	}
	return responses, errs
}

// F19: many requests for one image that nobody knows: it is decoded and encoded
// once, and each request is scored by its own checkpoint.
func TestEqualImagesAreEncodedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, reader := measured(t, scoring.Config{Concurrency: 10, Queue: 100, RetryAfter: time.Second})
		b.slow(100 * time.Millisecond)
		responses, errs := coalesced(t, b, 50, func(i int) (scoring.Response, error) {
			return b.service.Score(t.Context(),
				scoring.Request{Items: items("good1"), Checkpoints: []quality.Checkpoint{checkpointOf(fmt.Sprint(i%3), byte(i%3))}})
		})
		cached := 0
		for i, r := range responses {
			if errs[i] != nil {
				t.Fatal(errs[i])
			}
			if got, want := r.Results[0].Scores[0].Score, float32('1'+1000*(i%3)); got != want {
				t.Errorf("request %d: score %g, want %g", i, got, want)
			}
			if r.Results[0].EmbeddingCached {
				cached++
			}
		}
		if b.preparer.decoded != 1 || cached != 49 {
			t.Errorf("decoded %d times, %d took another's embedding, want 1 and 49", b.preparer.decoded, cached)
		}
		if got := metricstest.Values(t, reader, "agiqa.images.coalesced")[""]; got != 9 {
			t.Errorf("agiqa.images.coalesced is %d, want the 9 that had a turn beside the first; the others found it in the "+
				"cache", got)
		}
	})
}

// A leader that leaves, or whose Triton call fails, takes nobody with it: one
// follower leads in its place.
func TestALeaderThatFailsTakesNobodyWithIt(t *testing.T) {
	for name, fail := range map[string]func(b *bench, leave context.CancelFunc){
		"leaves while it decodes": func(_ *bench, leave context.CancelFunc) { time.AfterFunc(50*time.Millisecond, leave) },
		"Triton fails for it": func(b *bench, leave context.CancelFunc) {
			first := true
			b.triton.fail = func(string) error {
				if first {
					first = false
					return quality.Errorf(quality.KindModelUnavailable, "gone for a moment")
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, scoring.DefaultConfig())
				b.slow(100 * time.Millisecond)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				fail(b, leave)
				_, errs := coalesced(t, b, 8, func(i int) (scoring.Response, error) {
					if i == 0 {
						return b.service.Score(ctx, requestOf("good1"))
					}
					return b.service.Score(t.Context(), requestOf("good1"))
				})
				if errs[0] == nil {
					t.Error("the leader did not fail")
				}
				for i, err := range errs[1:] {
					if err != nil {
						t.Errorf("follower %d: %v", i+1, err)
					}
				}
				if b.preparer.decoded != 2 {
					t.Errorf("decoded %d times, want 2", b.preparer.decoded)
				}
			})
		})
	}
}

// An image's own fault is everybody's; a follower that leaves is missed by
// nobody.
func TestFollowersShareTheImagesFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, scoring.DefaultConfig())
		b.preparer.prepare = func(context.Context, []byte) error {
			time.Sleep(100 * time.Millisecond)
			return quality.Errorf(quality.KindImageCorrupt, "damaged")
		}
		short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		responses, errs := coalesced(t, b, 4, func(i int) (scoring.Response, error) {
			if i == 1 {
				return b.service.Score(short, requestOf("good1"))
			}
			return b.service.Score(t.Context(), requestOf("good1"))
		})
		if quality.KindOf(errs[1]) != quality.KindDeadlineExceeded {
			t.Errorf("the follower without time: %v", errs[1])
		}
		for _, i := range []int{0, 2, 3} {
			if errs[i] != nil || quality.KindOf(responses[i].Results[0].Err) != quality.KindImageCorrupt {
				t.Errorf("request %d: %v, %+v", i, errs[i], responses[i].Results)
			}
		}
		if b.preparer.decoded != 1 {
			t.Errorf("decoded %d times, want 1", b.preparer.decoded)
		}
	})
}

// Two requests that lead what the other follows do not wait for each other.
func TestCrossingRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, scoring.DefaultConfig())
		b.slow(50 * time.Millisecond)
		orders := [][]string{{"good1", "good2", "good3"}, {"good3", "good2", "good4"},
			{"good4", "good1", "good5"}, {"good5", "good3", "good1"}}
		responses, errs := coalesced(t, b, 40, func(i int) (scoring.Response, error) {
			time.Sleep(time.Duration(i%7) * 9 * time.Millisecond)
			return b.service.Score(t.Context(),
				scoring.Request{Items: items(orders[i%4]...), Checkpoints: []quality.Checkpoint{checkpointOf("a", 1)}})
		})
		for i, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
			for k, r := range responses[i].Results {
				name := orders[i%4][k]
				if want := float32(name[len(name)-1]) + 1000; r.Err != nil || r.Scores[0].Score != want {
					t.Errorf("request %d, image %s: %v %v, want %g", i, name, r.Err, r.Scores, want)
				}
			}
		}
		if b.preparer.decoded != 5 {
			t.Errorf("decoded %d times, want each of 5 images once", b.preparer.decoded)
		}
	})
}

// A leader of two images fails; each of its two followers takes over one of
// them. Neither waits for the other one's before its own is done.
func TestFollowersThatTakeOverDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, scoring.DefaultConfig())
		b.slow(100 * time.Millisecond)
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, leave)
		orders := [][]string{{"good1", "good2"}, {"good1", "good2"}, {"good2", "good1"}, {"good2", "good3", "good1"}}
		responses, errs := coalesced(t, b, len(orders), func(i int) (scoring.Response, error) {
			c := t.Context()
			if i == 0 {
				c = ctx
			}
			return b.service.Score(c,
				scoring.Request{Items: items(orders[i]...), Checkpoints: []quality.Checkpoint{checkpointOf("a", 1)}})
		})
		if quality.KindOf(errs[0]) != quality.KindClientClosedRequest {
			t.Errorf("the leader: %v", errs[0])
		}
		for i, r := range responses[1:] {
			if errs[i+1] != nil {
				t.Fatalf("follower %d: %v", i+1, errs[i+1])
			}
			for k, result := range r.Results {
				name := orders[i+1][k]
				if want := float32(name[len(name)-1]) + 1000; result.Err != nil || result.Scores[0].Score != want {
					t.Errorf("follower %d, image %s: %v %v, want %g", i+1, name, result.Err, result.Scores, want)
				}
			}
		}
		if b.preparer.decoded != 5 { // two by the leader, then each of three once
			t.Errorf("decoded %d times, want 5", b.preparer.decoded)
		}
	})
}

// One request takes an embedding from the cache, one from another request, and
// computes one: only the last is a miss and has a decoder. Its texts are
// fetched once.
func TestWhereEmbeddingsComeFrom(t *testing.T) {
	for _, tc := range []struct {
		name        string
		checkpoints []quality.Checkpoint
		calls       []string // with two to the ensemble by those before; in order of text
	}{
		{"ensemble", []quality.Checkpoint{checkpointOf("a", 1)},
			[]string{"ensemble a +", "ensemble a +", "ensemble a +", "head a +", "head a +"}},
		{"heads", []quality.Checkpoint{checkpointOf("a", 1), checkpointOf("b", 2)},
			[]string{"encoder+", "ensemble a +", "ensemble a +", "head a +++", "head b +++"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, scoring.DefaultConfig())
				if _, err := b.service.Score(t.Context(), requestOf("good1")); err != nil {
					t.Fatal(err)
				}
				b.slow(100 * time.Millisecond)
				led := make(chan error, 1)
				go func() { _, err := b.service.Score(t.Context(), requestOf("good2")); led <- err }()
				synctest.Wait()
				texts := 0
				once := b.texts
				b.texts = func(ctx context.Context, c quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
					b.triton.mu.Lock()
					texts++
					b.triton.mu.Unlock()
					return once(ctx, c)
				}
				got, err := b.service.Score(t.Context(), scoring.Request{Items: items("good1", "good2", "good3", "good3"),
					Checkpoints: tc.checkpoints})
				if err := errors.Join(err, <-led); err != nil {
					t.Fatal(err)
				}
				var from []string
				for _, r := range got.Results {
					from = append(from, fmt.Sprintf("%t %q %g", r.EmbeddingCached, r.Decoder, r.Scores[0].Score))
				}
				want := []string{`true "" 1049`, `true "" 1050`, `false "fake 1.0" 1051`, `false "fake 1.0" 1051`}
				if diff := cmp.Diff(want, from); diff != "" {
					t.Errorf("cached, decoder and score (-want +got):\n%s", diff)
				}
				slices.Sort(b.triton.calls)
				if diff := cmp.Diff(tc.calls, b.triton.calls); diff != "" {
					t.Errorf("calls to Triton (-want +got):\n%s", diff)
				}
				if texts != len(tc.checkpoints) {
					t.Errorf("texts were asked for %d times, want once for each of %d checkpoints", texts, len(tc.checkpoints))
				}
			})
		})
	}
}
