package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/quality"
)

// PanelServers is what panels need of the inference servers, every one of
// them. Errors are those of [Servers].
type PanelServers interface {
	// Encoder returns the encoder in use, and false while there is none.
	Encoder() (quality.Encoder, bool)
	// PanelReady reports whether every server serves the panel.
	PanelReady(ctx context.Context, p quality.Panel) error
	// LoadPanel makes every server serve it that does not yet.
	LoadPanel(ctx context.Context, p *checkpoint.Panel) error
	// UnloadPanel takes it off every server; those that have none are fine.
	UnloadPanel(ctx context.Context, p quality.Panel) error
	// CheckPanel compares what every server serves under the panel's name with it.
	CheckPanel(ctx context.Context, encoder quality.Encoder, p quality.Panel) error
	// ScorePanel lets every server's panel score images; one answer for each, by its address.
	ScorePanel(ctx context.Context, encoder quality.Encoder, p quality.Panel,
		images []quality.Embedding) (map[string][][]quality.HeadScore, error)
}

// PanelFolder is a model repository that the servers see.
type PanelFolder interface {
	// WritePanel puts the panel there, over what is there under its name.
	WritePanel(p *checkpoint.Panel) error
	// RemovePanel takes it out.
	RemovePanel(p quality.Panel) error
}

// PanelConfig is how Panels works. Start from [DefaultPanelConfig].
type PanelConfig struct {
	// Recipe names the way from a checkpoint to its text embeddings.
	Recipe string
	// MaxPanels bounds how many panels the servers hold, those included that
	// are about to go.
	MaxPanels int
	// MaxColumns bounds how many checkpoints a panel has: each costs the
	// servers 1 to 2 MB with embeddings of 512 numbers. Larger sets have none.
	MaxColumns int
	// Tolerance is how far a served score may be off, in the score's unit.
	Tolerance float64
	// Settle is how long a set must have been wanted before its panel is made,
	// so that thirty imports do not make thirty panels.
	Settle time.Duration
	// Grace is how long a panel that is wanted no more stays loaded: at least
	// as long as a request may take.
	Grace time.Duration
	// Interval is how often servers are asked for what they lost.
	Interval time.Duration
	// Timeout bounds one round.
	Timeout time.Duration
}

// DefaultPanelConfig returns the production bounds, without a recipe.
func DefaultPanelConfig() PanelConfig {
	return PanelConfig{
		MaxPanels: 8, MaxColumns: 32, Tolerance: 1e-4,
		Settle: 2 * time.Second, Grace: 30 * time.Second, Interval: 5 * time.Second, Timeout: 2 * time.Minute,
	}
}

// Validate reports every fault at once, each naming its field.
func (c PanelConfig) Validate() error {
	var faults []error
	for _, f := range []struct {
		name string
		ok   bool
		is   any
	}{
		{"Recipe", c.Recipe != "", c.Recipe},
		{"MaxPanels", c.MaxPanels > 0, c.MaxPanels},
		{"MaxColumns", c.MaxColumns > 1 && c.MaxColumns <= quality.MaxPanel, c.MaxColumns},
		{"Tolerance", c.Tolerance > 0, c.Tolerance},
		{"Settle", c.Settle >= 0, c.Settle},
		{"Grace", c.Grace >= 0, c.Grace},
		{"Interval", c.Interval > 0, c.Interval},
		{"Timeout", c.Timeout > 0, c.Timeout},
	} {
		if !f.ok {
			faults = append(faults, fmt.Errorf("lifecycle: panels: invalid %s: %v", f.name, f.is))
		}
	}
	return errors.Join(faults...)
}

// PanelDeps are the collaborators of Panels.
type PanelDeps struct {
	Library *Library
	Servers PanelServers
	Folder  PanelFolder // nil: models travel with the load call
	Texts   Texts
	Logger  *slog.Logger
	Now     func() time.Time // nil: the machine's clock
}

// Panels keeps panels on the servers: one of all checkpoints of the encoder,
// and those that others want. It works beside the requests, never in their
// way: a set whose panel is not ready yet is scored head by head. It is safe
// for concurrent use.
type Panels struct {
	PanelDeps
	cfg  PanelConfig
	wake chan struct{}

	ready atomic.Pointer[[]quality.Panel] // what requests may use

	mu     sync.Mutex
	wanted []Wanted
	failed map[quality.Digest]bool // by a request, since the last round

	round    sync.Mutex // held through a round; guards what follows
	since    map[quality.Digest]time.Time
	held     []held // on the servers, as far as we know
	failures map[quality.Digest]string
}

