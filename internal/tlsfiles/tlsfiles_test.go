package tlsfiles_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/certtest"
	"github.com/agiqa/agiqa/internal/tlsfiles"
)

// TestReplacedWhileServing: new connections get the new certificate, open ones go on,
// and files that can't be used change nothing.
func TestReplacedWhileServing(t *testing.T) {
	authority, dir := certtest.NewAuthority(t), t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	later := time.Now().Add(time.Hour)
	authority.IssueLocal(t, certtest.Pair{Cert: certFile, Key: keyFile}, 1, later)
	files, err := tlsfiles.New(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s", r.Proto, r.RemoteAddr)
	})}
	go func() { _ = server.Serve(tls.NewListener(plain, files.Config())) }()
	t.Cleanup(func() { _ = server.Close() })
	client := func() *http.Client {
		return &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}, ForceAttemptHTTP2: true,
		}}
	}
	ask := func(c *http.Client) (serial int64, body string) {
		t.Helper()
		res, err := c.Get("https://" + plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.TLS.PeerCertificates[0].SerialNumber.Int64(), string(raw)
	}
	first := client()
	serial, began := ask(first)
	if serial != 1 || !strings.HasPrefix(began, "HTTP/1.1 ") {
		t.Errorf("certificate %d, answer %q; want 1 and HTTP/1.1", serial, began)
	}
	if changed, err := files.Reload(); changed || err != nil {
		t.Errorf("nothing has changed, and Reload says %v, %v", changed, err)
	}

	authority.IssueLocal(t, certtest.Pair{Cert: certFile, Key: keyFile}, 2, later)
	if changed, err := files.Reload(); !changed || err != nil {
		t.Fatalf("new files: %v, %v", changed, err)
	}
	if serial, again := ask(first); serial != 1 || again != began {
		t.Errorf("the open connection has certificate %d and is %q, was %q", serial, again, began)
	}
	if serial, _ := ask(client()); serial != 2 {
		t.Errorf("a new connection has certificate %d, want 2", serial)
	}

	for name, spoil := range map[string]func(){
		"another key": func() {
			authority.IssueLocal(t, certtest.Pair{Cert: filepath.Join(dir, "other.pem"), Key: keyFile}, 3, later)
		},
		"no PEM":  func() { must(t, os.WriteFile(certFile, []byte("hunter2"), 0o600)) },
		"no file": func() { must(t, os.Remove(certFile)) },
		"expired file": func() {
			authority.IssueLocal(t, certtest.Pair{Cert: certFile, Key: keyFile}, 4, time.Now().Add(-time.Hour))
		},
	} {
		spoil()
		if changed, err := files.Reload(); !changed || err == nil {
			t.Errorf("%s: %v, %v; want an error", name, changed, err)
		}
		if changed, err := files.Reload(); changed || err != nil {
			t.Errorf("%s is reported twice: %v, %v", name, changed, err)
		}
		if serial, _ := ask(client()); serial != 2 {
			t.Errorf("%s: a new connection has certificate %d, want the old one", name, serial)
		}
		if _, err := tlsfiles.New(certFile, keyFile); err == nil {
			t.Errorf("%s: a server starts", name)
		}
		authority.IssueLocal(t, certtest.Pair{Cert: certFile, Key: keyFile}, 2, later)
		if changed, err := files.Reload(); !changed || err != nil {
			t.Errorf("after %s: %v, %v", name, changed, err)
		}
	}
	if !files.Expires().Equal(later.UTC().Truncate(time.Second)) {
		t.Errorf("expires %s, want %s", files.Expires(), later)
	}
	old := &tls.Config{RootCAs: authority.Pool(), MaxVersion: tls.VersionTLS11}
	if c, err := tls.Dial("tcp", plain.Addr().String(), old); err == nil {
		_ = c.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
