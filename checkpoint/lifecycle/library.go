package lifecycle

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

// Demo is the name of the checkpoint that is the default of a fresh server
// which ships it.
const Demo = "demo"

// LibraryConfig says where checkpoints are.
type LibraryConfig struct {
	// Shipped bundles are there from the start and stay. Whoever names the
	// default in Preset names one of these or an imported one.
	Shipped []*checkpoint.Bundle
	// Damaged were meant to be Shipped.
	Damaged []checkpoint.Damage
	// Dir is the folder of imported bundles and of the state: this gateway's copy
	// of what the store says. It need not exist.
	Dir string
	// ReadOnly leaves the folder as it is.
	ReadOnly bool
	// Preset is the default where no change was ever made; "" for [Demo] where
	// that is shipped, otherwise for the only checkpoint there is. See
	// [Library.UseEncoder] for one that the encoder in use can't serve.
	Preset string
	// HeadOnly says that imported checkpoints have no ensemble.
	HeadOnly bool
	// Limits bound what a bundle may ask of its reader.
	Limits checkpoint.Limits
	// Tokenizer makes tokens of prompts.
	Tokenizer *clip.Tokenizer
	// Logger; nil for none.
	Logger *slog.Logger
}

// Library is the set of checkpoints of a server. It is safe for concurrent use.
type Library struct {
	tokenizer *clip.Tokenizer
	bundles   bundles
	shipped   []*checkpoint.Bundle
	preset    string // of the configuration
	damaged   []checkpoint.Damage
	presetErr error // why the preset can't be the default where nobody chose another one
	readOnly  bool
	logger    *slog.Logger
	usage     usage
	now       atomic.Pointer[Snapshot] // replaced under usage
	left      []departed               // since the last takeLeft; guarded by usage

	changes sync.Mutex // held from reading now to replacing it; guards what follows
	chosen  string     // the default that was chosen at run time, "" for none
	folder  folder     // what the data folder holds
	origin  origin     // what that is a copy of
	copyErr string     // why it could not be written, the last time

	joining sync.Mutex    // guards joined
	joined  string        // the identity of the store that has what the folder had, "" before
	store   desired.Store // set once, by Join

	texts expected // whose prompts can be encoded besides those in now
}