// held is a panel that was loaded.
type held struct {
	panel    quality.Panel
	verified bool      // since it was loaded last
	retired  time.Time // when it was wanted no more; zero: it is wanted
}

// NewPanels returns Panels that hold none yet. Its goroutine is the caller's:
// [Panels.Run].
func NewPanels(cfg PanelConfig, deps PanelDeps) (*Panels, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	p := &Panels{
		PanelDeps: deps, cfg: cfg, wake: make(chan struct{}, 1), failed: map[quality.Digest]bool{},
		since: map[quality.Digest]time.Time{}, failures: map[quality.Digest]string{},
	}
	p.ready.Store(&[]quality.Panel{})
	return p, nil
}

// Want adds somebody who wants panels. Call [Panels.Wake] when what it wants
// has changed.
func (p *Panels) Want(w Wanted) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = append(p.wanted, w)
}

// Wake asks for a round soon. It never blocks.
func (p *Panels) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Ready returns the panels that requests may use.
func (p *Panels) Ready() []quality.Panel { return slices.Clone(*p.ready.Load()) }

// Cover returns the smallest ready panel that has every one of the
// checkpoints and few enough others to be worth it, and false if there is none.
func (p *Panels) Cover(checkpoints []quality.Checkpoint) (quality.Panel, bool) {
	return smallest(*p.ready.Load(), checkpoints)
}

// Failed takes a panel out of use until the next round, which it asks for, has
// loaded and verified it again.
func (p *Panels) Failed(panel quality.Panel, err error) {
	p.mu.Lock()
	again := p.failed[panel.ID]
	p.failed[panel.ID] = true
	p.publish(func(x quality.Panel) bool { return x.ID != panel.ID })
	p.mu.Unlock()
	if !again {
		p.Logger.Warn("panel did not answer; heads are asked one by one", "panel", panel.Model(), "error", err)
	}
	p.Wake()
}

// publish keeps of the ready panels those that keep wants, and adds others.
// p.mu is held.
func (p *Panels) publish(keep func(quality.Panel) bool, add ...quality.Panel) {
	next := append([]quality.Panel{}, add...)
	for _, x := range *p.ready.Load() {
		if keep(x) {
			next = append(next, x)
		}
	}
	p.ready.Store(&next)
}

