package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/internal/durable"
	"github.com/agiqa/agiqa/quality"
)

// OriginFile says which state of which store the folder is a copy of.
const OriginFile = "origin.json"

// origin is the content of the origin file. The zero value is of a folder that
// is no copy.
type origin struct {
	Store    string `json:"store"`
	Revision int64  `json:"revision"`
	// Fingerprint is of what the folder held then. Another one: a program that
	// knows no store has changed it since.
	Fingerprint quality.Digest  `json:"fingerprint"`
	Encoder     desired.Encoder `json:"encoder,omitzero"` // that was chosen
}

// readOrigin returns the zero value where the file is missing or damaged: the
// folder is then taken over, which adds what the store lacks and no more.
func readOrigin(dir string) (o origin) {
	raw, err := os.ReadFile(filepath.Join(dir, OriginFile))
	if err != nil || json.Unmarshal(raw, &o) != nil {
		return origin{}
	}
	return o
}

// folder is what the data folder holds: a copy, or the state of a program that
// knew no store.
type folder struct {
	bundles map[string]*checkpoint.Bundle // by name
	state   state
}

func newFolder(imported []*checkpoint.Bundle, kept state) folder {
	f := folder{bundles: map[string]*checkpoint.Bundle{}, state: kept}
	for _, b := range imported {
		f.bundles[b.Checkpoint().Name] = b
	}
	return f
}

func (f folder) empty() bool { return len(f.bundles) == 0 && f.state == state{} }

func (f folder) fingerprint() quality.Digest {
	text := fmt.Sprintf("%s\n%s\n", f.state.Default, f.state.Previous)
	for _, name := range slices.Sorted(maps.Keys(f.bundles)) {
		text += fmt.Sprintf("%s %s\n", name, f.bundles[name].Checkpoint().Digest)
	}
	return quality.DigestOf([]byte(text))
}

// copyState makes the folder a copy of a state, as far as the snapshot has it.
// What is removed goes first: a copy that was cut off never has what the store
// doesn't. A folder that can't be written costs nothing but the next start
// without a store. l.changes is held.
func (l *Library) copyState(s *Snapshot, of desired.State) {
	if l.readOnly {
		return
	}
	err := l.writeCopy(s, of)
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != l.copyErr {
		l.logger.Warn("the data folder has no copy of the checkpoints; a start without the store will lack them",
			"folder", l.bundles.dir, "error", err)
	}
	l.copyErr = text
}

func (l *Library) writeCopy(s *Snapshot, of desired.State) error {
	var faults []error
	for name, b := range l.folder.bundles {
		if e, err := s.Get(name); err == nil && e.Checkpoint.Digest == b.Checkpoint().Digest {
			continue
		}
		if err := l.bundles.remove(name); err != nil {
			faults = append(faults, err)
			continue
		}
		delete(l.folder.bundles, name)
	}
	for _, e := range s.List() {
		if !e.Imported || l.folder.bundles[e.Checkpoint.Name] != nil {
			continue
		}
		if err := l.bundles.write(e.Bundle); err != nil {
			faults = append(faults, fmt.Errorf("checkpoint %s: %w", e.Checkpoint.Name, err))
			continue
		}
		l.folder.bundles[e.Checkpoint.Name] = e.Bundle
	}
	if kept := (state{Default: of.Default, Previous: of.Previous}); of.Default != "" && kept != l.folder.state {
		if err := writeState(l.bundles.dir, kept); err != nil {
			return errors.Join(append(faults, err)...)
		}
		l.folder.state = kept
	}
	next := origin{Store: of.Store, Revision: s.revision, Fingerprint: l.folder.fingerprint(), Encoder: s.encoder}
	if next != l.origin {
		raw, err := json.Marshal(next)
		if err == nil {
			err = durable.ReplaceFile(l.bundles.dir, OriginFile, append(raw, '\n'))
		}
		if err != nil {
			return errors.Join(append(faults, err)...)
		}
		l.origin = next
	}
	return errors.Join(faults...)
}

// Join makes the library follow a store: what the folder has that doesn't come
// from the store is put into it, and the library becomes what the store says. It
// is for the start, before any request. With an error of the store the library
// stays what the folder says; where nothing is known, of a store that others use
// too, there is no default until the store answers.
func (l *Library) Join(ctx context.Context, store desired.Store) error {
	l.changes.Lock()
	l.store = store
	l.changes.Unlock()
	state, err := l.takeOver(ctx)
	if err != nil {
		l.changes.Lock()
		defer l.changes.Unlock()
		if store.Shared() && l.origin == (origin{}) && l.folder.empty() {
			next := *l.now.Load()
			next.noDefault = quality.Errorf(quality.KindStoreUnavailable,
				"which checkpoint is the default isn't known: the store can't be reached since the start").After(retryStore).
				Because(err)
			l.now.Store(&next)
		}
		return err
	}
	var more []*checkpoint.Bundle
	for _, c := range l.missing(state) {
		b, err := l.fetch(ctx, c)
		if err != nil {
			l.logger.WarnContext(ctx, "a checkpoint of the store isn't available", "checkpoint", c.Name, "error", err)
			continue
		}
		more = append(more, b)
	}
	_, err = l.adopt(state, more, adoption{starting: true})
	return err
}

