package cli_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/certtest"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/hostcheck"
	"github.com/agiqa/agiqa/internal/proof"
	"github.com/agiqa/agiqa/internal/tlsfiles"
)

const adminKey = "the-key-of-this-test"

// listener records what a server gets to see, byte by byte.
type listener struct {
	net.Listener
	mu   sync.Mutex
	seen strings.Builder
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return seenConn{c, l}, err
}

func (l *listener) text() string { l.mu.Lock(); defer l.mu.Unlock(); return l.seen.String() }

type seenConn struct {
	net.Conn
	l *listener
}

func (c seenConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.seen.Write(p[:n])
	return n, err
}

// serve starts a server, and returns its URL and what it gets to see.
func serve(t *testing.T, h http.Handler) (string, *listener) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	l := &listener{Listener: s.Listener}
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, l
}

// knows answers challenges by a key, as the server does.
func knows(t *testing.T, key string, next http.HandlerFunc) http.Handler {
	t.Helper()
	derived, err := proof.Derive(key)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+proof.Path, func(w http.ResponseWriter, r *http.Request) {
		var c proof.Challenge
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil ||
			!(hostcheck.Policy{}).Serves(r.Context(), c.Address) {
			http.Error(w, "no", http.StatusMisdirectedRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(derived.Answer(c))
	})
	mux.HandleFunc("/", next)
	return mux
}

func fine(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }

// TestKeyGoesToItsServerOnly: every way to be another server, of which none gets to
// see the key.
func TestKeyGoesToItsServerOnly(t *testing.T) {
	t.Parallel()
	real, _ := serve(t, knows(t, adminKey, fine))
	target, err := url.Parse(real)
	if err != nil {
		t.Fatal(err)
	}
	relay := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = target.Host }}
	for _, test := range []struct {
		name  string
		h     http.Handler
		fails string // "": the key arrives
	}{
		{"the server", knows(t, adminKey, fine), ""},
		{"a server with another key", knows(t, "another-key-of-this-test", fine), "doesn't know the key"},
		{"a server that says yes to everything", http.HandlerFunc(fine), "doesn't know the key"},
		{"a server without the route", http.NotFoundHandler(), "404 Not Found"},
		{"somebody who passes everything on", relay, "421 Misdirected Request"},
		{"somebody who leads elsewhere", http.RedirectHandler(real, http.StatusTemporaryRedirect), "307 Temporary Redirect"},
		{"somebody who hangs up", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}), "didn't answer the challenge"},
	} {
		t.Run(test.name, func(t *testing.T) {
			base, seen := serve(t, test.h)
			c := cli.NewClient(base)
			c.Key = adminKey
			_, err := c.Fetch(t.Context(), "/v1/experiments")
			req, reqErr := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/checkpoints/x/activate", nil)
			if reqErr != nil {
				t.Fatal(reqErr)
			}
			changeErr := c.Change(req, &struct{}{})
			arrived := strings.Contains(seen.text(), adminKey)
			if test.fails == "" {
				if err != nil || changeErr != nil || !arrived {
					t.Errorf("%v, %v; the key arrived: %v", err, changeErr, arrived)
				}
				return
			}
			for _, err := range []error{err, changeErr} {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("error %v, want %q", err, test.fails)
				}
			}
			if arrived {
				t.Errorf("the key arrived: %s", seen.text())
			}
		})
	}
}

// TestKeyIsProvedWhateverTheDefaultTransport: a program that has replaced
// http.DefaultTransport does not send the key unproven.
func TestKeyIsProvedWhateverTheDefaultTransport(t *testing.T) {
	replaced := http.DefaultTransport
	defer func() { http.DefaultTransport = replaced }()
	http.DefaultTransport = around{replaced}
	base, seen := serve(t, http.HandlerFunc(fine))
	c := cli.NewClient(base)
	c.Key = adminKey
	if _, err := c.Fetch(t.Context(), "/v1/experiments"); err == nil || !strings.Contains(err.Error(), "doesn't know the key") {
		t.Errorf("error %v, want that the server doesn't know the key", err)
	}
	if strings.Contains(seen.text(), adminKey) {
		t.Errorf("the key arrived: %s", seen.text())
	}
}

