package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agiqa/agiqa/internal/certtest"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/server"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// settings are for a server on a free port, with a data folder of its own and
// the checkpoints of the repository, before the fake Triton at an address.
func settings(t *testing.T, triton ...string) config.Settings {
	t.Helper()
	s := config.Default()
	s.Listen, s.DataDir, s.Triton = "127.0.0.1:0", t.TempDir(), triton
	s.Checkpoints = filepath.Join("..", "demo", "checkpoints")
	s.ModelRepository = filepath.Join("..", "model_repository")
	s.DrainDelay = 0
	return s
}

// fakeTriton holds the shipped checkpoints and the encoder that they need.
func fakeTriton(t *testing.T, s config.Settings) *tritontest.Server {
	t.Helper()
	library, err := server.OpenLibrary(s)
	if err != nil {
		t.Fatal(err)
	}
	var all []quality.Checkpoint
	for _, e := range library.Snapshot().List() {
		all = append(all, e.Checkpoint)
	}
	raw, err := os.ReadFile(filepath.Join(s.ModelRepository, "encoder.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Name      string
		Digest    quality.Digest
		Dim       int `json:"embedding_dim"`
		TextWidth int `json:"text_width"`
		Context   int `json:"context_length"`
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	return tritontest.New(t, tritontest.WithCheckpoints(all...), tritontest.WithEncoder(quality.Encoder{
		Name: manifest.Name, Digest: manifest.Digest, Dim: manifest.Dim, TextWidth: manifest.TextWidth,
		ContextLength: manifest.Context,
	}))
}

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// TestServer starts the whole service in this process on a free port, scores an
// image, and closes it: no goroutine is left, and the port is free again.
func TestServer(t *testing.T) {
	triton := fakeTriton(t, settings(t))
	before := goleak.IgnoreCurrent()
	const origin = "https://app.example"
	set := settings(t, triton.Addr())
	set.CORSOrigins = []string{origin}
	s, err := server.New(t.Context(), server.Config{Settings: set, Version: "1.2.3", Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	err = s.While(t.Context(), func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/v1/score",
			bytes.NewReader(testimages.PNG(64, 48)))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "image/png")
		req.Header.Set("Origin", origin)
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		var answer struct {
			Results []struct {
				Score      float64
				Checkpoint struct{ Name string }
			}
			Encoder struct{ Name string }
		}
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK || len(answer.Results) != 1 || answer.Results[0].Checkpoint.Name != "demo" {
			t.Errorf("status %d, answer %+v", res.StatusCode, answer)
		}
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != origin {
			t.Errorf("a page of %s may not read the answer: %q", origin, got)
		}
		rebound, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/healthz", nil)
		if err != nil {
			return err
		}
		rebound.Host = "evil.example"
		if res, err := client.Do(rebound); err != nil || res.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("a request for another host on a loopback address: %v, %v", res, err)
		} else if err := res.Body.Close(); err != nil {
			return err
		}
		for path, want := range map[string]string{"/healthz": `"version":"1.2.3"`, "/metrics": `service_version="1.2.3"`} {
			if got, err := get(ctx, client, s.URL()+path); err != nil || !strings.Contains(got, want) {
				t.Errorf("%s says %s (%v), want %s", path, got, err, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(s.URL() + "/healthz"); err == nil {
		t.Error("it answers after the end")
	}
	client.CloseIdleConnections()
	goleak.VerifyNone(t, before)
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// TestServerTLS: the whole service over TLS, and nothing over plain HTTP.
func TestServerTLS(t *testing.T) {
	authority, dir := certtest.NewAuthority(t), t.TempDir()
	set := settings(t, fakeTriton(t, settings(t)).Addr())
	set.TLSCert, set.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	authority.IssueLocal(t, certtest.Pair{Cert: set.TLSCert, Key: set.TLSKey}, 1, time.Now().Add(time.Hour))
	s, err := server.New(t.Context(), server.Config{Settings: set, Version: "1.2.3", Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: authority.Pool()},
	}}
	err = s.While(t.Context(), func(ctx context.Context) error {
		address, encrypted := strings.CutPrefix(s.URL(), "https://")
		if !encrypted {
			t.Errorf("the server's URL is %s", s.URL())
		}
		for range 3 { // every connection counts, and is counted off
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/v1/score",
				bytes.NewReader(testimages.PNG(64, 48)))
			if err != nil {
				return err
			}
			req.Header.Set("Content-Type", "image/png")
			res, err := client.Do(req)
			if err != nil {
				return err
			}
			if err := res.Body.Close(); err != nil {
				return err
			}
			if res.StatusCode != http.StatusOK || res.ProtoMajor != 1 || res.TLS.Version < tls.VersionTLS12 {
				t.Errorf("status %d by %s, TLS version %x", res.StatusCode, res.Proto, res.TLS.Version)
			}
		}
		text, err := get(ctx, client, s.URL()+"/metrics")
		if err != nil || !strings.Contains(text, "agiqa_tls_expiry_seconds") {
			t.Errorf("the metrics say nothing of the certificate: %v", err)
		}
		if text, err := get(ctx, client, "http://"+address+"/healthz"); err == nil && strings.Contains(text, "agiqa") {
			t.Errorf("plain HTTP is answered: %s", text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNewClosesWhatItOpened: a fault found late leaves nothing behind.
func TestNewClosesWhatItOpened(t *testing.T) {
	taken, err := server.Listen("listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		name  string
		fault func(*config.Settings)
		want  string
	}{
		{"the port is taken", func(s *config.Settings) { s.Listen = taken.Addr().String() },
			"setting listen: another program uses"},
		{"no Triton", func(s *config.Settings) { s.Triton = nil }, "setting triton"},
		{"no checkpoints", func(s *config.Settings) { s.Checkpoints = filepath.Join(s.DataDir, "none") },
			"setting checkpoints"},
		{"a Redis URL that is none", func(s *config.Settings) { s.RedisURL = "http://redis" }, "redis"},
		{"the operational port is taken", func(s *config.Settings) { s.OperationsListen = taken.Addr().String() },
			"setting operations-listen"},
		{"an experiment store that is a folder", func(s *config.Settings) { s.ExperimentStore = config.Secret(s.DataDir) },
			"setting experiment-store"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			s := settings(t, "127.0.0.1:1")
			tt.fault(&s)
			if _, err := server.New(t.Context(), server.Config{Settings: s, Logger: discard()}); err == nil ||
				!strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
			goleak.VerifyNone(t, before)
		})
	}
}

// TestWhileEndsWithTheServer: what runs beside the server learns that it ended,
// and the caller's own end is told apart.
func TestWhileEndsWithTheServer(t *testing.T) {
	triton := fakeTriton(t, settings(t))
	start := func(ctx context.Context) *server.Server {
		s, err := server.New(ctx, server.Config{Settings: settings(t, triton.Addr()), Version: "test", Logger: discard()})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	fault := errors.New("done with it")
	if err := start(t.Context()).While(t.Context(), func(context.Context) error { return fault }); !errors.Is(err, fault) {
		t.Errorf("error %v, want that of the function", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	err := start(ctx).While(ctx, func(running context.Context) error {
		cancel(fault)
		<-running.Done()
		return context.Cause(running)
	})
	if !errors.Is(err, fault) {
		t.Errorf("error %v, want the cause of the caller's end", err)
	}
}
