package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/internal/durable"
	"github.com/agiqa/agiqa/quality"
)

// workFolder is where bundles are written before they get their name, and
// where they go before they are deleted. A name cannot begin with a dot.
const workFolder = ".work"

// keptFolder has bundles whose names are other checkpoints' in the store.
const keptFolder = ".kept"

// bundles is the folder of imported bundles, one sub-folder each.
type bundles struct {
	dir    string
	limits checkpoint.Limits
}

// load opens every bundle that can be used beside others. A folder that does not
// exist holds none.
func (s bundles) load(others []*checkpoint.Bundle) (found []*checkpoint.Bundle, damaged []checkpoint.Damage) {
	all, damaged, err := checkpoint.Scan(s.dir, s.limits)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, []checkpoint.Damage{{Name: filepath.Base(s.dir), Err: err}}
	}
	for _, b := range all {
		c := b.Checkpoint()
		if _, err := os.Stat(filepath.Join(s.dir, c.Name)); err != nil {
			damaged = append(damaged, checkpoint.Damage{Name: c.Name,
				Err: fmt.Errorf("checkpoint %q is in a folder of %s that has another name", c.Name, s.dir)})
			continue
		}
		if i := slices.IndexFunc(slices.Concat(others, found), func(o *checkpoint.Bundle) bool {
			return !same(o, b) && (o.Checkpoint().Name == c.Name || o.Checkpoint().Digest == c.Digest)
		}); i >= 0 {
			damaged = append(damaged, checkpoint.Damage{Name: c.Name,
				Err: fmt.Errorf("checkpoint %q in %s has the name or the content of another one", c.Name, s.dir)})
			continue
		}
		found = append(found, b)
	}
	return found, damaged
}

// clean deletes what interrupted changes left.
func (s bundles) clean() error { return os.RemoveAll(filepath.Join(s.dir, workFolder)) }

// write makes b's folder appear, whole and safe from a power cut, or not at
// all. It reads back what it wrote.
func (s bundles) write(b *checkpoint.Bundle) error {
	target := filepath.Join(s.dir, b.Checkpoint().Name)
	if _, err := os.Lstat(target); err == nil {
		return quality.Errorf(quality.KindConflict, "a folder of that name is in the way: it belongs to no checkpoint")
	}
	temporary, err := s.temporary()
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary) // nothing, once it was renamed
	manifest, weights, err := checkpoint.Encode(b)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{checkpoint.ManifestFile: manifest, checkpoint.WeightsFile: weights} {
		if err := durable.WriteFile(filepath.Join(temporary, name), content, 0o600); err != nil {
			return err
		}
	}
	written, err := checkpoint.Open(temporary, s.limits)
	if err != nil {
		return fmt.Errorf("reading back what was written: %w", err)
	}
	if got, want := written.Checkpoint(), b.Checkpoint(); got.Name != want.Name || got.Digest != want.Digest {
		return fmt.Errorf("what was written is checkpoint %s (%s), want %s (%s)",
			got.Name, got.Digest, want.Name, want.Digest)
	}
	if err := durable.SyncFolder(temporary); err != nil {
		return err
	}
	if err := os.Rename(temporary, target); err != nil {
		return err
	}
	if err := durable.SyncFolder(s.dir); err != nil {
		return errors.Join(err, s.remove(b.Checkpoint().Name))
	}
	return nil
}

// remove makes the folder of that name disappear at once and deletes it then.
// One that is not there counts as removed.
func (s bundles) remove(name string) error {
	temporary, err := s.temporary()
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	err = os.Rename(filepath.Join(s.dir, name), filepath.Join(temporary, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return durable.SyncFolder(s.dir)
}

// setAside moves b's folder to where no checkpoint is read from, and returns where
// that is.
func (s bundles) setAside(b *checkpoint.Bundle) (to string, err error) {
	c := b.Checkpoint()
	if err := os.MkdirAll(filepath.Join(s.dir, keptFolder), 0o700); err != nil {
		return "", err
	}
	to = filepath.Join(s.dir, keptFolder, c.Name+"-"+c.Digest.Short())
	if err := os.RemoveAll(to); err != nil { // the same content, of an earlier time
		return "", err
	}
	if err := os.Rename(filepath.Join(s.dir, c.Name), to); err != nil {
		return "", err
	}
	return to, durable.SyncFolder(s.dir)
}

func (s bundles) temporary() (string, error) {
	work := filepath.Join(s.dir, workFolder)
	if err := os.MkdirAll(work, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(work, "")
}
