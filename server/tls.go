package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/internal/tlsfiles"
)

// tlsInterval is how often the files of the certificate are looked at.
const tlsInterval = 5 * time.Second

// loadCertificate reads the certificate, where the settings name one.
func (s *Server) loadCertificate() (err error) {
	switch {
	case s.settings.TLSCert == "" && s.settings.TLSKey == "":
		return nil
	case s.settings.TLSCert == "":
		return errors.New("setting tls-key: needs tls-cert")
	case s.settings.TLSKey == "":
		return errors.New("setting tls-cert: needs tls-key")
	}
	if s.certificate, err = tlsfiles.New(s.settings.TLSCert, s.settings.TLSKey); err != nil {
		return fmt.Errorf("settings tls-cert and tls-key: %w", err)
	}
	return nil
}

// measureCertificate shows when the certificate expires, and returns what counts
// its changes.
func (s *Server) measureCertificate(provider metric.MeterProvider) error {
	if s.certificate == nil {
		return nil
	}
	meter := provider.Meter("github.com/agiqa/agiqa/server")
	expiry, err1 := metrics.TLSExpiry.New(meter)
	reloads, err2 := metrics.TLSReloads.New(meter)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	s.reloads = reloads
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(expiry, s.certificate.Expires().Unix())
		return nil
	}, expiry)
	return err
}

// Reload reads the certificate again now instead of within seconds. Nothing else
// needs it: everything else is read when the server starts.
func (s *Server) Reload() {
	select {
	case s.reload <- struct{}{}:
	default: // about to be done
	}
}

// followCertificate uses new files of the certificate until ctx ends.
func (s *Server) followCertificate(ctx context.Context, interval time.Duration) {
	if s.certificate == nil {
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.reload:
			s.logger.Info("SIGHUP: reading the certificate again")
		}
		changed, err := s.certificate.Reload()
		switch {
		case err != nil:
			s.reloads.Add(ctx, 1, metric.WithAttributes(metrics.Outcome("failed")))
			s.logger.Error("the new certificate can't be used; the old one stays in use", "error", err,
				"expires", s.certificate.Expires())
		case changed:
			s.reloads.Add(ctx, 1, metric.WithAttributes(metrics.Outcome(metrics.OK)))
			s.logger.Info("a new certificate is in use", "expires", s.certificate.Expires())
		}
	}
}
