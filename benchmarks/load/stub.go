package load

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// Stub is an HTTP server that reads a request and answers a few bytes, after
// ServiceTime: what the generator measures is mostly itself.
type Stub struct {
	ServiceTime time.Duration
	// Concurrency is how many requests it works on at once; 0: any number.
	Concurrency int
}

// stubAnswer has the shape of a score, and no score.
const stubAnswer = `{"results":[],"stub":true,"timing_ms":{"total":0}}` + "\n"

// Serve answers on l until ctx ends.
func (s Stub) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	err := srv.Serve(l)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (s Stub) handler() http.Handler {
	var turns chan struct{}
	if s.Concurrency > 0 {
		turns = make(chan struct{}, s.Concurrency)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return // the caller is gone
		}
		if turns != nil {
			select {
			case turns <- struct{}{}:
				defer func() { <-turns }()
			case <-r.Context().Done():
				return
			}
		}
		if s.ServiceTime > 0 {
			Roughly(r.Context(), s.ServiceTime)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, stubAnswer) // a caller that left is its own affair
	})
}
