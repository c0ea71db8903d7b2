// Package otlptest is an OTLP/HTTP receiver for tests: it takes what the SDK
// sends (protobuf, gzip) and what Triton sends (JSON), and hands the spans of
// a trace back as a tree. It is a real server on a loopback port; it keeps
// everything in memory and stores nothing.
package otlptest

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
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
	Links             []Link // of spans that came as protobuf
}

// Link names another span.
type Link struct{ Trace, ID string }

// Receiver collects spans. Its methods may be called from any goroutine.
type Receiver struct {
	server *httptest.Server

	mu      sync.Mutex
	spans   []Span
	faults  []error
	arrived chan struct{} // closed and replaced at every arrival
}

// maxBody is far above a batch of the SDK's largest size.
const maxBody = 64 << 20

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
	spans, err := read(req)
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
	if strings.Contains(req.Header.Get("Content-Type"), "json") {
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

func read(req *http.Request) ([]Span, error) {
	var body io.Reader = io.LimitReader(req.Body, maxBody)
	if req.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		body = io.LimitReader(unzipped, maxBody)
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	if strings.Contains(req.Header.Get("Content-Type"), "json") {
		return readJSON(data)
	}
	return readProto(data)
}

func readProto(data []byte) ([]Span, error) {
	var export collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(data, &export); err != nil {
		return nil, err
	}
	var out []Span
	for _, rs := range export.GetResourceSpans() {
		service := ""
		for _, a := range rs.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				attributes := map[string]string{}
				for _, a := range s.GetAttributes() {
					_, value, _ := strings.Cut(a.GetValue().String(), ":")
					attributes[a.GetKey()] = strings.Trim(value, `" `)
				}
				var links []Link
				for _, l := range s.GetLinks() {
					links = append(links, Link{hex.EncodeToString(l.GetTraceId()), hex.EncodeToString(l.GetSpanId())})
				}
				out = append(out, Span{
					Links: links, Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
					Name: s.GetName(), Kind: int(s.GetKind()), Failed: s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR, Service: service, Start: s.GetStartTimeUnixNano(), End: s.GetEndTimeUnixNano(), Attributes: attributes,
				})
			}
		}
	}
	return out, nil
}

// readJSON reads OTLP's JSON form, whose ids are hexadecimal, unlike what
// protojson expects of bytes.
func readJSON(data []byte) ([]Span, error) {
	type attribute struct {
		Key   string         `json:"key"`
		Value map[string]any `json:"value"`
	}
	var export struct {
		ResourceSpans []struct {
			Resource struct {
				Attributes []attribute `json:"attributes"`
			} `json:"resource"`
			ScopeSpans []struct {
				Spans []struct {
					TraceID      string `json:"traceId"`
					SpanID       string `json:"spanId"`
					ParentSpanID string `json:"parentSpanId"`
					Name         string `json:"name"`
					Kind         int    `json:"kind"`
					Status       struct {
						Code int `json:"code"`
					} `json:"status"`
					Start      json.Number `json:"startTimeUnixNano"`
					End        json.Number `json:"endTimeUnixNano"`
					Attributes []attribute `json:"attributes"`
				} `json:"spans"`
			} `json:"scopeSpans"`
		} `json:"resourceSpans"`
	}
	if err := json.Unmarshal(data, &export); err != nil {
		return nil, err
	}
	text := func(a attribute) string {
		for _, v := range a.Value {
			return fmt.Sprint(v)
		}
		return ""
	}
	nanoseconds := func(n json.Number) uint64 {
		var v uint64
		_, _ = fmt.Sscan(n.String(), &v)
		return v
	}
	var out []Span
	for _, rs := range export.ResourceSpans {
		service := ""
		for _, a := range rs.Resource.Attributes {
			if a.Key == "service.name" {
				service = text(a)
			}
		}
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				attributes := map[string]string{}
				for _, a := range s.Attributes {
					attributes[a.Key] = text(a)
				}
				out = append(out, Span{
					Trace: strings.ToLower(s.TraceID), ID: strings.ToLower(s.SpanID), Parent: parentID(s.ParentSpanID),
					Name: s.Name, Kind: s.Kind, Failed: s.Status.Code == int(tracepb.Status_STATUS_CODE_ERROR), Service: service, Start: nanoseconds(s.Start), End: nanoseconds(s.End), Attributes: attributes,
				})
			}
		}
	}
	return out, nil
}

// parentID makes an id of zeros, which some exporters write for a root, empty.
func parentID(id string) string {
	if strings.Trim(id, "0") == "" {
		return ""
	}
	return strings.ToLower(id)
}
