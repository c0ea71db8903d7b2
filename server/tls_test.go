package server

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/agiqa/agiqa/internal/certtest"
	"github.com/agiqa/agiqa/internal/config"
)

// TestFollowCertificate: new files are used by themselves, and counted.
func TestFollowCertificate(t *testing.T) {
	authority, dir := certtest.NewAuthority(t), t.TempDir()
	s := &Server{settings: config.Default(), logger: slog.New(slog.DiscardHandler)}
	s.settings.TLSCert, s.settings.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	soon, later := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	authority.IssueLocal(t, certtest.Pair{Cert: s.settings.TLSCert, Key: s.settings.TLSKey}, 1, soon)
	if err := s.loadCertificate(); err != nil {
		t.Fatal(err)
	}
	reader := sdkmetric.NewManualReader()
	if err := s.measureCertificate(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.followCertificate(ctx, time.Millisecond) }()
	defer func() { stop(); <-done }()
	authority.IssueLocal(t, certtest.Pair{Cert: s.settings.TLSCert, Key: s.settings.TLSKey}, 2, later)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		expiry, reloads := collect(t, reader)
		if expiry == later.Unix() && reloads["ok"] == 1 { // half of the files may have been read in between
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the certificate expires at %d, want %d; reloads %v", expiry, later.Unix(), reloads)
		}
	}
}

func collect(t *testing.T, reader sdkmetric.Reader) (expiry int64, reloads map[string]int64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	reloads = map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Gauge[int64]:
				expiry = data.DataPoints[0].Value
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					outcome, _ := p.Attributes.Value("outcome")
					reloads[outcome.AsString()] = p.Value
				}
			}
		}
	}
	return expiry, reloads
}

// TestCertificateSettings: both files or none, and what is wrong is said.
func TestCertificateSettings(t *testing.T) {
	authority, dir := certtest.NewAuthority(t), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	authority.IssueLocal(t, certtest.Pair{Cert: cert, Key: key}, 1, time.Now().Add(time.Hour))
	for _, test := range []struct{ cert, key, want string }{
		{cert, "", "setting tls-cert: needs tls-key"}, {"", key, "setting tls-key: needs tls-cert"},
		{cert, cert, "settings tls-cert and tls-key"}, {filepath.Join(dir, "absent"), key, "no such file"},
	} {
		s := &Server{settings: config.Default()}
		s.settings.TLSCert, s.settings.TLSKey = test.cert, test.key
		if err := s.loadCertificate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q, %q: %v, want %q", test.cert, test.key, err, test.want)
		}
	}
}
