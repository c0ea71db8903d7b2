package lifecycle_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/checkpoint/tritonmodels"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// rig is a manager over two in-process Tritons that hold one shipped
// checkpoint.
type rig struct {
	t       *testing.T
	servers []*tritontest.Server
	client  *tritonclient.Client
	library *lifecycle.Library
	manager *lifecycle.Manager
	texts   *cache.Texts
	spy     *spy
	log     *proctest.Buffer
	dir     string // of imported bundles
	models  string // model repository
	heads   *heads
	store   *faultyStore
	cfg     lifecycle.Config
	limits  checkpoint.Limits
	uploads bool
}

// heads computes what the heads of known bundles say: the in-process server
// has no arithmetic of its own.
type heads struct {
	mu   sync.Mutex
	byID map[quality.Digest]checkpoint.Head
}

func (h *heads) add(b *checkpoint.Bundle) *checkpoint.Bundle {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.byID[b.Checkpoint().Digest] = b.Head()
	return b
}

func (h *heads) score(d quality.Digest, text quality.TextEmbeddings,
	image, prompt quality.Embedding) (quality.HeadScore, error) {
	h.mu.Lock()
	head, ok := h.byID[d]
	h.mu.Unlock()
	if !ok {
		return quality.HeadScore{}, fmt.Errorf("no head %s", d)
	}
	if head.Prompt {
		return head.ScoreWithPrompt(image, text, prompt)
	}
	return head.Score(image, text)
}

// faultyStore is a store that fails when a test says so.
type faultyStore struct {
	desired.Store
	mu   sync.Mutex
	away bool // for every call
	full bool // for changes

	before func()      // of the next change, once; nil: nothing
	lose   func(error) // after the next change, whose answer is lost then; nil: nothing
}

// beforeNext has f run before the next change is written.
func (s *faultyStore) beforeNext(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// loseNext has f run after the next change, which is saved and reported as a failure.
func (s *faultyStore) loseNext(f func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose = f
}

func (s *faultyStore) set(away, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.full = away, full
}

func (s *faultyStore) fault(change bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away || change && s.full {
		return quality.Errorf(quality.KindStoreUnavailable, "the store is unavailable")
	}
	return nil
}

func (s *faultyStore) Desired(ctx context.Context) (desired.State, error) {
	if err := s.fault(false); err != nil {
		return desired.State{}, err
	}
	return s.Store.Desired(ctx)
}

func (s *faultyStore) Replace(ctx context.Context, was int64, d desired.Document,
	add ...desired.Bundle) (desired.State, error) {
	if err := s.fault(true); err != nil {
		return desired.State{}, err
	}
	s.mu.Lock()
	before, lose := s.before, s.lose
	s.before, s.lose = nil, nil
	s.mu.Unlock()
	if before != nil {
		before()
	}
	state, err := s.Store.Replace(ctx, was, d, add...)
	if lose != nil {
		lose(err)
		return desired.State{}, quality.Errorf(quality.KindStoreUnavailable, "the answer is lost")
	}
	return state, err
}

func (s *faultyStore) Leave(ctx context.Context, holder string) error {
	if err := s.fault(false); err != nil {
		return err
	}
	return s.Store.Leave(ctx, holder)
}

func (s *faultyStore) Hold(ctx context.Context, holder string, revision int64, heads []quality.Digest) error {
	if err := s.fault(false); err != nil {
		return err
	}
	return s.Store.Hold(ctx, holder, revision, heads)
}

// spy stands between the manager and its collaborators; tests make it fail.
type spy struct {
	lifecycle.Servers
	mu           sync.Mutex // guards check and unload
	check, texts func() error
	unload       func() // before models are unloaded; nil: nothing
	source       lifecycle.Texts
	noEncoder    bool
}

func (s *spy) Encoder() (quality.Encoder, bool) {
	if s.noEncoder {
		return quality.Encoder{}, false
	}
	return s.Servers.Encoder()
}

func (s *spy) beforeUnload(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unload = f
}

func (s *spy) setCheck(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.check = f
}

func (s *spy) Check(ctx context.Context, enc quality.Encoder, c quality.Checkpoint) error {
	s.mu.Lock()
	check := s.check
	s.mu.Unlock()
	if check != nil {
		return check()
	}
	return s.Servers.Check(ctx, enc, c)
}

func (s *spy) Unload(ctx context.Context, c quality.Checkpoint) error {
	s.mu.Lock()
	unload := s.unload
	s.mu.Unlock()
	if unload != nil {
		unload()
	}
	return s.Servers.Unload(ctx, c)
}

func (s *spy) TextEmbeddings(ctx context.Context, c quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
	if s.texts != nil {
		return quality.TextEmbeddings{}, false, s.texts()
	}
	return s.source.TextEmbeddings(ctx, c)
}

// shippedName is the checkpoint that is there from the start.
const shippedName = "shipped"

func newRig(t *testing.T, uploads bool) *rig {
	t.Helper()
	r := &rig{
		t: t, uploads: uploads, log: &proctest.Buffer{}, dir: filepath.Join(t.TempDir(), "checkpoints"), models: t.TempDir(),
		heads: &heads{byID: map[quality.Digest]checkpoint.Head{}}, limits: checkpoint.DefaultLimits(),
		store: &faultyStore{Store: desired.NewMemory("rig", false, time.Now)}, cfg: lifecycle.DefaultConfig(),
	}
	r.limits.NoGolden = true
	shipped := r.heads.add(draft(t, shippedName, 100, 2).Bundle(t))
	cfg := tritonclient.DefaultConfig()
	for range 2 {
		s := tritontest.New(t, tritontest.WithCheckpoints(shipped.Checkpoint()), tritontest.WithHead(r.heads.score),
			tritontest.WithRepository(r.models))
		r.servers = append(r.servers, s)
		cfg.Addresses = append(cfg.Addresses, s.Addr())
	}
	var err error
	r.client, err = tritonclient.New(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, r.client.Close()) })
	r.open(shipped)
	return r
}

