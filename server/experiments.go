package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/engine"
	experimentreport "github.com/agiqa/agiqa/experiment/report"
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
	case where == "":
		cfg.Path = filepath.Join(s.DataDir, "experiments.db")
	default:
		cfg.Path = where
	}
	store, err := sqlstore.Open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("setting experiment-store: %w", err)
	}
	return store, nil
}

// experimentKey is the key of assignments: the setting, or the one of the data
// folder, which is made if need be. Another key puts every unit elsewhere, so
// gateways that share a store need the same.
func experimentKey(s config.Settings) ([]byte, error) {
	if s.ExperimentKey != "" {
		return []byte(s.ExperimentKey), nil
	}
	path := filepath.Join(s.DataDir, "experiment.key")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = makeExperimentKey(path)
	}
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(key) < 32 {
		return nil, fmt.Errorf("%s holds no key; with another one, units of running experiments change their arms", path)
	}
	return key, nil
}

func makeExperimentKey(path string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	text := []byte(hex.EncodeToString(key[:]) + "\n")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) { // another server was faster
		return os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	_, err = f.Write(text)
	return text, errors.Join(err, f.Sync(), f.Close())
}

// experiments are the engine, or none, and what scores: the service, or the
// service under the engine's direction.
type experiments struct {
	engine *engine.Engine // nil: there are none
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
	return engineView{x.engine}
}

// newExperiments makes what runs experiments, unless the settings want none.
func (s *Server) newExperiments(ctx context.Context, top topology, tel *telemetry.Telemetry) (experiments, error) {
	none := experiments{scorer: s.service}
	if s.settings.ExperimentStore == noStore || top.ephemeral {
		return none, nil
	}
	key, err := experimentKey(s.settings)
	if err != nil {
		return none, fmt.Errorf("setting experiment-key: %w", err)
	}
	hasher, err := experiment.NewHasher(key)
	if err != nil {
		return none, fmt.Errorf("setting experiment-key: %w", err)
	}
	store, err := OpenExperimentStore(ctx, s.settings, s.logger)
	if err != nil {
		return none, err
	}
	s.onClose(func(context.Context) error { return store.Close() })
	e, err := engine.New(engine.DefaultConfig(), engine.Deps{
		Store: store, Hasher: hasher, Checkpoints: ownCheckpoints{s.library, s.manager, s.service}, Canaries: canaries{s.service},
		Tracer: tel.Tracer(), Meter: tel.Meter(), Logger: s.logger,
	})
	if err != nil {
		return none, err
	}
	return experiments{engine: e, scorer: scoring.NewDirected(s.service, director{e})}, nil
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
func (a ownCheckpoints) Preprocess() quality.PreprocessID { return a.service.PreprocessID("") }

// engineView is the engine in the words of the gateway.
type engineView struct{ *engine.Engine }

var _ gateway.Experiments = engineView{}

// Status implements [gateway.Experiments].
func (x engineView) Status(ctx context.Context, id experiment.ID) (gateway.ExperimentStatus, error) {
	c, err := x.Conclude(ctx, id)
	if err != nil {
		return gateway.ExperimentStatus{}, err
	}
	out := gateway.ExperimentStatus{
		Experiment: c.Experiment, Trouble: x.Trouble(id), Guards: []gateway.GuardStatus{}, Arms: []gateway.ArmStatus{},
		Counts: map[string]int{
			"exposures": c.Decision.Counts.Exposures, "units": c.Decision.Counts.Units, "images": c.Decision.Counts.Images,
			"images_labelled_blind": c.Decision.Counts.LabelledBlind, "images_labelled": c.Decision.Counts.LabelledAll,
			"labels": c.Decision.Counts.Labels, "pairs_blind": c.Decision.Counts.PairsBlind, "raters_blind": c.Decision.Counts.RatersBlind,
			"units_with_thumbs": c.Decision.Counts.JudgingUnits, "choices": c.Decision.Counts.Choices,
		},
	}
	for _, g := range x.Guards(id) {
		if g.Value.Known() {
			out.Guards = append(out.Guards, gateway.GuardStatus{
				Kind: string(g.Kind), Arm: string(g.Arm), Value: float64(g.Value), Limit: float64(g.Limit), Action: string(g.Action), OK: g.OK, Detail: g.Detail,
			})
		}
	}
	for _, p := range c.Promotions {
		arm := gateway.ArmStatus{Arm: string(p.Arm), Effect: known(p.Effect), Ready: p.Ready, Missing: p.Missing}
		for _, b := range c.Decision.Blind {
			if b.Arm == p.Arm {
				arm.Low, arm.High = known(b.Running.Low), known(b.Running.High)
			}
		}
		out.Arms = append(out.Arms, arm)
	}
	ready, _ := c.Ready()
	out.Recommends = string(ready)
	return out, nil
}

func known(n analysis.Number) *float64 {
	if !n.Known() {
		return nil
	}
	f := float64(n)
	return &f
}

// Report implements [gateway.Experiments].
func (x engineView) Report(ctx context.Context, id experiment.ID, page bool) ([]byte, error) {
	r, err := x.Engine.Report(ctx, id)
	if err != nil {
		return nil, err
	}
	if page {
		return experimentreport.HTML(r)
	}
	return json.Marshal(r)
}

// Label implements [gateway.Experiments].
func (x engineView) Label(ctx context.Context, in gateway.FeedbackRequest) (gateway.FeedbackReceipt, error) {
	l := engine.Label{
		Key: in.Key, Assignment: in.Assignment, Rater: in.Rater, Kind: experiment.FeedbackKind(in.Kind), Value: in.Value,
		Winner: in.Winner, Blind: in.Blind, LatencyMS: in.LatencyMS,
	}
	if in.Given != nil {
		l.Given = *in.Given
	}
	for _, d := range []struct {
		name, text string
		to         *quality.Digest
	}{{"image_sha256", in.Image, &l.Image}, {"image_a", in.ImageA, &l.ImageA}, {"image_b", in.ImageB, &l.ImageB}} {
		if d.text == "" {
			continue
		}
		var err error
		if *d.to, err = quality.ParseDigest("sha256:" + strings.TrimPrefix(d.text, "sha256:")); err != nil {
			return gateway.FeedbackReceipt{}, quality.Errorf(quality.KindFeedbackInvalid, "%s is not a SHA-256 in hexadecimal", d.name)
		}
	}
	receipt, err := x.Engine.Label(ctx, l)
	if err != nil {
		return gateway.FeedbackReceipt{}, err
	}
	return gateway.FeedbackReceipt{
		ID: receipt.Feedback.ID, Standing: string(receipt.Feedback.Standing), Duplicate: receipt.Duplicate,
	}, nil
}

// canaryTimeout bounds the judging of canaries beside a request's own budget.
const canaryTimeout = 2 * time.Minute
