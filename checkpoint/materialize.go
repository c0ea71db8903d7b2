package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/agiqa/agiqa/internal/durable"
	"github.com/agiqa/agiqa/quality"
)

// Materialize writes the models of b into a Triton model repository: the head
// and, after it, the ensemble that needs it (a prompt-aware checkpoint has none), each as a folder named after the
// checkpoint's digest. A folder appears whole or not at all. The same bundle
// gives the same bytes; a folder that already holds them is left alone, and
// one that holds anything else is a *[quality.Error] of kind conflict, because
// a name on Triton is never used for two contents.
func Materialize(b *Bundle, repositoryDir string) error {
	head, err := headFolder(b)
	if err != nil {
		return err
	}
	c := b.Checkpoint()
	if err := install(repositoryDir, c.HeadModel(), head); err != nil {
		return fmt.Errorf("model %s: %w", c.HeadModel(), err)
	}
	if !c.HasEnsemble() {
		return nil
	}
	ensemble, err := ensembleFolder(b)
	if err != nil {
		return err
	}
	if err := install(repositoryDir, c.EnsembleModel(), ensemble); err != nil {
		return fmt.Errorf("model %s: %w", c.EnsembleModel(), err)
	}
	return nil
}

// Remove takes the models of the checkpoint with that digest out of a model
// repository: the ensemble first, then the head that it needs. A model that is
// not there counts as removed. Unload them from Triton before.
func Remove(repositoryDir string, digest quality.Digest) error {
	c := quality.Checkpoint{Digest: digest}
	for _, model := range []string{c.EnsembleModel(), c.HeadModel()} {
		if err := uninstall(repositoryDir, model); err != nil {
			return fmt.Errorf("model %s: %w", model, err)
		}
	}
	return nil
}

// install makes the folder parent/name hold exactly files.
func install(parent, name string, files folder) error {
	target := filepath.Join(parent, name)
	if _, err := os.Lstat(target); err == nil {
		return compare(target, files)
	}
	// Beside its target, since a rename is atomic within one file system only.
	temporary, err := os.MkdirTemp(parent, "."+name+".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary) // nothing, once it was renamed
	if err := writeFolder(temporary, files); err != nil {
		return err
	}
	if err := os.Rename(temporary, target); err != nil {
		if _, statErr := os.Lstat(target); statErr == nil {
			return compare(target, files) // another process was faster
		}
		return err
	}
	return durable.SyncFolder(parent)
}

// uninstall renames the folder away before it deletes it, so that a server
// that looks meanwhile never sees half a model.
func uninstall(parent, name string) error {
	temporary, err := os.MkdirTemp(parent, "."+name+".old-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	err = os.Rename(filepath.Join(parent, name), filepath.Join(temporary, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(temporary)
}

// writeFolder writes files below dir, readable by the server's user whatever
// the umask is, and waits until the disk has them.
func writeFolder(dir string, files folder) error {
	if err := os.Chmod(dir, 0o755); err != nil { // MkdirTemp gives 0700
		return err
	}
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := durable.WriteFile(file, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// compare reports how the folder dir differs from files, if it does. Python's
// compiled files, which a server leaves beside model.py, do not count.
func compare(dir string, files folder) error {
	found := 0
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == "__pycache__" {
				return fs.SkipDir
			}
			return nil
		}
		relative, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		name := path.Clean(filepath.ToSlash(relative))
		want, ok := files[name]
		if !ok || !entry.Type().IsRegular() {
			return differs("the folder exists and has %s besides", name)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return differs("the folder exists and its %s is another", name)
		}
		found++
		return nil
	})
	if err == nil && found < len(files) {
		err = differs("the folder exists and %d of %d files are missing", len(files)-found, len(files))
	}
	return err
}

func differs(format string, args ...any) error {
	return quality.Errorf(quality.KindConflict, format, args...)
}