// open makes library and manager anew, as a restart does.
func (r *rig) open(shipped ...*checkpoint.Bundle) {
	r.t.Helper()
	r.library = r.openLibrary(shipped...)
	must(r.t, r.library.Clean())
	if err := r.library.Join(r.t.Context(), r.store); err != nil {
		wantKind(r.t, err, quality.KindStoreUnavailable)
	}
	memory, err := cache.NewMemory(cache.DefaultMemoryConfig())
	must(r.t, err)
	texts := cache.DefaultTextsConfig()
	texts.Encoder, texts.Memory = tritontest.Encoder(), memory
	r.texts, err = cache.NewTexts(texts, scoring.PromptEncoder{Assembler: r.library, Encoder: r.client})
	must(r.t, err)
	source := r.texts
	r.t.Cleanup(func() { must(r.t, source.Close(context.WithoutCancel(r.t.Context()))) })
	encoder := func() (quality.Encoder, bool) { return tritontest.Encoder(), true }
	r.spy = &spy{Servers: tritonmodels.NewServers(r.client, encoder, r.uploads), source: source}
	deps := lifecycle.Deps{
		Library: r.library, Store: r.store, Servers: r.spy, Texts: r.spy,
		Logger: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	if !r.uploads {
		deps.Folder = tritonmodels.NewFolder(r.models)
	}
	r.manager, err = lifecycle.NewManager(r.cfg, deps)
	must(r.t, err)
}

func (r *rig) openLibrary(shipped ...*checkpoint.Bundle) *lifecycle.Library {
	r.t.Helper()
	library, err := lifecycle.OpenLibrary(r.libraryConfig(shipped...))
	must(r.t, err)
	return library
}

func (r *rig) libraryConfig(shipped ...*checkpoint.Bundle) lifecycle.LibraryConfig {
	r.t.Helper()
	return lifecycle.LibraryConfig{
		Shipped: shipped, Dir: r.dir, Preset: shippedName,
		HeadOnly: r.uploads, Limits: checkpoint.DefaultLimits(), Tokenizer: checkpointtest.Tokenizer(r.t),
		Logger: slog.New(slog.NewTextHandler(r.log, nil)),
	}
}

// draft returns a sound bundle to be of the servers' encoder.
func draft(t *testing.T, name string, seed uint64, golden int) *checkpointtest.Draft {
	t.Helper()
	enc := tritontest.Encoder()
	d := checkpointtest.New(enc, name, seed)
	return d.AddGolden(t, golden, quality.TextEmbeddings(tritontest.TextEmbeddings(enc, d.Prompts(t))))
}

// bundle returns a sound bundle whose head the servers can compute.
func (r *rig) bundle(name string, seed uint64) *checkpoint.Bundle {
	r.t.Helper()
	return r.heads.add(draft(r.t, name, seed, 3).Bundle(r.t))
}

func (r *rig) mustImport(name string, seed uint64) *checkpoint.Bundle {
	r.t.Helper()
	b := r.bundle(name, seed)
	_, err := r.manager.Import(r.t.Context(), lifecycle.Import{Bundle: b, By: "test"})
	must(r.t, err)
	return b
}

// beside returns another gateway on the same servers and another connection to a
// store, with a data folder of its own.
func (r *rig) beside(store desired.Store) *rig {
	r.t.Helper()
	next := *r
	next.dir, next.log = filepath.Join(r.t.TempDir(), "checkpoints"), &proctest.Buffer{}
	next.store = &faultyStore{Store: store}
	shipped, err := r.library.Snapshot().Get(shippedName)
	must(r.t, err)
	next.open(shipped.Bundle)
	return &next
}

// run runs the gateway's loops until stop is called, or the test ends.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	var loops sync.WaitGroup
	loops.Go(func() { r.manager.Follow(ctx) })
	loops.Go(func() { r.manager.Beat(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		loops.Wait()
	})
	r.t.Cleanup(stop)
	return stop
}

// within waits for something, and reports how long it took.
func within(t *testing.T, most time.Duration, what string, is func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-t.Context().Done():
			t.Fatal("the test ended before " + what)
		}
		if time.Since(start) > most {
			t.Fatalf("after %v: not yet %s", most, what)
		}
	}
	return time.Since(start)
}

