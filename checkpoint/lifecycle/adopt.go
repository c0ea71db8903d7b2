package lifecycle

import (
	"slices"
	"time"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/quality"
)

// retryStore is when to ask again for what only the store knows.
const retryStore = 2 * time.Second

// adoption is how a state is adopted.
type adoption struct {
	starting bool             // no request was served yet: nothing is kept for its sake
	encoder  *quality.Encoder // in use; nil: not known
}

// departed is a checkpoint that left the library. Requests of its generation and
// of those before may still score by it.
type departed struct {
	entry      Entry
	generation int64
	at         time.Time
	forget     func() // its prompts
}

// follows reports whether the library is what a state says. A database that was
// restored may count to a revision again, with another document.
func (l *Library) follows(of desired.State) bool {
	s := l.Snapshot()
	return s.store == of.Store && s.revision == of.Revision && s.document == of.Fingerprint()
}

// imported returns the entry that an imported bundle has here.
func (l *Library) imported(b *checkpoint.Bundle) Entry {
	e := Entry{Bundle: b, Checkpoint: b.Checkpoint(), Manifest: b.Manifest(), Imported: true}
	e.Checkpoint.HeadOnly = l.Snapshot().headOnly
	return e
}

// missing returns the checkpoints of a state that the library lacks, the default
// first.
func (l *Library) missing(of desired.State) []desired.Checkpoint {
	s := l.Snapshot()
	var all []desired.Checkpoint
	for _, c := range of.Checkpoints {
		e, err := s.Get(c.Name)
		switch {
		case err == nil && e.Checkpoint.Digest == c.Digest:
		case c.Name == of.Default:
			all = slices.Insert(all, 0, c)
		default:
			all = append(all, c)
		}
	}
	return all
}

// adopt makes the library what a state says, as far as the bundles are here:
// those of the library, and more. A default that isn't here doesn't replace the one
// that is. The revision is the state's once nothing is missing. What left the
// library is in l.left.
func (l *Library) adopt(of desired.State, more []*checkpoint.Bundle, how adoption) (complete bool, err error) {
	l.changes.Lock()
	defer l.changes.Unlock()
	before := l.now.Load()
	next := &Snapshot{headOnly: before.headOnly, imported: map[quality.Digest]bool{}, store: before.store,
		revision: before.revision, document: before.document, noDefault: before.noDefault, encoder: of.Encoder}
	complete = true
	all := slices.Clone(l.shipped)
	for _, c := range of.Checkpoints {
		switch b := l.find(before, more, c); {
		case b == nil:
			complete = false
		case l.isShipped(b):
		default:
			all, next.imported[c.Digest] = append(all, b), true
		}
	}
	name := before.defaultName()
	if how.starting && of.Default != "" {
		name = "" // never the one of the settings in its place
	}
	chosen, moved := find(all, of.Default), false
	switch {
	case of.Default == "":
		next.noDefault = l.presetErr
	case chosen == nil:
		complete = false
		if how.starting || before.noDefault != nil {
			next.noDefault = errLost(of.Default)
		}
	case how.encoder == nil || chosen.Checkpoint().Encoder == how.encoder.Digest:
		name, next.noDefault, moved = of.Default, nil, true
	default:
		next.noDefault = nil // of another encoder: [Library.UseEncoder] has chosen
	}
	if old, err := before.Get(name); !moved && name != "" && err == nil &&
		!slices.ContainsFunc(all, func(b *checkpoint.Bundle) bool { return same(b, old.Bundle) }) {
		// The default was removed, and what replaces it isn't ready. Until then no
		// other checkpoint has its name.
		all = slices.DeleteFunc(all, func(b *checkpoint.Bundle) bool {
			c, is := b.Checkpoint(), old.Checkpoint
			if c.Name != is.Name && c.Digest != is.Digest {
				return false
			}
			delete(next.imported, c.Digest)
			return true
		})
		all, next.imported[old.Checkpoint.Digest], complete = append(all, old.Bundle), true, false
	}
	if next.registry, err = checkpoint.NewRegistry(all, name); err != nil {
		return false, err
	}
	if _, err := next.registry.Get(of.Previous); err == nil {
		next.previous = of.Previous
	}
	if complete {
		next.store, next.revision, next.document = of.Store, of.Revision, of.Fingerprint()
	}
	l.chosen = of.Default
	var gone []Entry
	for _, e := range before.List() {
		if e.Imported && !next.imported[e.Checkpoint.Digest] && !l.isShipped(e.Bundle) {
			gone = append(gone, e)
		}
	}
	var left []departed
	for _, e := range gone {
		left = append(left, departed{entry: e, at: time.Now(), forget: l.texts.add(e.Bundle)})
	}
	l.usage.replace(func(ending int64) {
		for i := range left {
			left[i].generation = ending
		}
		l.now.Store(next)
		l.left = append(l.left, left...)
	})
	l.copyState(next, of)
	return complete, nil
}

// find returns the bundle of an imported checkpoint, nil where it isn't here or
// something shipped is in its way.
func (l *Library) find(s *Snapshot, more []*checkpoint.Bundle, c desired.Checkpoint) *checkpoint.Bundle {
	is := func(b *checkpoint.Bundle) bool {
		return b.Checkpoint().Name == c.Name && b.Checkpoint().Digest == c.Digest
	}
	if b := l.shippedLike(c); b != nil {
		if is(b) {
			return b
		}
		return nil
	}
	for _, b := range slices.Concat(more, s.registry.List()) {
		if is(b) {
			return b
		}
	}
	return nil
}

// shippedLike returns the shipped bundle with c's name or content, nil where there is
// none.
func (l *Library) shippedLike(c desired.Checkpoint) *checkpoint.Bundle {
	for _, b := range l.shipped {
		if b.Checkpoint().Name == c.Name || b.Checkpoint().Digest == c.Digest {
			return b
		}
	}
	return nil
}

func find(all []*checkpoint.Bundle, name string) *checkpoint.Bundle {
	i := slices.IndexFunc(all, func(b *checkpoint.Bundle) bool { return b.Checkpoint().Name == name })
	if i < 0 {
		return nil
	}
	return all[i]
}

// takeLeft returns what left the library since the last call. It waits for no disk:
// leases depend on it.
func (l *Library) takeLeft() (left []departed) {
	l.usage.still(func() { left, l.left = l.left, nil })
	return left
}
