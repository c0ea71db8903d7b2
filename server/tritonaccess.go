package server

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/tlsfiles"
	"github.com/agiqa/agiqa/tritonclient"
)

// tritonAccess is what Tritons elsewhere ask of their callers. An embedded one
// asks for nothing: its socket is this user's.
type tritonAccess struct {
	tls *tls.Config // nil: plain text
	key string
}

// TritonConfig is how the settings say to reach Tritons that run elsewhere. An
// error names the setting.
func TritonConfig(s config.Settings) (tritonclient.Config, error) {
	access, err := newTritonAccess(s)
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses, cfg.TLS, cfg.ControlKey = s.Triton, access.tls, access.key
	return cfg, err
}

// systemCA is the value of triton-ca for the authorities that the machine trusts.
const systemCA = "system"

func newTritonAccess(s config.Settings) (tritonAccess, error) {
	access := tritonAccess{key: string(s.TritonControlKey)}
	if s.TritonCA == "" {
		if s.TritonCert != "" || s.TritonKey != "" {
			return access, errors.New("settings triton-cert and triton-key: they are for TLS, which the setting triton-ca " +
				"turns on")
		}
		return access, nil
	}
	access.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if s.TritonCA != systemCA { // nil roots are the system's
		var err error
		if access.tls.RootCAs, err = tlsfiles.Authorities(s.TritonCA); err != nil {
			return access, fmt.Errorf("setting triton-ca: %w", err)
		}
	}
	if (s.TritonCert == "") != (s.TritonKey == "") {
		return access, errors.New("settings triton-cert and triton-key: one of them is missing")
	}
	if s.TritonCert == "" {
		return access, nil
	}
	read := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(s.TritonCert, s.TritonKey)
		return &pair, err
	}
	if _, err := read(nil); err != nil {
		return access, fmt.Errorf("settings triton-cert and triton-key: %w", err)
	}
	access.tls.GetClientCertificate = read
	return access, nil
}
