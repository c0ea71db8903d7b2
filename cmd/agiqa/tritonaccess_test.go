package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/certtest"
	"github.com/agiqa/agiqa/internal/tritonservertest"
	"github.com/agiqa/agiqa/tritonclient"
)

// TestServeWithKeyAndCertificates: a real Triton that wants a key for its
// control and certificates of its clients. With both a checkpoint comes in;
// whatever is missing or wrong is named by its setting.
func TestServeWithKeyAndCertificates(t *testing.T) {
	needsTriton(t)
	const key = "0123456789abcdef="
	ca, other := certtest.NewAuthority(t), certtest.NewAuthority(t)
	server := ca.Issue(t, time.Hour, "localhost", "127.0.0.1")
	address := tritonservertest.Start(t, repository,
		"--grpc-restricted-protocol=model-repository,shared-memory,trace,logging:control-key="+key,
		"--grpc-use-ssl-mutual=true", "--grpc-server-cert="+server.Cert, "--grpc-server-key="+server.Key,
		"--grpc-root-cert="+ca.File)
	client := ca.Issue(t, time.Hour, "gateway")
	authority := "AGIQA_TRITON_CA=" + ca.File
	certificate := []string{"AGIQA_TRITON_CERT=" + client.Cert, "AGIQA_TRITON_KEY=" + client.Key}
	triton := secureTriton(t, address, ca.File, client)
	for i, tc := range []struct {
		name    string
		env     []string
		refused string // a part of what the import says; "": it succeeds
		outage  string // a part of what the log says, if Triton can't be reached
	}{
		{name: "key and certificate", env: append([]string{authority, "AGIQA_TRITON_CONTROL_KEY=" + key}, certificate...)},
		{name: "no key", env: append([]string{authority}, certificate...), refused: "setting triton-control-key"},
		{name: "another key", env: append([]string{authority, "AGIQA_TRITON_CONTROL_KEY=" + key + "x"}, certificate...),
			refused: "setting triton-control-key"},
		{name: "another authority", env: append([]string{"AGIQA_TRITON_CA=" + other.File}, certificate...),
			outage: "none of the authorities in the setting triton-ca"},
		{name: "no certificate", env: []string{authority}, outage: "settings triton-cert and triton-key"},
		{name: "plain text", outage: "setting triton-ca"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := append([]string{"AGIQA_DATA_DIR=" + t.TempDir(), "AGIQA_ADMIN_KEY=a-key-for-this-test"}, tc.env...)
			if tc.outage != "" {
				p := startListening(t, env, address)
				eventually(t, "the log says "+tc.outage, func() bool {
					outages := p.records("triton can't be reached")
					return len(outages) > 0 && strings.Contains(outages[0]["cause"].(string), tc.outage)
				})
				return
			}
			p := startServe(t, env, address)
			specimen := specimenFor(t, triton, "one", uint64(i+1), 2) // a head that isn't loaded yet
			_, errs, status := runCommand(t, append(env, "AGIQA_URL="+p.url), nil,
				"checkpoint", "import", specimen.dir, "--activate")
			if (status == 0) != (tc.refused == "") || !strings.Contains(errs, tc.refused) {
				t.Fatalf("import: exit status %d, %s; want %q", status, errs, tc.refused)
			}
			if tc.refused != "" {
				return
			}
			got := scoreAs(t, p, "", example(t, "harbour.jpg"))
			if got.name != "one" || !near(got.score, specimen.score(t, got.embedding)) {
				t.Errorf("%s scored %v", got.name, got.score)
			}
		})
	}
}

// secureTriton is a client with certificates.
func secureTriton(t *testing.T, address, ca string, pair certtest.Pair) *tritonclient.Client {
	t.Helper()
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("no certificate")
	}
	certificate, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses, cfg.TLS = []string{address}, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}}
	client, err := tritonclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}
