package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/quality"
)

// joinTimeout bounds how long a start waits for the store.
const joinTimeout = 5 * time.Second

// openStore opens what keeps the desired state, API keys and experiments. An
// ephemeral server has none but in memory, so that it changes nothing.
func (s *Server) openStore(ctx context.Context, cfg Config) error {
	if cfg.Ephemeral {
		s.desired = desired.NewMemory("ephemeral", false, time.Now)
		return nil
	}
	store, err := OpenExperimentStore(ctx, s.settings, s.logger)
	if err != nil {
		return err
	}
	s.onClose("the store", storeMark, func(context.Context) error { return store.Close() })
	s.store, s.desired = store, store
	return nil
}

// join makes the library follow the store. Without it the server goes on with its
// copy, and joins when it can.
func (s *Server) join(ctx context.Context, library *lifecycle.Library) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	if err := library.Join(ctx, s.desired); err != nil {
		text := "starting without the store of the checkpoints, with the copy in the data folder"
		if _, unknown := library.Default(); quality.KindOf(unknown) == quality.KindStoreUnavailable {
			text = "starting without the store of the checkpoints: there is no copy, and no default until the store answers"
		}
		s.logger.Warn(text, "revision", library.Snapshot().Revision(), "error", err)
	}
}

// group names the Tritons for gateways that share them.
func (s *Server) group(top topology) string {
	if s.child != nil {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		return host + ":" + s.dir
	}
	return strings.Join(slices.Sorted(slices.Values(top.addresses)), ",")
}

// measureState observes how far this gateway follows the desired state.
func (s *Server) measureState(meter metric.Meter) error {
	revision, err := metrics.StateRevision.New(meter)
	if err != nil {
		return err
	}
	store, err := metrics.StateStore.New(meter)
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		standing := s.manager.Standing()
		o.ObserveInt64(revision, standing.Served, metric.WithAttributes(attribute.String("which", "served")))
		o.ObserveInt64(revision, standing.Wanted, metric.WithAttributes(attribute.String("which", "wanted")))
		up := int64(1)
		if standing.Store != nil {
			up = 0
		}
		o.ObserveInt64(store, up)
		return nil
	}, revision, store)
	return err
}

// checkStore reports that the store is away, and what the server does meanwhile.
func (c checks) checkStore(ctx context.Context) error {
	err := c.store.Check(ctx)
	if e, ok := errors.AsType[*quality.Error](err); ok {
		return quality.Errorf(e.Kind, "%s; revision %d of the checkpoints is served, changes are refused", e.Detail,
			c.manager.Standing().Served).Because(err)
	}
	return err
}

// checkState reports that this gateway isn't yet what the store said last.
func (c checks) checkState(context.Context) error {
	standing := c.manager.Standing()
	if standing.Served != standing.Wanted {
		text := fmt.Sprintf("revision %d of the checkpoints is served, %d is wanted", standing.Served, standing.Wanted)
		if names := slices.Sorted(maps.Keys(standing.Missing)); len(names) > 0 {
			text += "; not ready here: " + strings.Join(names, ", ")
		}
		return quality.Errorf(quality.KindModelUnavailable, "%s", text)
	}
	return nil
}

// describeState says which revision is served.
func (c checks) describeState() string {
	return fmt.Sprintf("revision %d of the checkpoints", c.manager.Standing().Served)
}
