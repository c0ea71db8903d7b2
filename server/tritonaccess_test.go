package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/certtest"
	"github.com/agiqa/agiqa/internal/config"
)

func TestTritonAccess(t *testing.T) {
	ca := certtest.NewAuthority(t)
	pair := ca.Issue(t, time.Hour, "client")
	noPEM := filepath.Join(t.TempDir(), "no.pem")
	if err := os.WriteFile(noPEM, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, ca, cert, key string
		tls, client         bool
		fault               string
	}{
		{name: "plain text"},
		{name: "the system's authorities", ca: "system", tls: true},
		{name: "own authority", ca: ca.File, tls: true},
		{name: "client certificate", ca: ca.File, cert: pair.Cert, key: pair.Key, tls: true, client: true},
		{name: "certificate without TLS", cert: pair.Cert, key: pair.Key, fault: "triton-ca"},
		{name: "no such authority", ca: "/no/such/file", fault: "setting triton-ca: open /no/such/file"},
		{name: "no PEM", ca: noPEM, fault: "has no certificate"},
		{name: "no key", ca: ca.File, cert: pair.Cert, fault: "one of them is missing"},
		{name: "no certificate", ca: ca.File, key: pair.Key, fault: "one of them is missing"},
		{name: "another's key", ca: ca.File, cert: pair.Cert, key: ca.Issue(t, time.Hour, "x").Key,
			fault: "settings triton-cert and triton-key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			access, err := newTritonAccess(config.Settings{
				TritonControlKey: "k", TritonCA: tc.ca, TritonCert: tc.cert, TritonKey: tc.key,
			})
			if tc.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fault) {
					t.Errorf("error %v, want %q", err, tc.fault)
				}
				return
			}
			if err != nil || access.key != "k" || (access.tls != nil) != tc.tls {
				t.Fatalf("%+v, %v", access, err)
			}
			if tc.tls && (access.tls.GetClientCertificate != nil) != tc.client {
				t.Error("a client certificate, or none, against the settings")
			}
		})
	}
}
