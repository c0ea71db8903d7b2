package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agiqa/agiqa/quality"
)

// Registry is a set of bundles that never changes, for any number of readers
// at once. Taking a checkpoint in or out makes another Registry; who swaps
// them holds an atomic.Pointer, and every request keeps the one it began with.
type Registry struct {
	sorted   []*Bundle // by name
	byName   map[string]*Bundle
	byDigest map[quality.Digest]*Bundle
	preset   *Bundle // nil when there is no default
}

// NewRegistry returns a registry of bundles, of which no two may share a name
// or a digest: one content under two names would be one model on Triton that
// two owners may remove. defaultName picks the default and must then be there;
// empty, it picks the only bundle, and none where there are several.
func NewRegistry(bundles []*Bundle, defaultName string) (*Registry, error) {
	r := &Registry{
		sorted: slices.SortedFunc(slices.Values(bundles), func(a, b *Bundle) int {
			return cmp.Compare(a.manifest.Name, b.manifest.Name)
		}),
		byName:   make(map[string]*Bundle, len(bundles)),
		byDigest: make(map[quality.Digest]*Bundle, len(bundles)),
	}
	for _, b := range r.sorted {
		c := b.Checkpoint()
		if r.byName[c.Name] != nil {
			return nil, quality.Errorf(quality.KindConflict, "two checkpoints are named %q", c.Name)
		}
		if twin := r.byDigest[c.Digest]; twin != nil {
			return nil, quality.Errorf(quality.KindConflict, "checkpoints %q and %q are the same: %s",
				twin.manifest.Name, c.Name, c.Digest)
		}
		r.byName[c.Name], r.byDigest[c.Digest] = b, b
	}
	switch {
	case defaultName != "":
		if r.preset = r.byName[defaultName]; r.preset == nil {
			return nil, fmt.Errorf("default checkpoint %.80q not found among %d checkpoints", defaultName, len(bundles))
		}
	case len(r.sorted) == 1:
		r.preset = r.sorted[0]
	}
	return r, nil
}

// LoadDir opens every sub-folder of dir that has a manifest, and puts the
// bundles in a registry; see [NewRegistry] for defaultName. Every fault of every
// bundle is reported at once.
func LoadDir(dir, defaultName string, limits Limits) (*Registry, error) {
	bundles, damaged, err := Scan(dir, limits)
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, d := range damaged {
		faults = append(faults, d.Err)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return NewRegistry(bundles, defaultName)
}

// Damage is a bundle that can't be opened, or something else that was kept beside
// the bundles.
type Damage struct {
	Name string // of its folder or file
	Err  error
}

// Scan opens every sub-folder of dir that has a manifest, and returns what can't be
// opened beside what can. A folder whose name begins with a dot is one that is being
// written, and is passed over.
func Scan(dir string, limits Limits) (bundles []*Bundle, damaged []Damage, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("checkpoints: %w", err)
	}
	for _, e := range entries {
		folder := filepath.Join(dir, e.Name())
		switch _, err := os.Stat(filepath.Join(folder, ManifestFile)); {
		case !e.IsDir(), strings.HasPrefix(e.Name(), "."), errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			damaged = append(damaged, Damage{e.Name(), fmt.Errorf("checkpoint bundle: %w", err)})
			continue
		}
		b, err := Open(folder, limits)
		if err != nil {
			damaged = append(damaged, Damage{e.Name(), err})
			continue
		}
		bundles = append(bundles, b)
	}
	return bundles, damaged, nil
}

// Get returns the bundle of that name, or the error of [quality.NoCheckpoint].
func (r *Registry) Get(name string) (*Bundle, error) {
	if b, ok := r.byName[name]; ok {
		return b, nil
	}
	return nil, quality.NoCheckpoint([]string{name}, r.names())
}

// ByDigest returns the bundle with that content, or an error of kind
// checkpoint_not_found.
func (r *Registry) ByDigest(d quality.Digest) (*Bundle, error) {
	if b, ok := r.byDigest[d]; ok {
		return b, nil
	}
	return nil, quality.Errorf(quality.KindCheckpointNotFound, "no checkpoint with digest %s found", d)
}

// Default returns the bundle that scores when a request names none, or an error
// of kind checkpoint_not_found.
func (r *Registry) Default() (*Bundle, error) {
	if r.preset == nil {
		return nil, quality.Errorf(quality.KindCheckpointNotFound, "there is no default checkpoint; name one")
	}
	return r.preset, nil
}

// List returns all bundles in order of name.
func (r *Registry) List() []*Bundle { return slices.Clone(r.sorted) }

// names returns the names of all bundles in order.
func (r *Registry) names() []string {
	names := make([]string, len(r.sorted))
	for i, b := range r.sorted {
		names[i] = b.manifest.Name
	}
	return names
}
