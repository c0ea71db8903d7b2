package lifecycle_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/checkpoint/tritonmodels"
	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// panelRig is a rig with panels, whose clock the test moves.
type panelRig struct {
	*rig
	panels  *lifecycle.Panels
	clock   *clock
	encoder quality.Encoder // that the panels are told of
	wanted  [][]quality.Digest
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// WantedPanels implements [lifecycle.Wanted].
func (r *panelRig) WantedPanels() [][]quality.Digest { return r.wanted }

func newPanelRig(t *testing.T, uploads bool, edits ...func(*lifecycle.PanelConfig)) *panelRig {
	t.Helper()
	r := &panelRig{rig: newRig(t, uploads), clock: &clock{now: time.Unix(1e9, 0)}, encoder: tritontest.Encoder()}
	deps := lifecycle.PanelDeps{
		Library: r.library, Texts: r.spy, Logger: slog.New(slog.NewTextHandler(r.log, nil)), Now: r.clock.Now,
		Servers: tritonmodels.PanelServers{Servers: tritonmodels.NewServers(r.client, func() (quality.Encoder, bool) {
			return r.encoder, r.encoder.Dim > 0
		}, uploads)},
	}
	if !uploads {
		deps.Folder = tritonmodels.NewFolder(r.models)
	}
	cfg := lifecycle.DefaultPanelConfig()
	cfg.Recipe = "test/1"
	for _, edit := range edits {
		edit(&cfg)
	}
	var err error
	r.panels, err = lifecycle.NewPanels(cfg, deps)
	must(t, err)
	r.panels.Want(r)
	return r
}

// settled runs a round, lets the time pass that it waits for, and runs another.
func (r *panelRig) settled() {
	r.t.Helper()
	r.panels.Reconcile(r.t.Context())
	r.clock.pass(lifecycle.DefaultPanelConfig().Settle)
	r.panels.Reconcile(r.t.Context())
}

// names are the checkpoints of the ready panels.
func (r *panelRig) names() []string {
	var out []string
	for _, p := range r.panels.Ready() {
		var names []string
		for _, c := range p.Checkpoints {
			names = append(names, c.Name)
		}
		slices.Sort(names)
		out = append(out, strings.Join(names, "+"))
	}
	slices.Sort(out)
	return out
}

func (r *panelRig) wantReady(want ...string) {
	r.t.Helper()
	if got := r.names(); !slices.Equal(got, want) {
		r.t.Errorf("ready panels %q, want %q\n%s", got, want, r.log)
	}
}

// loaded are the panels that server i holds.
func (r *panelRig) loaded(i int) []string {
	return slices.DeleteFunc(r.servers[i].Models(), func(m string) bool { return !strings.HasPrefix(m, "prompt_panel_") })
}

func (r *panelRig) wantLoaded(n int) {
	r.t.Helper()
	for i := range r.servers {
		if got := r.loaded(i); len(got) != n {
			r.t.Errorf("server %d holds %v, want %d panels\n%s", i, got, n, r.log)
		}
	}
}

func (r *panelRig) checkpoints(names ...string) []quality.Checkpoint {
	r.t.Helper()
	var out []quality.Checkpoint
	for _, name := range names {
		e, err := r.library.Snapshot().Get(name)
		must(r.t, err)
		out = append(out, e.Checkpoint)
	}
	return out
}

func TestPanelOfAllCheckpoints(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		r := newPanelRig(t, uploads)
		r.settled()
		r.wantReady() // one checkpoint alone needs none
		bundle := r.mustImport("one", 1)
		r.panels.Reconcile(t.Context())
		r.wantReady() // not settled yet
		r.settled()
		r.wantReady("one+shipped")
		r.wantLoaded(1)

		asked := r.checkpoints("shipped", "one")
		panel, ok := r.panels.Cover(asked)
		if !ok {
			t.Fatal("the panel does not cover its own set")
		}
		image := quality.Embedding{1, 0, 0, 0, 0, 0, 0, 0}
		rows, err := r.client.ScorePanel(t.Context(), tritontest.Encoder(), panel, []quality.Embedding{image})
		must(t, err)
		for _, c := range asked {
			e, err := r.library.Snapshot().Get(c.Name)
			must(t, err)
			text, _, err := r.texts.TextEmbeddings(t.Context(), c)
			must(t, err)
			want, err := e.Bundle.Head().Score(image, text)
			must(t, err)
			if k, _ := panel.Column(c.Digest); rows[0][k] != want {
				t.Errorf("%s: %+v by the panel, %+v by the head", c.Name, rows[0][k], want)
			}
		}

		// The next set: the old panel serves until the new one does, and is
		// unloaded when those who began with it are done.
		r.mustImport("two", 2)
		r.panels.Reconcile(t.Context())
		r.wantReady("one+shipped")
		r.settled()
		r.wantReady("one+shipped+two")
		r.wantLoaded(2)
		r.clock.pass(lifecycle.DefaultPanelConfig().Grace)
		r.panels.Reconcile(t.Context())
		r.wantLoaded(1)

		_, err = r.manager.Remove(t.Context(), "two", "test")
		must(t, err)
		r.settled()
		r.wantReady("one+shipped")
		_, err = r.manager.Remove(t.Context(), "one", "test")
		must(t, err)
		r.panels.Reconcile(t.Context())
		r.wantReady()
		r.clock.pass(lifecycle.DefaultPanelConfig().Grace)
		r.panels.Reconcile(t.Context())
		r.wantLoaded(0)
		if left := tree(t, r.models); len(left) > 0 {
			t.Errorf("model folder still has %v", left)
		}
		_ = bundle
	})
}

