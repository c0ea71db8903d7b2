package tracelog

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxBody is far above a batch of an exporter's largest size.
const maxBody = 64 << 20

// forwardTimeout bounds the way on to a collector.
const forwardTimeout = 5 * time.Second

// Receiver is an OTLP/HTTP endpoint on a loopback port that writes to a File.
type Receiver struct {
	file    *File
	forward string // URL of the collector's /v1/traces; "": none
	client  *http.Client
	logger  *slog.Logger
	server  *http.Server
	address string
	done    chan struct{}
}

// Listen starts a Receiver that writes to file. With endpoint, the base URL of
// a collector, what arrives is sent on there and the collector's answer is
// given. The file is the caller's to close, after the Receiver.
func Listen(file *File, endpoint string, logger *slog.Logger) (*Receiver, error) {
	r := &Receiver{file: file, client: &http.Client{Timeout: forwardTimeout}, logger: logger, done: make(chan struct{})}
	if endpoint != "" {
		forward, err := url.JoinPath(endpoint, "v1", "traces")
		if err != nil {
			return nil, err
		}
		r.forward = forward
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.address = listener.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", r.take)
	r.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
	go func() {
		defer close(r.done)
		if err := r.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Warn("traces are no longer recorded", "error", err)
		}
	}()
	return r, nil
}

// URL is the base URL that exporters are given.
func (r *Receiver) URL() string { return "http://" + r.address }

// Close takes what is under way and stops.
func (r *Receiver) Close(ctx context.Context) error {
	err := r.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, r.server.Close())
	}
	<-r.done
	return err
}

func (r *Receiver) take(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	export, isJSON, err := Parse(req.Header, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := r.file.Append(export); err != nil {
		r.logger.Warn("writing spans failed", "error", err)
		http.Error(w, "writing the file failed", http.StatusServiceUnavailable)
		return
	}
	if r.forward != "" {
		if err := r.send(req, body); err != nil {
			http.Error(w, "the collector rejected the spans", http.StatusServiceUnavailable)
			return
		}
	}
	w.Header().Set("Content-Type", req.Header.Get("Content-Type"))
	w.WriteHeader(http.StatusOK)
	if isJSON { // an empty message is "{}" in one form and no byte in the other
		_, _ = io.WriteString(w, "{}")
	}
}

// Parse reads the body of an export by its headers: in the JSON form, which is said,
// or as protobuf, zipped or not.
func Parse(header http.Header, body []byte) (e Export, isJSON bool, err error) {
	switch header.Get("Content-Encoding") {
	case "", "identity":
	case "gzip":
		zipped, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return e, false, fmt.Errorf("gzip: %w", err)
		}
		if body, err = io.ReadAll(io.LimitReader(zipped, maxBody)); err != nil {
			return e, false, fmt.Errorf("gzip: %w", err)
		}
	default:
		return e, false, errors.New("unsupported Content-Encoding: want gzip or identity")
	}
	switch kind, _, _ := mime.ParseMediaType(header.Get("Content-Type")); kind {
	case "application/json":
		e, err = parseJSON(body)
		return e, true, err
	case "application/x-protobuf":
		e, err = parseProto(body)
		return e, false, err
	}
	return e, false, errors.New("unsupported Content-Type: want application/json or application/x-protobuf")
}

// send passes a body on as it came.
func (r *Receiver) send(req *http.Request, body []byte) error {
	onward, err := http.NewRequestWithContext(req.Context(), http.MethodPost, r.forward, bytes.NewReader(body))
	if err != nil {
		return err
	}
	onward.Header = req.Header.Clone() // the collector may want a key
	for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Accept-Encoding"} {
		onward.Header.Del(name) // of this connection only
	}
	res, err := r.client.Do(onward)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20)) // so that the connection is used again
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}
