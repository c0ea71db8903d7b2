package contract

import (
	"bytes"
	"io"
	"net/http"
)

// Handler returns a handler that checks every answer of h, and reports those
// that differ from the document. Answers that h breaks off are not checked, nor
// those to a client that has left.
func (d *Document) Handler(h http.Handler, report func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		copied := &copiedWriter{ResponseWriter: w}
		method, path, client := r.Method, r.URL.EscapedPath(), r.Context()
		h.ServeHTTP(copied, r)
		if client.Err() != nil || copied.err != nil {
			return
		}
		if copied.status == 0 {
			copied.WriteHeader(http.StatusOK)
		}
		if err := d.Check(Exchange{method, path, copied.status, copied.header, copied.body.Bytes()}); err != nil {
			report(err)
		}
	})
}

// copiedWriter keeps what is written through it.
type copiedWriter struct {
	http.ResponseWriter
	status int
	header http.Header
	body   bytes.Buffer
	err    error
}

// WriteHeader implements [http.ResponseWriter].
func (w *copiedWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.header = status, w.Header().Clone()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [io.Writer].
func (w *copiedWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.body.Write(p[:n])
	if err != nil {
		w.err = err
	}
	return n, err
}

// Flush implements [http.Flusher].
func (w *copiedWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap lets [http.ResponseController] reach the connection.
func (w *copiedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Transport checks the answers of a server that is described by Document. Those
// of other servers, which don't bear its X-Request-ID, pass unseen.
type Transport struct {
	Base     http.RoundTripper
	Document func() *Document // asked for each answer to check
	Report   func(error)
}

// RoundTrip implements [http.RoundTripper]. It reads the whole body.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Base.RoundTrip(r)
	if err != nil || resp.Header.Get("X-Request-ID") == "" {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil { // the caller meets it at the same place
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{err}))
		return resp, nil
	}
	x := Exchange{r.Method, r.URL.EscapedPath(), resp.StatusCode, resp.Header, body}
	if err := t.Document().Check(x); err != nil {
		t.Report(err)
	}
	return resp, nil
}

type failing struct{ err error }

// Read implements [io.Reader].
func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Wrapped returns the round tripper whose answers are checked.
func (t *Transport) Wrapped() http.RoundTripper { return t.Base }

// Around returns a copy of t that checks the answers of another round tripper.
func (t *Transport) Around(base http.RoundTripper) http.RoundTripper {
	return &Transport{Base: base, Document: t.Document, Report: t.Report}
}
