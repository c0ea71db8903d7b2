package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"image/color"
	"image/draw"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// plain is a picture all of one shade, which any preparation leaves as it is.
func plain(shade byte) []byte {
	img := image.NewRGBA(image.Rect(0, 0, 32, 32))
	draw.Draw(img, img.Bounds(), image.NewUniform(color.Gray{Y: shade}), image.Point{}, draw.Src)
	return testimages.PNGOf(img)
}

// arrivals counts how often each shade reached Triton.
type arrivals struct {
	mu sync.Mutex
	of map[byte]int
}

// note counts the images of a call and reports whether one has the shade.
func (a *arrivals) note(req *inferencepb.ModelInferRequest, shade byte) (has bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, in := range req.GetInputs() {
		if in.GetName() != "pixels" {
			continue
		}
		for raw := range slices.Chunk(req.GetRawInputContents()[i], quality.PixelsLen) {
			a.of[raw[0]]++
			has = has || raw[0] == shade
		}
	}
	return has
}

// F39: Triton dies whenever one image arrives, among others that callers send
// at the same time and again until they are answered. The others are answered,
// and the image soon reaches Triton no more.
func TestF39PoisonedImage(t *testing.T) {
	const poison, innocents = 200, 24
	r := newRig(t, func(p *plan) {
		p.scoring.Batch = scoring.DefaultBatchConfig()
		p.scoring.Concurrency = innocents + 1
	})
	seen := &arrivals{of: map[byte]int{}}
	r.triton.OnInfer(tritontest.AllModels, func(ctx context.Context, req *inferencepb.ModelInferRequest) error {
		if seen.note(req, poison) {
			r.triton.Crash()
			<-ctx.Done()
		}
		return ctx.Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	// until sends an image again until its answer is the last one.
	until := func(shade byte, last func(reply) bool) reply {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			a := r.post("/v1/score", plain(shade), "image/png")
			if last(a) {
				return a
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Errorf("shade %d has no answer but %d: %s", shade, a.status, a.body)
				return a
			}
		}
	}
	var callers sync.WaitGroup
	var problem reply
	callers.Go(func() {
		problem = until(poison, func(a reply) bool { return bytes.Contains(a.body, []byte(quality.KindImageQuarantined)) })
	})
	for i := range innocents {
		callers.Go(func() { until(byte(10+i), func(a reply) bool { return a.status == 200 }) })
	}
	callers.Wait()
	if t.Failed() {
		return
	}
	if p := problem.wantProblem(t, quality.KindImageQuarantined); p.RetryAfterMS < 50_000 || p.RetryAfterMS > 60_000 {
		t.Errorf("retry_after_ms %d, want the rest of a minute", p.RetryAfterMS)
	}
	deaths := seen.of[poison]
	if deaths < 2 || deaths > 3 {
		t.Errorf("the image reached Triton %d times, want two or three: perhaps once joined with others, and twice alone", deaths)
	}
	for i := range innocents {
		if n := seen.of[byte(10+i)]; n < 1 || n > deaths+1 {
			t.Errorf("shade %d reached Triton %d times, Triton died %d times", 10+i, n, deaths)
		}
	}
	if got := r.sums("agiqa.images.quarantined")[""]; got != 1 {
		t.Errorf("agiqa.images.quarantined is %d, want 1", got)
	}

	// In one request with others it fails alone, and stays away from Triton.
	body, contentType := form(t, "image", string(plain(100)), "image", string(plain(poison)), "image", string(plain(101)))
	results := r.post("/v1/score", body, contentType).scores(t).Results
	if results[0].Score == nil || results[2].Score == nil || results[1].Error == nil || results[1].Error.Code != quality.KindImageQuarantined {
		text, _ := json.Marshal(results)
		t.Errorf("results %s, want scores beside image_quarantined", text)
	}
	if seen.of[poison] != deaths {
		t.Error("the image reached Triton in its quarantine")
	}
	if got := r.sums("agiqa.problems")["code=image_quarantined"]; got != 1 {
		t.Errorf("agiqa.problems counts %d image_quarantined, want the one that was the whole answer", got)
	}
}
