package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"
)

// startProfiling opens net/http/pprof on a port of its own, where the settings
// name one. Profiles show code and memory, so they are never on the port that
// clients use.
func (s *Server) startProfiling() error {
	if s.settings.PprofListen == "" {
		return nil
	}
	listener, err := Listen("pprof-listen", s.settings.PprofListen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second,
		ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	s.logger.Info("profiles", "address", "http://"+listener.Addr().String()+"/debug/pprof/")
	s.onClose(func(context.Context) error {
		err := server.Close() // a profile under way is not waited for
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, fmt.Errorf("pprof: %w", served))
		}
		return err
	})
	return nil
}
