package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/agiqa/agiqa/cache/redistest"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/server"
)

// TestNoPackageIsStricterThanTheSettings: what the declared bounds allow, every
// package takes, so that each refusal names the setting and comes with the
// others.
func TestNoPackageIsStricterThanTheSettings(t *testing.T) {
	extremes := map[string][]string{} // by key; a bound's own words, as far as they are values
	rounds := 1
	for _, s := range config.All() {
		words := strings.FieldsFunc(s.Bounds, func(r rune) bool { return r == ' ' || r == ',' })
		if strings.HasPrefix(s.Bounds, "above 0") {
			words = append(words, "1ns", "1e-300")
		}
		for _, word := range words {
			if _, err := config.Load(config.Sources{Environ: []string{config.EnvName(s.Key) + "=" + word}}); err == nil {
				extremes[s.Key] = append(extremes[s.Key], word)
			}
		}
		rounds = max(rounds, len(extremes[s.Key]))
	}
	if len(extremes) < 30 || !slices.Equal(extremes["triton-connections"], []string{"1", "64"}) {
		t.Fatalf("the bounds aren't understood: %v", extremes)
	}
	for round := range rounds {
		values := map[string]string{"redis-url": "redis://127.0.0.1:1", "operations-listen": "127.0.0.1:0"}
		for key, words := range extremes {
			switch key {
			case "listen", "triton", "data-dir", "redis-url", "operations-listen", // the test's own
				"admin-key", "experiment-store", "cache-key", "cache-key-previous": // bounds in words
			default:
				values[key] = words[min(round, len(words)-1)]
			}
		}
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) { newTestServer(t, values) })
	}
}

// TestReadinessShowsWhatRedisCannotDo: a Redis that answers and stores nothing
// makes the server degraded, with the reason in words and without an address.
func TestReadinessShowsWhatRedisCannotDo(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		do   []any
		says string
	}{
		{"a node of a cluster", []string{"--cluster-enabled", "yes"}, nil, "Redis Cluster"},
		{"a replica", nil, []any{"REPLICAOF", "127.0.0.1", "1"}, "read-only replica"},
		{"full", []string{"--maxmemory-policy", "noeviction"}, []any{"CONFIG", "SET", "maxmemory", "1"},
			"full and evicts nothing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			redis := redistest.Start(t, test.args...)
			if test.do != nil {
				redis.Do(test.do...)
			}
			srv := newTestServer(t, map[string]string{"redis-url": redis.URL()})
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); _ = srv.Run(ctx, nil) }()
			defer func() { stop(); <-done }()
			var found gateway.CheckReport
			eventually(t, test.says, func() bool { // the first checks may be late
				res, err := http.Get(srv.URL() + "/readyz")
				if err != nil {
					return false
				}
				defer res.Body.Close()
				var report gateway.ReadinessReport
				if err := json.NewDecoder(res.Body).Decode(&report); err != nil {
					t.Fatal(err)
				}
				i := slices.IndexFunc(report.Checks, func(c gateway.CheckReport) bool { return c.Name == "redis" })
				if i < 0 {
					return false
				}
				found = report.Checks[i]
				return strings.Contains(found.Detail, test.says)
			})
			if found.OK || found.Critical || strings.Contains(found.Detail, "127.0.0.1") {
				t.Errorf("/readyz says %+v, want a fault that isn't critical and names no address", found)
			}
		})
	}
}

// newTestServer is a gateway with these settings, whose Triton is not there.
func newTestServer(t *testing.T, values map[string]string) *server.Server {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(flags, cli.ServerGroups...)
	all := map[string]string{"listen": "127.0.0.1:0", "triton": "127.0.0.1:9", "data-dir": t.TempDir()}
	maps.Copy(all, values)
	for key, value := range all {
		if err := flags.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	s, err := config.Load(config.Sources{Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	s.ModelRepository, s.Checkpoints = "../../model_repository", "../../demo/checkpoints"
	srv, err := server.New(t.Context(), server.Config{Settings: s, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("the settings allow %v, a package doesn't: %v", values, err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return srv
}
