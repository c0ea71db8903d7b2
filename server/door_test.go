package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/server"
)

// running starts a whole server with changed settings, and calls f with its URL.
func running(t *testing.T, change func(*config.Settings), f func(ctx context.Context, base *url.URL) error) {
	t.Helper()
	triton := fakeTriton(t, settings(t))
	set := settings(t, triton.Addr())
	change(&set)
	s, err := server.New(t.Context(), server.Config{Settings: set, Version: "test", Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.While(t.Context(), func(ctx context.Context) error { return f(ctx, base) }); err != nil {
		t.Fatal(err)
	}
}

// TestConnectionsThatSendNoBody: as many connections as the server serves, and
// many more, announce a body and send none, or send nothing at all. A client of
// the same address still gets in, and soon.
func TestConnectionsThatSendNoBody(t *testing.T) {
	const most = 16
	for _, message := range []string{
		"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
		"POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", // and stays
		"", "GET /",
	} {
		for _, n := range []int{most, most + 8} {
			t.Run(fmt.Sprintf("%d of %q", n, message[:min(len(message), 5)]), func(t *testing.T) {
				running(t, func(s *config.Settings) { s.MaxConnections = most },
					func(ctx context.Context, base *url.URL) error {
						for range n {
							conn, err := net.Dial("tcp", base.Host)
							if err != nil {
								return err
							}
							defer conn.Close()
							if _, err := io.WriteString(conn, message); err != nil {
								return err
							}
						}
						start := time.Now()
						ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
						defer cancel()
						req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.String()+"/healthz", nil)
						if err != nil {
							return err
						}
						client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
						res, err := client.Do(req)
						if err != nil {
							return err
						}
						t.Logf("/healthz answered after %v", time.Since(start).Round(time.Millisecond))
						return res.Body.Close()
					})
			})
		}
	}
}

// TestOperationsListen: whoever fills the main listener leaves the operational
// one alone, and nothing of the API is on it.
func TestOperationsListen(t *testing.T) {
	address := proctest.Loopback(proctest.FreePort(t))
	running(t, func(s *config.Settings) { s.MaxConnections, s.OperationsListen = 1, address },
		func(ctx context.Context, base *url.URL) error {
			conn, err := net.Dial("tcp", base.Host)
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = io.WriteString(conn, "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
			if err != nil {
				return err
			}
			for path, want := range map[string]int{
				"/healthz": 200, "/readyz": 200, "/metrics": 200, "/debug/pprof/heap": 200, "/debug/pprof/cmdline": 200,
				"/v1/checkpoints": 404, "/": 404,
			} {
				res, err := http.Get("http://" + address + path)
				if err != nil {
					return err
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if res.StatusCode != want {
					t.Errorf("%s: status %d, want %d", path, res.StatusCode, want)
				}
			}
			return nil
		})
}