// around is a round tripper that nobody knows.
type around struct{ http.RoundTripper }

// TestEveryConnectionIsProved: when the server dies and somebody else takes its
// port, the key isn't sent again.
func TestEveryConnectionIsProved(t *testing.T) {
	t.Parallel()
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: knows(t, adminKey, fine)}
	go func() { _ = server.Serve(first) }()
	c := cli.NewClient("http://" + first.Addr().String())
	c.Key = adminKey
	if _, err := c.Fetch(t.Context(), "/v1/experiments"); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := net.Listen("tcp", first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{Listener: second}
	squatter := &http.Server{Handler: http.HandlerFunc(fine)}
	go func() { _ = squatter.Serve(l) }()
	t.Cleanup(func() { _ = squatter.Close() })
	if _, err := c.Fetch(t.Context(), "/v1/experiments"); err == nil || strings.Contains(l.text(), adminKey) {
		t.Errorf("error %v; the squatter saw %s", err, l.text())
	}
}

// TestKeyIsNotSentInClear: not to another machine, unless somebody insists.
func TestKeyIsNotSentInClear(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		base     string
		insecure bool
		refused  bool
	}{
		{"http://192.0.2.1:8080", false, true},
		{"http://server.example", false, true},
		{"http://localhost.example", false, true},
		{"http://192.0.2.1:8080", true, false},
		{"https://192.0.2.1", false, false},
		{"http://127.0.0.1:1", false, false},
		{"http://localhost:1", false, false},
		{"http://[::1]:1", false, false},
	} {
		err := cli.CheckKeyTravel(test.base, test.insecure)
		if (err != nil) != test.refused || err != nil && !strings.Contains(err.Error(), "--insecure") {
			t.Errorf("%s, insecure %v: %v", test.base, test.insecure, err)
		}
	}
	s := config.Default()
	s.URL = "http://192.0.2.1:8080" // no address of anybody
	c, err := cli.ClientOf(s)
	if err != nil {
		t.Fatal(err)
	}
	c.Key = adminKey
	if _, err := c.Fetch(t.Context(), "/"); err == nil || !strings.Contains(err.Error(), "isn't https") {
		t.Errorf("error %v, want a refusal before anything is sent", err)
	}
}

// TestTLS: a client trusts the authority that the settings name, and no other, with
// and without the key.
func TestTLS(t *testing.T) {
	t.Parallel()
	authority, dir := certtest.NewAuthority(t), t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	authority.IssueLocal(t, certtest.Pair{Cert: certFile, Key: keyFile}, 1, time.Now().Add(time.Hour))
	files, err := tlsfiles.New(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: knows(t, adminKey, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"name":"agiqa"}`)
	})}
	go func() { _ = server.Serve(tls.NewListener(plain, files.Config())) }()
	t.Cleanup(func() { _ = server.Close() })
	for ca, trusted := range map[string]bool{authority.File: true, certtest.NewAuthority(t).File: false, "": false} {
		s := config.Default()
		s.URL, s.URLCA = "https://"+plain.Addr().String(), ca
		c, err := cli.ClientOf(s)
		if err != nil {
			t.Fatal(err)
		}
		c.Key = adminKey
		if got := c.Answers(t.Context()); got != trusted {
			t.Errorf("authority %q: answers %v, want %v", ca, got, trusted)
		}
		if _, err := c.Fetch(t.Context(), "/v1/experiments"); (err == nil) != trusted {
			t.Errorf("authority %q, with the key: %v", ca, err)
		}
	}
	for ca, want := range map[string]string{filepath.Join(dir, "absent"): "no such file", keyFile: "no certificate"} {
		s := config.Default()
		s.URLCA = ca
		if _, err := cli.ClientOf(s); err == nil || !strings.Contains(err.Error(), "setting url-ca") ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", ca, err, want)
		}
	}
}
