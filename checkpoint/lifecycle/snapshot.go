package lifecycle

import (
	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/quality"
)

// Entry is a bundle as this server has it.
type Entry struct {
	Bundle *checkpoint.Bundle
	// Checkpoint is the bundle's, and says whether the servers have an
	// ensemble for it.
	Checkpoint quality.Checkpoint
	Manifest   checkpoint.Manifest // of the bundle
	// Imported says that it came at run time and may be removed.
	Imported bool
}

// Snapshot is the set of checkpoints at one moment. It never changes.
type Snapshot struct {
	registry *checkpoint.Registry
	imported map[quality.Digest]bool
	headOnly bool // imported checkpoints have no ensemble
	previous string
	store    string // whose desired state this is, and its revision
	revision int64
	document quality.Digest // of that revision; zero: not known since the start
	encoder  desired.Encoder
	// noDefault says why the default may not score although the registry has one;
	// nil where it may.
	noDefault error
}

// Revision returns the revision of the desired state which this is, 0 where
// nobody knows it.
func (s *Snapshot) Revision() int64 { return s.revision }

// Encoder returns the encoder that somebody chose; the zero value: nobody did.
func (s *Snapshot) Encoder() desired.Encoder { return s.encoder }

// Get returns the checkpoint of that name, or checkpoint_not_found, which is
// the same for every name that is not there.
func (s *Snapshot) Get(name string) (Entry, error) { return s.entry(s.registry.Get(name)) }

// ByDigest returns the checkpoint with that content, or checkpoint_not_found.
func (s *Snapshot) ByDigest(d quality.Digest) (Entry, error) { return s.entry(s.registry.ByDigest(d)) }

// Default returns the checkpoint that scores when a request names none, or
// checkpoint_not_found where there is none, or the reason why it isn't known or
// isn't here.
func (s *Snapshot) Default() (Entry, error) {
	if s.noDefault != nil {
		return Entry{}, s.noDefault
	}
	return s.entry(s.registry.Default())
}

// Previous returns the name of the default before this one, "" if there is
// none to go back to.
func (s *Snapshot) Previous() string { return s.previous }

// List returns every checkpoint in order of name.
func (s *Snapshot) List() []Entry {
	var all []Entry
	for _, b := range s.registry.List() {
		all = append(all, s.describe(b))
	}
	return all
}

func (s *Snapshot) entry(b *checkpoint.Bundle, err error) (Entry, error) {
	if err != nil {
		return Entry{}, err
	}
	return s.describe(b), nil
}

func (s *Snapshot) describe(b *checkpoint.Bundle) Entry {
	e := Entry{Bundle: b, Checkpoint: b.Checkpoint(), Manifest: b.Manifest(), Imported: s.imported[b.Checkpoint().Digest]}
	e.Checkpoint.HeadOnly = e.Imported && s.headOnly
	return e
}

// defaultName is "" where there is no default.
func (s *Snapshot) defaultName() string {
	b, err := s.registry.Default()
	if err != nil {
		return ""
	}
	return b.Checkpoint().Name
}

// check reports, as a conflict, when b can't come in: names and digests are each
// there once.
func (s *Snapshot) check(b *checkpoint.Bundle) error {
	_, err := checkpoint.NewRegistry(append(s.registry.List(), b), s.defaultName())
	return err
}

// withDefault returns the snapshot with that default, which nobody chose: there
// is nothing to go back to.
func (s *Snapshot) withDefault(name string) (*Snapshot, error) {
	next := *s
	var err error
	next.registry, err = checkpoint.NewRegistry(s.registry.List(), name)
	return &next, err
}

// checkTask reports, as a conflict, when c can't become the default because the
// default scores another task: clients would get numbers that mean something
// else, without notice.
func (s *Snapshot) checkTask(c quality.Checkpoint) error {
	now, err := s.registry.Default()
	if err != nil {
		return nil // there is none
	}
	if d := now.Checkpoint(); d.Task != c.Task {
		return quality.Errorf(quality.KindConflict,
			"checkpoint %s scores %s, the default %s scores %s: the default changes within a task; to score both, ask for "+
				"aspects=%s,%s", c.Name, c.Task, d.Name, d.Task, d.Task, c.Task)
	}
	return nil
}
