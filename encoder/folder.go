package encoder

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agiqa/agiqa/internal/durable"
)

// writeFile writes a file below dir, readable by every user whatever the umask
// is, and waits until the disk has it.
func writeFile(dir, name string, content []byte) error {
	if err := makeFolders(dir, filepath.Dir(name)); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, name), content, 0o644)
}

// makeFolders makes a folder below dir, with those above it, open to every
// user whatever the umask is.
func makeFolders(dir, name string) error {
	if name == "." {
		return nil
	}
	if err := makeFolders(dir, filepath.Dir(name)); err != nil {
		return err
	}
	path := filepath.Join(dir, name)
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(path, 0o755)
}

// replace renames staged to dir, whatever dir holds. A crash between the two
// renames leaves no dir, never half of one.
func replace(staged, dir string) error {
	old := staged + ".old"
	if err := os.Rename(dir, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(staged, dir); err != nil {
		return errors.Join(err, os.Rename(old, dir))
	}
	return os.RemoveAll(old)
}

// removeLeftovers deletes what interrupted runs left beside the folder name.
// The caller holds its lock.
func removeLeftovers(parent, name string) error {
	found, err := filepath.Glob(filepath.Join(parent, "."+name+".new-*"))
	if err != nil {
		return err
	}
	for _, f := range found {
		err = errors.Join(err, os.RemoveAll(f))
	}
	return err
}

// sameTree reports whether dir has exactly the files of staged. Python's
// compiled files, which a server leaves beside model.py, don't count.
func sameTree(staged, dir string) (bool, error) {
	want, err := tree(staged)
	if err != nil {
		return false, err
	}
	got, err := tree(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || len(got) != len(want) {
		return false, err
	}
	for name, info := range want {
		other, ok := got[name]
		if !ok || other.Size() != info.Size() {
			return false, nil
		}
		if os.SameFile(info, other) {
			continue
		}
		a, err := os.ReadFile(filepath.Join(staged, name))
		if err != nil {
			return false, err
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(a, b) {
			return false, err
		}
	}
	return true, nil
}

// tree returns the regular files below dir by their relative names.
func tree(dir string) (map[string]fs.FileInfo, error) {
	files := map[string]fs.FileInfo{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == "__pycache__" {
				return fs.SkipDir
			}
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files[name] = info
		return err
	})
	return files, err
}