// OpenLibrary reads what there is and changes nothing. What cannot be read is in
// [Library.Damaged]. Where that is the default, or where the one that was chosen is
// not there, there is none: no server scores by another checkpoint than it was told
// to. Two shipped bundles of one name or content, and a preset that never was there,
// are errors.
func OpenLibrary(cfg LibraryConfig) (*Library, error) {
	l := &Library{
		tokenizer: cfg.Tokenizer, bundles: bundles{dir: cfg.Dir, limits: cfg.Limits}, shipped: cfg.Shipped,
		preset: cfg.Preset, readOnly: cfg.ReadOnly, logger: cfg.Logger,
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	imported, damaged := l.bundles.load(cfg.Shipped)
	l.damaged = slices.Concat(cfg.Damaged, damaged)
	kept, err := readState(cfg.Dir)
	if err != nil {
		l.damaged = append(l.damaged, checkpoint.Damage{Name: StateFile, Err: err})
	}
	l.folder, l.origin = newFolder(imported, kept), readOrigin(cfg.Dir)
	s := &Snapshot{headOnly: cfg.HeadOnly, previous: kept.Previous, imported: map[quality.Digest]bool{}}
	all := slices.Clone(cfg.Shipped)
	for _, b := range imported {
		if slices.ContainsFunc(cfg.Shipped, func(o *checkpoint.Bundle) bool { return same(o, b) }) {
			continue // a release ships now what was imported before
		}
		all = append(all, b)
		s.imported[b.Checkpoint().Digest] = true
	}
	preset := cfg.Preset
	if preset == "" &&
		(slices.ContainsFunc(cfg.Shipped, func(b *checkpoint.Bundle) bool { return b.Checkpoint().Name == Demo }) ||
			slices.ContainsFunc(cfg.Damaged, func(d checkpoint.Damage) bool { return d.Name == Demo })) {
		preset = Demo
	}
	if l.chosen = kept.Default; l.chosen != "" {
		preset = l.chosen
	}
	if lost := l.lost(all, preset); lost {
		s.noDefault = errLost(preset)
		preset = ""
		if l.chosen == "" {
			l.presetErr = s.noDefault
		}
	}
	if s.registry, err = checkpoint.NewRegistry(all, preset); err != nil {
		return nil, fmt.Errorf("checkpoints, %s with the imported ones: %w", cfg.Dir, err)
	}
	if _, err := s.registry.Get(s.previous); err != nil {
		s.previous = ""
	}
	l.now.Store(s)
	if l.origin.Fingerprint == l.folder.fingerprint() {
		s.store, s.revision, s.encoder = l.origin.Store, l.origin.Revision, l.origin.Encoder
	}
	return l, nil
}

// Damaged returns what could not be read when the library was opened, without what
// the store has made good.
func (l *Library) Damaged() []checkpoint.Damage {
	s := l.Snapshot()
	return slices.DeleteFunc(slices.Clone(l.damaged), func(d checkpoint.Damage) bool {
		e, err := s.Get(d.Name)
		return err == nil && e.Imported || d.Name == StateFile && l.chosenByStore()
	})
}

// chosenByStore reports whether the store says what the default is.
func (l *Library) chosenByStore() bool {
	l.joining.Lock()
	joined := l.joined != ""
	l.joining.Unlock()
	l.changes.Lock()
	defer l.changes.Unlock()
	return joined && l.chosen != ""
}

// lost reports whether the checkpoint that should be the default was there once and
// can't be used.
func (l *Library) lost(all []*checkpoint.Bundle, name string) bool {
	if name == "" || slices.ContainsFunc(all, func(b *checkpoint.Bundle) bool { return b.Checkpoint().Name == name }) {
		return false
	}
	return l.chosen != "" || slices.ContainsFunc(l.damaged, func(d checkpoint.Damage) bool { return d.Name == name })
}

func errLost(name string) error {
	return quality.Errorf(quality.KindModelUnavailable,
		"the default checkpoint, %s, is damaged or missing on this server; restore it, or activate another one", name)
}

func same(a, b *checkpoint.Bundle) bool {
	x, y := a.Checkpoint(), b.Checkpoint()
	return x.Name == y.Name && x.Digest == y.Digest
}

// Clean deletes what interrupted changes left in the folder. Nobody else may be
// changing it.
func (l *Library) Clean() error {
	if err := l.bundles.clean(); err != nil {
		return fmt.Errorf("imported checkpoints: %w", err)
	}
	return nil
}

// Snapshot returns the checkpoints of this moment.
func (l *Library) Snapshot() *Snapshot { return l.now.Load() }

// Get returns the checkpoint of that name at this moment, or
// checkpoint_not_found.
func (l *Library) Get(name string) (Entry, error) { return l.Snapshot().Get(name) }

// Default returns the checkpoint that scores when a request names none, or
// checkpoint_not_found where there is none.
func (l *Library) Default() (Entry, error) { return l.Snapshot().Default() }

// List returns every checkpoint of this moment in order of name.
func (l *Library) List() []Entry { return l.Snapshot().List() }

// Imported returns the bundles that came at run time, in order of name.
func (l *Library) Imported() []*checkpoint.Bundle {
	var out []*checkpoint.Bundle
	for _, e := range l.List() {
		if e.Imported {
			out = append(out, e.Bundle)
		}
	}
	return out
}

// Prompts assembles the prompts of a checkpoint that is in the library, is about
// to be, or was a moment ago.
func (l *Library) Prompts(c quality.Checkpoint) (quality.Prompts, error) {
	b := l.texts.get(c.Digest)
	if b == nil {
		e, err := l.Snapshot().ByDigest(c.Digest)
		if err != nil {
			return quality.Prompts{}, err
		}
		b = e.Bundle
	}
	return clip.Assemble(l.tokenizer, b.PromptSpec())
}

// PicturePrompt returns the prompt that a picture was made from in the form that
// the text encoder takes, with the errors of [clip.PicturePrompt].
func (l *Library) PicturePrompt(encoder quality.Encoder, prompt string) (quality.Prompts, error) {
	return clip.PicturePrompt(l.tokenizer, prompt, encoder.TextWidth)
}

// UseEncoder makes the default a checkpoint that the encoder in use can serve:
// the first that was trained on it of the one chosen at run time, the preset,
// the encoder's own default, [Demo], and the only one there is. Where none was,
// the default stays, and whoever asks for it gets encoder_mismatch. It also stays
// where the one that was chosen isn't here. Nothing is saved: with its own encoder,
// a choice counts again. It returns the new default's name, "" where nothing
// changed.
func (l *Library) UseEncoder(e quality.Encoder) (changed string) {
	l.changes.Lock()
	defer l.changes.Unlock()
	now := l.now.Load()
	if now.noDefault != nil {
		return ""
	}
	if _, err := now.Get(l.chosen); l.chosen != "" && err != nil {
		return ""
	}
	name := l.defaultOf(now, e)
	if name == "" || name == now.defaultName() {
		return ""
	}
	next, err := now.withDefault(name)
	if err != nil {
		return "" // impossible: the snapshot has it
	}
	l.usage.replace(func(int64) { l.now.Store(next) })
	return name
}

// defaultOf returns the name of the default with an encoder; "" where it can serve
// none. l.changes is held.
func (l *Library) defaultOf(s *Snapshot, e quality.Encoder) string {
	var own []string
	for _, entry := range s.List() {
		if entry.Checkpoint.Encoder == e.Digest {
			own = append(own, entry.Checkpoint.Name)
		}
	}
	wishes := []string{l.chosen, l.preset, e.DefaultCheckpoint, Demo}
	if len(own) == 1 {
		wishes = append(wishes, own[0])
	}
	at := slices.IndexFunc(wishes, func(name string) bool { return slices.Contains(own, name) })
	if at < 0 {
		return ""
	}
	return wishes[at]
}

// canServe reports whether there is a default with an encoder.
func (l *Library) canServe(e quality.Encoder) bool {
	l.changes.Lock()
	defer l.changes.Unlock()
	return l.defaultOf(l.now.Load(), e) != ""
}