// TestPanelsThatServersLost: a restart is made good, whoever notices.
func TestPanelsThatServersLost(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		r := newPanelRig(t, uploads)
		r.mustImport("one", 1)
		r.settled()
		r.servers[0].Forget()
		r.panels.Reconcile(t.Context())
		r.wantReady("one+shipped")
		r.wantLoaded(1)

		panel := r.panels.Ready()[0]
		for _, s := range r.servers {
			s.Forget()
		}
		_, err := r.client.ScorePanel(t.Context(), tritontest.Encoder(), panel, []quality.Embedding{{1, 0, 0, 0, 0, 0, 0, 0}})
		wantKind(t, err, quality.KindModelUnavailable)
		r.panels.Failed(panel, err)
		r.panels.Failed(panel, err)
		r.wantReady()
		if _, ok := r.panels.Cover(panel.Checkpoints); ok {
			t.Error("a panel that failed is offered")
		}
		if n := strings.Count(r.log.String(), "panel did not answer"); n != 1 {
			t.Errorf("%d lines about one failure, want 1", n)
		}
		r.panels.Reconcile(t.Context())
		r.wantReady("one+shipped")
		r.wantLoaded(1)
	})
}

func TestPanelsThatAreNotBelieved(t *testing.T) {
	for _, tc := range []struct {
		name    string
		arrange func(r *panelRig, model string)
		line    string
	}{
		{"a load fails", func(r *panelRig, model string) {
			r.servers[1].FailLoad(model, codes.Internal, "failed to load")
		}, "could not be loaded"},
		{"one server computes something else", func(r *panelRig, model string) {
			r.servers[1].Lie(model, func(resp *pb.ModelInferResponse) { clear(resp.RawOutputContents[0]) })
		}, "in the panel"},
		{"one server says it is another panel", func(r *panelRig, model string) {
			r.servers[1].Lie(model, func(resp *pb.ModelInferResponse) { resp.Outputs[0].Shape = nil })
		}, "shape"},
		{"texts cannot be had", func(r *panelRig, _ string) {
			r.spy.texts = func() error { return quality.Errorf(quality.KindOverloaded, "later") }
		}, "later"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newPanelRig(t, true)
			r.mustImport("one", 1)
			set := r.checkpoints("shipped", "one")
			slices.SortFunc(set, func(a, b quality.Checkpoint) int { return strings.Compare(a.Digest.Hex(), b.Digest.Hex()) })
			p, err := quality.NewPanel("test/1", set)
			must(t, err)
			tc.arrange(r, p.Model())
			r.settled()
			r.panels.Reconcile(t.Context())
			r.wantReady()
			if n := strings.Count(r.log.String(), "panel is not on every server"); n != 1 ||
				!strings.Contains(r.log.String(), tc.line) {
				t.Errorf("%d lines of trouble, want 1 about %q:\n%s", n, tc.line, r.log)
			}
			for _, s := range r.servers {
				s.Heal()
				s.FailLoad(p.Model(), codes.OK, "")
			}
			r.spy.texts = nil
			r.panels.Reconcile(t.Context())
			r.wantReady("one+shipped")
		})
	}
}

