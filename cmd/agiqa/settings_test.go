package main

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/agiqa/agiqa/internal/config"
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
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		config.AddFlags(flags, serverGroups...)
		values := map[string]string{
			"listen": "127.0.0.1:0", "triton": "127.0.0.1:9", "data-dir": t.TempDir(), "redis-url": "redis://127.0.0.1:1",
			"rate-limit-header": "X-API-Key", "pprof-listen": "127.0.0.1:0", "admin-key": "k", "experiment-store": "",
		}
		for key, words := range extremes {
			if _, fixed := values[key]; !fixed {
				values[key] = words[min(round, len(words)-1)]
			}
		}
		for key, value := range values {
			if err := flags.Set(key, value); err != nil {
				t.Fatal(err)
			}
		}
		s, err := config.Load(config.Sources{Flags: flags})
		if err != nil {
			t.Fatal(err)
		}
		locate(&s)
		s.ModelRepository, s.Checkpoints = "../../model_repository", "../../checkpoints"
		listener, err := listen(s.Listen)
		if err != nil {
			t.Fatal(err)
		}
		at, err := besideTriton(s)
		if err != nil {
			t.Fatal(err)
		}
		p, err := newProgram(t.Context(), s, listener, at, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("the settings allow %v, a package doesn't: %v", values, err)
			continue
		}
		if err := p.close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}
