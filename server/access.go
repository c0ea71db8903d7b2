package server

import (
	"fmt"
	"net"

	"github.com/agiqa/agiqa/internal/loopback"
)

// onLoopback reports whether only this machine reaches a listener.
func onLoopback(l net.Listener) bool {
	host, _, err := net.SplitHostPort(l.Addr().String())
	return err == nil && loopback.Is(host)
}

// OpenScoring reports whether images are scored without a key: the setting
// scoring-access, which by default goes by who can reach the server. A proxy on
// this machine reaches it for others.
func (s *Server) OpenScoring() bool {
	if s.settings.ScoringAccess != "auto" {
		return s.settings.ScoringAccess == "open"
	}
	return onLoopback(s.listener) && len(s.settings.TrustedProxies) == 0
}

// Access says to people who may score.
func (s *Server) Access() string {
	switch {
	case !s.OpenScoring():
		return "scoring needs an API key (agiqa key create)"
	case onLoopback(s.listener):
		return "everybody on this machine may score; other routes need a key"
	}
	return "everybody may score; other routes need a key"
}

// AccessWarnings are what an operator should know who made the server reachable for
// other machines.
func (s *Server) AccessWarnings() []string {
	if onLoopback(s.listener) {
		return nil
	}
	address := s.listener.Addr().String()
	warnings := []string{fmt.Sprintf("other machines can reach this server: it listens on %s", address)}
	if s.OpenScoring() {
		warnings = append(warnings,
			"everybody who reaches this server may score images without a key: scoring-access is open")
	} else if s.settings.AdminKey == "" {
		warnings = append(warnings, "nobody can create API keys: admin-key isn't set")
	}
	return warnings
}
