package load_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/agiqa/agiqa/benchmarks/load"
)

// TestTrends watches a server whose goroutines grow by two with each look.
func TestTrends(t *testing.T) {
	t.Parallel()
	var looks int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		looks++ // looks come one after another
		fmt.Fprintf(w, "# TYPE go_goroutine_count gauge\nother 5\ngo_goroutine_count{otel_scope_name=\"runtime\"} %d\n",
			10+2*looks)
	}))
	defer server.Close()
	w := load.Watcher{Metrics: server.URL}
	var samples []load.Sample
	for i := range 11 {
		s, err := w.Look(t.Context(), time.Duration(i)*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, s)
	}
	soak := load.SummariseSoak(someRun(), samples, nil)
	if got := soak.Trends["goroutines"]; got == nil || got.First != 12 || got.Last != 32 || got.PerHour != 2 {
		t.Errorf("trend %+v, want 12 to 32, 2 an hour", got)
	}
	if soak.Trends["rss_kb"] != nil {
		t.Error("a trend of what was not seen")
	}
}

// TestWatchStops ends with its context and tells of looks that failed.
func TestWatchStops(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	samples, err := load.Watcher{Metrics: server.URL, Every: time.Millisecond}.Watch(ctx)
	if len(samples) != 0 || err == nil {
		t.Errorf("%d samples, error %v", len(samples), err)
	}
}