// TestWantedPanels: what others want comes first, within the bounds, and sets
// that a larger panel serves as well get none of their own.
func TestWantedPanels(t *testing.T) {
	for _, tc := range []struct {
		name   string
		others int // checkpoints beside the shipped one
		edit   func(*lifecycle.PanelConfig)
		wanted [][]string
		want   []string
	}{
		{"a part of all", 2, nil, [][]string{{"c0", "c1"}}, []string{"c0+c1+shipped"}},
		{"all is too many: only what is wanted", 4, func(c *lifecycle.PanelConfig) { c.MaxColumns = 3 },
			[][]string{{"c0", "c1"}, {"c3", "c2", "shipped"}, {"c1", "c0"}}, []string{"c0+c1", "c2+c3+shipped"}},
		{"more than may be", 4, func(c *lifecycle.PanelConfig) { c.MaxColumns, c.MaxPanels = 2, 2 },
			[][]string{{"c0", "c1"}, {"c1", "c2"}, {"c2", "c3"}}, []string{"c0+c1", "c1+c2"}},
		{"one is gone, one is alone", 2, func(c *lifecycle.PanelConfig) { c.MaxColumns = 2 },
			[][]string{{"c0", "c1", "nobody"}, {"c0", "nobody"}, {"c0"}, nil}, []string{"c0+c1"}},
		{"what would serve it is needless itself", 8, nil,
			[][]string{{"c0", "c1"}, {"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"}},
			[]string{"c0+c1", "c0+c1+c2+c3+c4+c5+c6+c7+shipped"}},
		{"all is far larger: one of its own", 9, nil, [][]string{{"c0", "c1"}},
			[]string{"c0+c1", "c0+c1+c2+c3+c4+c5+c6+c7+c8+shipped"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newPanelRig(t, true, func(c *lifecycle.PanelConfig) {
				if tc.edit != nil {
					tc.edit(c)
				}
			})
			known := map[string]quality.Digest{shippedName: r.checkpoints(shippedName)[0].Digest}
			for i := range tc.others {
				name := fmt.Sprintf("c%d", i)
				known[name] = r.mustImport(name, uint64(i+1)).Checkpoint().Digest
			}
			for _, set := range tc.wanted {
				var digests []quality.Digest
				for _, name := range set {
					d, ok := known[name]
					if !ok {
						d = quality.DigestOf([]byte(name))
					}
					digests = append(digests, d)
				}
				r.wanted = append(r.wanted, digests)
			}
			r.settled()
			r.wantReady(tc.want...)
		})
	}
}

// TestPanelsHaveRoom: a panel on its way out makes room for a new one.
func TestPanelsHaveRoom(t *testing.T) {
	r := newPanelRig(t, true, func(c *lifecycle.PanelConfig) { c.MaxPanels = 1 })
	for i := range 3 {
		r.mustImport(fmt.Sprintf("c%d", i), uint64(i+1))
		r.settled()
	}
	r.wantReady("c0+c1+c2+shipped")
	if got := r.loaded(0); len(got) > 2 {
		t.Errorf("server 0 holds %v; one panel may be there, and one that is replaced", got)
	}
}