// Run keeps the panels until ctx ends.
func (p *Panels) Run(ctx context.Context) {
	for {
		timer := time.NewTimer(p.Reconcile(ctx))
		select {
		case <-timer.C:
		case <-p.wake:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// Reconcile makes the servers hold the wanted panels and no others, and
// returns when there is something to do again. While no encoder is known it
// changes nothing. A panel is taken off only when those that are to replace it
// are ready.
func (p *Panels) Reconcile(ctx context.Context) (next time.Duration) {
	p.round.Lock()
	defer p.round.Unlock()
	encoder, ok := p.Servers.Encoder()
	if !ok {
		return p.cfg.Interval
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	p.mu.Lock()
	p.publish(func(x quality.Panel) bool { return x.Encoder == encoder.Digest })
	p.mu.Unlock()

	now, next := p.Now(), p.cfg.Interval
	wanted := p.sets(encoder)
	p.forget(wanted)
	complete := true
	for _, panel := range wanted {
		if _, ok := p.since[panel.ID]; !ok {
			p.since[panel.ID] = now
		}
		if wait := p.cfg.Settle - now.Sub(p.since[panel.ID]); wait > 0 {
			complete, next = false, min(next, wait)
			continue
		}
		if err := p.ensure(ctx, encoder, panel); err != nil {
			complete = false
			if quality.KindOf(err) == quality.KindModelBadOutput { // a server that is away proves nothing
				p.mu.Lock()
				p.publish(func(x quality.Panel) bool { return x.ID != panel.ID })
				p.mu.Unlock()
			}
			p.logFailure(ctx, panel, err)
			continue
		}
		delete(p.failures, panel.ID)
	}
	return min(next, p.retire(ctx, encoder, wanted, complete, now))
}

// sets returns the panels that should be there: what others want, then all
// checkpoints of the encoder, without those that a larger one makes needless.
func (p *Panels) sets(encoder quality.Encoder) []quality.Panel {
	known := map[quality.Digest]quality.Checkpoint{}
	var all []quality.Checkpoint
	for _, e := range p.Library.Snapshot().List() {
		if e.Bundle.CheckEncoder(encoder) == nil && !e.Checkpoint.Prompt {
			known[e.Checkpoint.Digest] = e.Checkpoint
			all = append(all, e.Checkpoint)
		}
	}
	p.mu.Lock()
	others := slices.Clone(p.wanted)
	p.mu.Unlock()
	var asked [][]quality.Checkpoint
	for _, w := range others {
		for _, set := range w.WantedPanels() {
			var members []quality.Checkpoint
			for _, d := range set {
				if c, ok := known[d]; ok {
					members = append(members, c)
				}
			}
			asked = append(asked, members)
		}
	}
	var panels []quality.Panel
	for _, set := range append(asked, all) {
		panel, err := canonicalPanel(p.cfg.Recipe, set)
		if err != nil || len(panel.Checkpoints) > p.cfg.MaxColumns {
			continue // one alone, or too many: heads
		}
		if !slices.ContainsFunc(panels, func(x quality.Panel) bool { return x.ID == panel.ID }) {
			panels = append(panels, panel)
		}
	}
	panels = withoutRedundant(panels)
	return panels[:min(len(panels), p.cfg.MaxPanels)]
}

// forget drops what is remembered of panels that are wanted no more.
func (p *Panels) forget(wanted []quality.Panel) {
	is := map[quality.Digest]bool{}
	for _, x := range wanted {
		is[x.ID] = true
	}
	for id := range p.since {
		if !is[id] {
			delete(p.since, id)
			delete(p.failures, id)
		}
	}
}

// ensure makes a panel usable: built, loaded into every server, compared,
// tried, and only then shown to requests.
func (p *Panels) ensure(ctx context.Context, encoder quality.Encoder, panel quality.Panel) error {
	i := slices.IndexFunc(p.held, func(h held) bool { return h.panel.ID == panel.ID })
	if i >= 0 && p.held[i].verified && p.Servers.PanelReady(ctx, panel) == nil {
		p.held[i].retired = time.Time{}
		if p.use(panel, false) {
			return nil
		}
	}
	built, members, err := p.build(ctx, panel)
	if err != nil {
		return err
	}
	if i < 0 {
		p.makeRoom(ctx)
		p.held = append(p.held, held{panel: panel}) // before it is: what is half loaded has to go as well
		i = len(p.held) - 1
	}
	p.held[i].retired, p.held[i].verified = time.Time{}, false
	if p.Servers.PanelReady(ctx, panel) != nil {
		if p.Folder != nil {
			if err := p.Folder.WritePanel(built); err != nil {
				return err
			}
		}
		if err := p.Servers.LoadPanel(ctx, built); err != nil {
			return err
		}
	}
	if err := p.verify(ctx, encoder, panel, members); err != nil {
		return err
	}
	p.held[i].verified = true
	p.use(panel, true)
	p.Logger.InfoContext(ctx, "panel in use", "panel", panel.Model(), "checkpoints", len(panel.Checkpoints))
	return nil
}

// use shows a panel to requests, unless one of them said meanwhile that it
// failed; then it has to be verified first.
func (p *Panels) use(panel quality.Panel, verified bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed[panel.ID] && !verified {
		return false
	}
	delete(p.failed, panel.ID)
	p.publish(func(x quality.Panel) bool { return x.ID != panel.ID }, panel)
	return true
}

// build folds the panel's heads.
func (p *Panels) build(ctx context.Context, panel quality.Panel) (*checkpoint.Panel, []checkpoint.Member, error) {
	var members []checkpoint.Member
	snapshot := p.Library.Snapshot()
	for _, c := range panel.Checkpoints {
		e, err := snapshot.ByDigest(c.Digest)
		if err != nil {
			return nil, nil, err
		}
		texts, _, err := p.Texts.TextEmbeddings(ctx, e.Checkpoint)
		if err != nil {
			return nil, nil, err
		}
		members = append(members, checkpoint.Member{Bundle: e.Bundle, Texts: texts})
	}
	built, err := checkpoint.NewPanel(panel, members)
	return built, members, err
}

// triedImages is how many embeddings every server scores before a panel is used.
const triedImages = 4

// verify compares what servers say with the arithmetic of the bundles, to
// which their heads were held as well.
func (p *Panels) verify(ctx context.Context, encoder quality.Encoder, panel quality.Panel,
	members []checkpoint.Member) error {
	if err := p.Servers.CheckPanel(ctx, encoder, panel); err != nil {
		return err
	}
	random := rand.New(rand.NewChaCha8(panel.ID))
	var images []quality.Embedding
	for range triedImages {
		images = append(images, direction(random, encoder.Dim))
	}
	answers, err := p.Servers.ScorePanel(ctx, encoder, panel, images)
	if err != nil {
		return err
	}
	if len(answers) == 0 {
		return quality.Errorf(quality.KindModelUnavailable, "no server scored by the panel")
	}
	for k, m := range members {
		for i, image := range images {
			want, err := m.Bundle.Head().Score(image, m.Texts)
			if err != nil {
				return err
			}
			for server, rows := range answers {
				if got := rows[i][k].Score; !withinTolerance(float64(got), float64(want.Score), p.cfg.Tolerance) {
					return quality.Errorf(quality.KindModelBadOutput,
						"on %s: checkpoint %s scores %g in the panel, %g by its head (%g apart is allowed)",
						server, panel.Checkpoints[k].Name, got, want.Score, p.cfg.Tolerance)
				}
			}
		}
	}
	return nil
}

// withinTolerance reports whether two scores are near enough, or neither is a number: a
// head that overflows does so in a panel too, and harms only itself there.
func withinTolerance(a, b, tolerance float64) bool {
	number := func(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }
	if !number(a) || !number(b) {
		return number(a) == number(b)
	}
	return math.Abs(a-b) <= tolerance
}

// makeRoom takes the longest retired panel off when the servers hold as many
// as they may.
func (p *Panels) makeRoom(ctx context.Context) {
	for len(p.held) >= p.cfg.MaxPanels {
		oldest := -1
		for i, h := range p.held {
			if !h.retired.IsZero() && (oldest < 0 || h.retired.Before(p.held[oldest].retired)) {
				oldest = i
			}
		}
		if oldest < 0 || !p.unload(ctx, p.held[oldest].panel) {
			return
		}
		p.held = slices.Delete(p.held, oldest, oldest+1)
	}
}

// retire takes panels that are wanted no more out of use, once all that are
// wanted are ready or the encoder is another one, and off the servers when the
// requests that may still use them are over. It returns when the next is due.
func (p *Panels) retire(ctx context.Context, encoder quality.Encoder, wanted []quality.Panel, complete bool,
	now time.Time) time.Duration {
	next := p.cfg.Interval
	var kept []held
	for _, h := range p.held {
		needed := slices.ContainsFunc(wanted, func(x quality.Panel) bool { return x.ID == h.panel.ID })
		if !needed && h.retired.IsZero() && (complete || h.panel.Encoder != encoder.Digest) {
			h.retired = now
			p.mu.Lock()
			p.publish(func(x quality.Panel) bool { return x.ID != h.panel.ID })
			p.mu.Unlock()
		}
		if !h.retired.IsZero() {
			wait := p.cfg.Grace - now.Sub(h.retired)
			if wait <= 0 && p.unload(ctx, h.panel) {
				continue
			}
			next = min(next, max(wait, time.Second))
		}
		kept = append(kept, h)
	}
	p.held = kept
	return next
}

// unload takes a panel off servers and folder, and reports whether it is gone.
func (p *Panels) unload(ctx context.Context, panel quality.Panel) bool {
	err := p.Servers.UnloadPanel(ctx, panel)
	if err == nil && p.Folder != nil {
		err = p.Folder.RemovePanel(panel)
	}
	if err != nil {
		p.logFailure(ctx, panel, err)
		return false
	}
	p.mu.Lock()
	delete(p.failed, panel.ID)
	p.mu.Unlock()
	delete(p.failures, panel.ID)
	p.Logger.InfoContext(ctx, "panel unloaded", "panel", panel.Model())
	return true
}

// logFailure logs a failure when it is new.
func (p *Panels) logFailure(ctx context.Context, panel quality.Panel, err error) {
	if ctx.Err() != nil || p.failures[panel.ID] == err.Error() {
		return
	}
	p.failures[panel.ID] = err.Error()
	p.Logger.WarnContext(ctx, "panel is not on every server", "panel", panel.Model(), "error", err)
}