// awaitServers waits until every server is connected: a connection that was
// lost is found again within about a second.
func (r *rig) awaitServers() {
	r.t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for r.client.ReadyEverywhere(r.t.Context(), tritontest.ImageEncoder) != nil {
		select {
		case <-ticker.C:
		case <-r.t.Context().Done():
			r.t.Fatal("a server is not found again")
		}
	}
}

// state is everything that a change may touch, as text.
func (r *rig) state() string {
	r.t.Helper()
	var b strings.Builder
	for i, s := range r.servers {
		fmt.Fprintf(&b, "server %d: %v\n", i, s.Models())
	}
	s := r.library.Snapshot()
	for _, e := range s.List() {
		fmt.Fprintf(&b, "checkpoint %+v imported %t\n", e.Checkpoint, e.Imported)
	}
	def, err := s.Default()
	fmt.Fprintf(&b, "default %s %v, previous %q\n", def.Checkpoint.Name, err, s.Previous())
	files := map[string]string{}
	for _, dir := range []string{r.dir, r.models} {
		maps.Copy(files, tree(r.t, dir))
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, "%s %s\n", name, files[name])
	}
	return b.String()
}

// tree lists files below dir with their digests; an empty work folder does not
// count.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil || d.IsDir() {
			if err == nil && filepath.Base(filepath.Dir(path)) == ".work" {
				out[path] = "folder"
			}
			return err
		}
		if filepath.Base(path) == lifecycle.OriginFile {
			return nil // it has the revision
		}
		raw, err := os.ReadFile(path)
		out[path] = quality.DigestOf(raw).Short()
		return err
	})
	must(t, err)
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, want quality.Kind) {
	t.Helper()
	if got := quality.KindOf(err); err == nil || got != want {
		t.Errorf("error %v, want one of kind %s", err, want)
	}
}

// ways runs a test for both ways to bring models to servers.
func ways(t *testing.T, f func(t *testing.T, uploads bool)) {
	t.Run("shared", func(t *testing.T) { f(t, false) })
	t.Run("upload", func(t *testing.T) { f(t, true) })
}
