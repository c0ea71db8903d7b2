package server

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/telemetry"
)

// noStore, as the setting experiment-store, turns experiments off.
const noStore = "none"

// OpenExperimentStore opens what the setting names: a PostgreSQL by its URL, or
// a file of SQLite, which is in the data folder where nothing is set.
func OpenExperimentStore(ctx context.Context, s config.Settings, logger *slog.Logger) (*sqlstore.Store, error) {
	cfg := sqlstore.DefaultConfig()
	cfg.Logger = logger
	switch where := string(s.ExperimentStore); {
	case strings.HasPrefix(where, "postgres://"), strings.HasPrefix(where, "postgresql://"):
		cfg.URL = where
	case where == "", where == noStore: // which holds the checkpoints all the same
		cfg.Path = experimentFile(s)
	default:
		cfg.Path = where
	}
	store, err := sqlstore.Open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("setting experiment-store: %w", err)
	}
	return store, nil
}

// experimentFile is where experiments are kept where nothing is set.
func experimentFile(s config.Settings) string { return filepath.Join(s.DataDir, "experiments.db") }

// experimentKey is the key of assignments: the setting, or the one of the data
// folder, which is made if need be. Another key puts every unit elsewhere, so
// gateways that share a store need the same.
func experimentKey(s config.Settings) ([]byte, error) {
	if s.ExperimentKey != "" {
		return []byte(s.ExperimentKey), nil
	}
	return folderKey(filepath.Join(s.DataDir, "experiment.key"),
		"restore it: with another key, units of running experiments change their arms")
}

// experiments are the engine, or none, and what scores: the service, or the
// service under the engine's direction.
type experiments struct {
	engine *engine.Engine // nil: there are none
	keys   *access.Keys   // nil: there are none; they are kept in the same store
	scorer gateway.Scorer
}

func (x experiments) run(ctx context.Context) {
	if x.engine != nil {
		x.engine.Run(ctx)
	}
}

// gateway is nil where there are none, so that the gateway has no routes.
func (x experiments) gateway() gateway.Experiments {
	if x.engine == nil {
		return nil
	}
	return x.engine
}

// apiKeys is nil where there are none, so that the gateway has no routes.
func (x experiments) apiKeys() gateway.Keys {
	if x.keys == nil {
		return nil
	}
	return x.keys
}

// newExperiments makes what runs experiments, unless the settings want none.
func (s *Server) newExperiments(ctx context.Context, top topology, tel *telemetry.Telemetry) (experiments, error) {
	none := experiments{scorer: s.service}
	if s.settings.ExperimentStore == noStore || top.ephemeral {
		return none, nil
	}
	key, err := experimentKey(s.settings)
	records := sqlstore.DefaultConfig()
	if err != nil { // another key would move units to other arms
		s.degrade(startFault{check: "experiment-key",
			detail: "experiment.key in the data folder can't be used: experiments " +
				"and feedback answer store_unavailable; restore the file"}, err)
		records.Fault = err
		key = make([]byte, 32)
	}
	hasher, err := experiment.NewHasher(key)
	if err != nil {
		return none, fmt.Errorf("setting experiment-key: %w", err)
	}
	store := s.store
	keys := access.NewKeys(store, time.Now, s.logger)
	ofExperiments := store
	if records.Fault != nil {
		records.Path = experimentFile(s.settings)
		if ofExperiments, err = sqlstore.Open(ctx, records); err != nil {
			return none, err
		}
		s.onClose("experiments without a key", stopMark, func(context.Context) error { return ofExperiments.Close() })
	}
	s.onClose("the API keys", stopMark, func(context.Context) error { keys.Close(); return nil })
	e, err := engine.New(engine.Deps{
		Store: ofExperiments, Hasher: hasher, Checkpoints: ownCheckpoints{s.library, s.manager, s.service},
		Canaries: canaries{s.service}, Labellers: labellers{store},
		Tracer: tel.Tracer(), Meter: tel.Meter(), Logger: s.logger,
	})
	if err != nil {
		return none, err
	}
	return experiments{engine: e, keys: keys, scorer: scoring.NewDirected(s.service, director{e})}, nil
}

// labellers are the keys of a store that may label.
type labellers struct{ access.Store }

// CanLabel implements [engine.Labellers].
func (l labellers) CanLabel(ctx context.Context) (bool, error) {
	now, err := l.Time(ctx)
	if err != nil {
		return false, err
	}
	keys, err := l.ListKeys(ctx, now)
	return slices.ContainsFunc(keys, func(k access.Key) bool {
		return k.StateAt(now) == access.Valid && slices.Contains(k.Scopes, access.ScopeFeedback)
	}), err
}

// director is the engine in the words of scoring.
type director struct{ *engine.Engine }

// Enrol implements [scoring.Director].
func (d director) Enrol(ctx context.Context, c experiment.Caller, images []func() quality.Digest) scoring.Trial {
	if trial := d.Engine.Enrol(ctx, c, images); trial != nil {
		return trial
	}
	return nil
}

// ownCheckpoints are those of this server in the words of the engine.
type ownCheckpoints struct {
	library *lifecycle.Library
	manager *lifecycle.Manager
	service *scoring.Service
}

// Resolve implements [engine.Checkpoints].
func (a ownCheckpoints) Resolve(name string) (quality.Checkpoint, error) {
	c, err := a.library.Get(name)
	return c.Checkpoint, err
}

// Names implements [engine.Checkpoints].
func (a ownCheckpoints) Names() []string {
	var names []string
	for _, c := range a.library.List() {
		names = append(names, c.Checkpoint.Name)
	}
	return names
}

// Default implements [engine.Checkpoints].
func (a ownCheckpoints) Default() (quality.Checkpoint, error) {
	c, err := a.library.Default()
	return c.Checkpoint, err
}

// Activate implements [engine.Checkpoints].
func (a ownCheckpoints) Activate(ctx context.Context, name, by string) error {
	_, err := a.manager.Activate(ctx, name, by)
	return err
}

// Preprocess implements [engine.Checkpoints].
func (a ownCheckpoints) Preprocess(c quality.Checkpoint) quality.PreprocessID {
	return a.service.PreprocessID("", c.Views.Recipe())
}

// canaryTimeout bounds the scoring of canaries beside a request's own budget.
const canaryTimeout = 2 * time.Minute