func TestPanelsFollowTheEncoder(t *testing.T) {
	r := newPanelRig(t, true)
	r.mustImport("one", 1)
	r.settled()
	old := r.encoder
	r.encoder = quality.Encoder{} // not known: nothing changes
	r.panels.Reconcile(t.Context())
	r.wantReady("one+shipped")
	r.encoder = old
	r.encoder.Digest = quality.DigestOf([]byte("another encoder"))
	r.panels.Reconcile(t.Context())
	r.wantReady()
	r.clock.pass(lifecycle.DefaultPanelConfig().Grace)
	r.panels.Reconcile(t.Context())
	r.wantLoaded(0)
}

// TestAHeadThatOverflows: it harms its own column only, and the panel is used.
func TestAHeadThatOverflows(t *testing.T) {
	r := newPanelRig(t, true)
	d := draft(t, "broken", 7, 1)
	for name, scale := range map[string]float32{"head.0.bias": 1e30, "head.1.weight": 1e30} {
		data := d.Tensors[name].Data
		for i := range data {
			data[i] = scale
		}
	}
	r.mustImport("one", 1)
	b := r.heads.add(d.Bundle(t))
	members := []checkpoint.Member{}
	for _, x := range []*checkpoint.Bundle{b, r.bundle("two", 2)} {
		prompts := tritontest.Prompts(tritontest.Encoder())
		members = append(members,
			checkpoint.Member{Bundle: x,
				Texts: quality.TextEmbeddings(tritontest.TextEmbeddings(tritontest.Encoder(), prompts))})
	}
	p, err := quality.NewPanel("test/1", []quality.Checkpoint{b.Checkpoint(), members[1].Bundle.Checkpoint()})
	must(t, err)
	built, err := checkpoint.NewPanel(p, members)
	must(t, err)
	servers := tritonmodels.PanelServers{Servers: tritonmodels.NewServers(r.client, r.spy.Encoder, true)}
	must(t, servers.LoadPanel(t.Context(), built))
	image := quality.Embedding{1, 0, 0, 0, 0, 0, 0, 0}
	answers, err := servers.ScorePanel(t.Context(), tritontest.Encoder(), p, []quality.Embedding{image})
	must(t, err)
	for server, rows := range answers {
		want, err := members[1].Bundle.Head().Score(image, members[1].Texts)
		must(t, err)
		if rows[0][0].Check() == nil || rows[0][1] != want {
			t.Errorf("on %s: %+v, want no number and %+v", server, rows[0], want)
		}
	}
}

// TestPanelsRun: the goroutine makes what is wanted without anybody's request,
// and stops when told.
func TestPanelsRun(t *testing.T) {
	r := newPanelRig(t, true, func(c *lifecycle.PanelConfig) { c.Settle, c.Interval = 0, 10*time.Millisecond })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan struct{})
	r.mustImport("one", 1)
	go func() { defer close(done); r.panels.Run(ctx) }()
	r.panels.Wake()
	for len(r.panels.Ready()) == 0 {
		select {
		case <-ctx.Done():
			t.Fatal("no panel in a minute")
		case <-time.After(5 * time.Millisecond):
		}
	}
	cancel()
	<-done
	r.wantReady("one+shipped")
}

func TestPanelConfig(t *testing.T) {
	cfg := lifecycle.DefaultPanelConfig()
	cfg.MaxPanels, cfg.MaxColumns, cfg.Tolerance, cfg.Settle, cfg.Grace, cfg.Interval, cfg.Timeout = 0,
		quality.MaxPanel+1, 0, -1, -1, 0, 0
	_, err := lifecycle.NewPanels(cfg, lifecycle.PanelDeps{})
	for _, field := range []string{"Recipe", "MaxPanels", "MaxColumns", "Tolerance", "Settle",
		"Grace", "Interval", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
}
