//go:build unix

package server_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment/postgrestest"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/server"
)

// TestStartWithoutPostgres: a gateway that has a copy of what PostgreSQL said serves
// by it and says so. One that has none doesn't guess the default, which may be
// another one than the settings': it isn't ready until PostgreSQL answers.
func TestStartWithoutPostgres(t *testing.T) {
	postgres := postgrestest.Start(t)
	s := settings(t, fakeTriton(t, settings(t)).Addr())
	s.AdminKey, s.ExperimentStore = "an admin key for this test", config.Secret(postgres.URL())
	image := testimages.PNG(64, 48)

	first := runAsking(t, s)
	first.await("it is ready", func() bool { return first.status(http.MethodGet, "/readyz", nil) == http.StatusOK })
	if got := first.scored(image); got != "demo" {
		t.Errorf("scored by %q before any choice", got)
	}
	first.await("demo-shared is the default", func() bool {
		return first.status(http.MethodPost, "/v1/checkpoints/demo-shared/activate", nil) == http.StatusOK
	})
	first.stop()
	postgres.Kill()

	again := runAsking(t, s)
	again.await("it is ready", func() bool { return again.status(http.MethodGet, "/readyz", nil) == http.StatusOK })
	if got := again.scored(image); got != "demo-shared" {
		t.Errorf("with a copy, scored by %q, want what was chosen", got)
	}
	if _, answer := again.ask(http.MethodGet, "/readyz", nil); !strings.Contains(answer,
		"revision 2 of the checkpoints is served, changes are refused") {
		t.Errorf("/readyz: %s", answer)
	}
	if status := again.status(http.MethodPost, "/v1/checkpoints/demo/activate", nil); status != http.StatusServiceUnavailable {
		t.Errorf("an activation: status %d", status)
	}
	again.stop()

	s.DataDir = t.TempDir()
	fresh := runAsking(t, s)
	fresh.await("a checkpoint that is named scores", func() bool {
		return fresh.status(http.MethodPost, "/v1/score?checkpoint=demo", image) == http.StatusOK
	})
	if status, answer := fresh.ask(http.MethodPost, "/v1/score", image); status != http.StatusServiceUnavailable ||
		!strings.Contains(answer, "store_unavailable") {
		t.Errorf("without a copy, without a name: status %d, %s", status, answer)
	}
	if status, answer := fresh.ask(http.MethodGet, "/readyz", nil); status != http.StatusServiceUnavailable ||
		!strings.Contains(answer, "which checkpoint is the default isn't known") {
		t.Errorf("/readyz: status %d, %s", status, answer)
	}
	postgres.Run()
	fresh.await("it is ready", func() bool { return fresh.status(http.MethodGet, "/readyz", nil) == http.StatusOK })
	if got := fresh.scored(image); got != "demo-shared" {
		t.Errorf("once PostgreSQL is back, scored by %q, want what was chosen", got)
	}
	fresh.stop()
}

// asking is a server that runs, and a client of it.
type asking struct {
	t      *testing.T
	url    string
	key    string
	client *http.Client
	stop   func()
}

func runAsking(t *testing.T, s config.Settings) *asking {
	t.Helper()
	srv, err := server.New(t.Context(), server.Config{Settings: s, Version: "1.2.3", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("it refuses to start: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx, nil) }()
	return &asking{
		t: t, url: srv.URL(), key: string(s.AdminKey),
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		stop: func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("it ends with %v", err)
			}
		},
	}
}

func (a *asking) ask(method, path string, body []byte) (int, string) {
	a.t.Helper()
	status, answer := send(a.t.Context(), a.t, a.client, method, a.url+path, a.key, body)
	return status, string(answer)
}

func (a *asking) status(method, path string, body []byte) int {
	a.t.Helper()
	status, _ := a.ask(method, path, body)
	return status
}

// scored returns the checkpoint that scores an image when none is named.
func (a *asking) scored(image []byte) string {
	a.t.Helper()
	status, answer := a.ask(http.MethodPost, "/v1/score", image)
	var body gateway.ScoreResponse
	if err := json.Unmarshal([]byte(answer), &body); err != nil || status != http.StatusOK || len(body.Results) != 1 ||
		body.Results[0].Checkpoint == nil {
		a.t.Errorf("scoring: status %d, %s", status, answer)
		return ""
	}
	return body.Results[0].Checkpoint.Name
}

func (a *asking) await(what string, is func() bool) {
	a.t.Helper()
	deadline := time.After(time.Minute)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-deadline:
			_, answer := a.ask(http.MethodGet, "/readyz", nil)
			a.t.Fatalf("not within a minute: %s; %s", what, answer)
		}
	}
}