// takeOver returns the state of the store. The first time, and when the store is
// another one, it puts into it what the library has from elsewhere.
func (l *Library) takeOver(ctx context.Context) (desired.State, error) {
	l.joining.Lock()
	defer l.joining.Unlock()
	for range replaceTries {
		now, err := l.store.Desired(ctx)
		if err != nil || l.joined != "" && now.Store == l.joined {
			return now, err
		}
		d, add, err := l.foreign(now)
		if err != nil {
			return now, err
		}
		if now.Revision > 0 && len(add) == 0 {
			l.joined = now.Store
			return now, nil
		}
		next, err := l.store.Replace(ctx, now.Revision, d, add...)
		if quality.KindOf(err) == quality.KindConflict {
			continue // another gateway was quicker
		}
		if err != nil {
			return now, err
		}
		l.joined = next.Store
		l.logger.InfoContext(ctx, "the store has taken over the checkpoints of the data folder", "imported", len(add),
			"default", d.Default, "revision", next.Revision)
		return next, nil
	}
	return desired.State{}, errRestless()
}

// foreign returns the document that has what the library has besides, and the
// bundles that are new in it.
func (l *Library) foreign(now desired.State) (d desired.Document, add []desired.Bundle, err error) {
	l.changes.Lock()
	defer l.changes.Unlock()
	d = now.Document
	if now.Store != "" && now.Store == l.origin.Store && l.origin.Fingerprint == l.folder.fingerprint() {
		return d, nil, nil
	}
	s := l.now.Load()
	if now.Revision == 0 {
		d.Default, d.Previous = l.chosen, s.previous
	}
	for _, e := range s.List() {
		if !e.Imported || d.Has(e.Checkpoint.Digest) {
			continue
		}
		if _, taken := d.Find(e.Checkpoint.Name); taken {
			if err := l.setAside(e.Checkpoint.Name); err != nil {
				return d, nil, err
			}
			continue
		}
		c, packed, err := pack(e.Bundle)
		if err != nil {
			return d, nil, err
		}
		d, add = d.With(c), append(add, packed)
	}
	return d, add, nil
}

func (l *Library) isShipped(b *checkpoint.Bundle) bool {
	return slices.ContainsFunc(l.shipped, func(o *checkpoint.Bundle) bool { return same(o, b) })
}

// setAside keeps a bundle whose name is another checkpoint's in the store.
func (l *Library) setAside(name string) error {
	b := l.folder.bundles[name]
	if l.readOnly || b == nil {
		return nil
	}
	to, err := l.bundles.setAside(b)
	if err != nil {
		return err
	}
	delete(l.folder.bundles, name)
	l.logger.Warn("a checkpoint of the data folder was set aside: the store has another one of its name",
		"checkpoint", name, "folder", to)
	return nil
}

// pack makes of a bundle what a store keeps. It reads back what it made.
func pack(b *checkpoint.Bundle) (desired.Checkpoint, desired.Bundle, error) {
	manifest, weights, err := checkpoint.Encode(b)
	if err != nil {
		return desired.Checkpoint{}, desired.Bundle{}, err
	}
	packed := desired.Bundle{Manifest: manifest, Weights: weights}
	c := desired.Checkpoint{Name: b.Checkpoint().Name, Digest: b.Checkpoint().Digest, Bundle: packed.Address()}
	_, err = unpack(packed, c, checkpoint.DefaultLimits())
	return c, packed, err
}

// unpack reads a bundle that should be c.
func unpack(packed desired.Bundle, c desired.Checkpoint, limits checkpoint.Limits) (*checkpoint.Bundle, error) {
	b, err := checkpoint.Decode(packed.Manifest, packed.Weights, limits)
	if err != nil {
		return nil, err
	}
	if got := b.Checkpoint(); got.Name != c.Name || got.Digest != c.Digest {
		return nil, quality.Errorf(quality.KindCheckpointInvalid, "the bundle is checkpoint %s (%s), want %s (%s)",
			got.Name, got.Digest, c.Name, c.Digest)
	}
	return b, nil
}

// fetch gets a bundle from the store.
func (l *Library) fetch(ctx context.Context, c desired.Checkpoint) (*checkpoint.Bundle, error) {
	packed, err := l.store.Bundle(ctx, c.Bundle)
	if err != nil {
		return nil, err
	}
	return unpack(packed, c, l.bundles.limits)
}
