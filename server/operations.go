package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/agiqa/agiqa/internal/connlimit"
)

// maxOperations is how many connections the operational listener serves at once.
const maxOperations = 64

// startOperations opens the operational listener, where the settings name one:
// health, metrics and net/http/pprof on a port that no client of the API can
// fill. Profiles show code and memory, so they are never on the port that
// clients use.
func (s *Server) startOperations() error {
	if s.settings.OperationsListen == "" {
		return nil
	}
	listener, err := Listen("operations-listen", s.settings.OperationsListen)
	if err != nil {
		return err
	}
	limited, err := connlimit.New(listener, connlimit.Config{Max: maxOperations, Client: s.gateway.ConnectionClient})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	profiles := http.NewServeMux()
	profiles.HandleFunc("/debug/pprof/", pprof.Index)
	profiles.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	profiles.HandleFunc("/debug/pprof/profile", pprof.Profile)
	profiles.HandleFunc("/debug/pprof/trace", pprof.Trace)
	profiles.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	server := &http.Server{
		Handler:           s.gateway.Operations(profiles, onLoopback(listener)),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ConnState: limited.Changed,
		ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(limited) }()
	s.logger.Info("operations", "address", "http://"+listener.Addr().String())
	s.onClose("the operational listener", stopMark, func(context.Context) error {
		err := server.Close() // a profile under way is not waited for
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, fmt.Errorf("operations-listen: %w", served))
		}
		return err
	})
	return nil
}

// Bounds of a connection that clients can't be given more of.
const (
	headerTimeout  = 5 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// limitConnections bounds the connections of the main listener, and counts what
// it closes.
func (s *Server) limitConnections(listener net.Listener) (*connlimit.Listener, error) {
	limited, err := connlimit.New(listener, connlimit.Config{
		Max: s.settings.MaxConnections, Client: s.gateway.ConnectionClient, Closed: s.gateway.ConnectionClosed,
	})
	if err != nil {
		return nil, err
	}
	watch := s.http.ConnState
	s.http.ConnState = func(c net.Conn, state http.ConnState) {
		watch(c, state)
		limited.Changed(c, state)
	}
	return limited, nil
}
