// Package otlptest is an OTLP/HTTP receiver for tests: it takes what the SDK
// sends (protobuf, gzip) and what Triton sends (JSON), and hands the spans of
// a trace back as a tree. It is a real server on a loopback port; it keeps
// everything in memory and stores nothing.
package otlptest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/agiqa/agiqa/telemetry/tracelog"
)

// Span is one span that arrived.
type Span struct {
	Trace, ID, Parent string // hexadecimal; Parent is empty for a root
	Name              string
	Kind              int    // as OTLP numbers them: 2 is a server's
	Failed            bool   // its status is an error
	Service           string // service.name of its resource
	Start, End        uint64 // nanoseconds since the epoch
	Attributes        map[string]string
	Links             []tracelog.Link
}

// Receiver collects spans. Its methods may be called from any goroutine.
type Receiver struct {
	server *httptest.Server

	mu      sync.Mutex
	spans   []Span
	faults  []error
	arrived chan struct{} // closed and replaced at every arrival
}

const (
	maxBody = 64 << 20 // far above a batch of the SDK's largest size
	failed  = 2        // OTLP's code of a status that is an error
)

// Start returns a Receiver that is closed at the end of the test.
func Start(t testing.TB) *Receiver {
	t.Helper()
	r := &Receiver{arrived: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", r.take)
	r.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		r.server.Close()
		for _, err := range r.faults {
			t.Errorf("otlp receiver: %v", err)
		}
	})
	return r
}

// URL is the base URL, without /v1/traces.
func (r *Receiver) URL() string { return r.server.URL }

func (r *Receiver) take(w http.ResponseWriter, req *http.Request) {
	spans, isJSON, err := read(req)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.faults = append(r.faults, err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.spans = append(r.spans, spans...)
	close(r.arrived)
	r.arrived = make(chan struct{})
	w.Header().Set("Content-Type", req.Header.Get("Content-Type"))
	w.WriteHeader(http.StatusOK)
	if isJSON {
		_, _ = io.WriteString(w, "{}")
	}
}

// Spans returns all that have arrived so far, in the order of arrival.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}

// Trace returns the spans of a trace that have arrived, by start.
func (r *Receiver) Trace(id string) []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Span
	for _, s := range r.spans {
		if s.Trace == id {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Span) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

// Await waits until done says that the spans of a trace are all there. When ctx
// ends before, it returns what has arrived, and false.
func (r *Receiver) Await(ctx context.Context, id string, done func([]Span) bool) ([]Span, bool) {
	for {
		r.mu.Lock()
		arrived := r.arrived
		r.mu.Unlock()
		spans := r.Trace(id)
		if done(spans) {
			return spans, true
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return spans, false
		}
	}
}

// Tree draws spans as an indented tree, orphans at the end.
func Tree(spans []Span) string {
	known := map[string]bool{}
	for _, s := range spans {
		known[s.ID] = true
	}
	var b strings.Builder
	var draw func(parent string, depth int)
	draw = func(parent string, depth int) {
		for _, s := range spans {
			if s.Parent == parent {
				fmt.Fprintf(&b, "%s%s (%s)\n", strings.Repeat("  ", depth), s.Name, s.Service)
				draw(s.ID, depth+1)
			}
		}
	}
	draw("", 0)
	for _, s := range spans {
		if s.Parent != "" && !known[s.Parent] {
			fmt.Fprintf(&b, "orphan: %s (%s)\n", s.Name, s.Service)
		}
	}
	return b.String()
}

// Path returns the names from the root down to span.
func Path(spans []Span, span Span) []string {
	byID := map[string]Span{}
	for _, s := range spans {
		byID[s.ID] = s
	}
	path := []string{span.Name}
	for parent, ok := byID[span.Parent]; ok; parent, ok = byID[parent.Parent] {
		path = append([]string{parent.Name}, path...)
	}
	return path
}

func read(req *http.Request) (spans []Span, isJSON bool, err error) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody))
	if err != nil {
		return nil, false, err
	}
	export, isJSON, err := tracelog.Parse(req.Header, body)
	for _, s := range export.Spans() {
		attributes := map[string]string{}
		for _, a := range s.Attributes {
			attributes[a.Key] = a.Text()
		}
		spans = append(spans, Span{
			Trace: s.Trace, ID: s.ID, Parent: s.Parent, Name: s.Name, Kind: s.Kind, Failed: s.Status.Code == failed,
			Service: s.Service, Start: uint64(s.Start), End: uint64(s.End), Attributes: attributes, Links: s.Links,
		})
	}
	return spans, isJSON, err
}
