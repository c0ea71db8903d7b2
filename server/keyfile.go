package server

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agiqa/agiqa/internal/durable"
)

// folderKey reads a secret of 32 bytes from a file of the data folder, which is
// created if need be. broken says what to do about a file that holds none.
func folderKey(path, broken string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = createKey(path)
	}
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(key) < 32 {
		return nil, fmt.Errorf("%s has no key; %s", path, broken)
	}
	return key, nil
}

// createKey creates the file of a secret of 32 bytes and returns its text.
func createKey(path string) ([]byte, error) {
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	return createSecret(path, hex.EncodeToString(key[:])+"\n")
}

// createSecret creates a file of the data folder and returns its text, or that of
// a server that was faster. The file appears whole, so that a server that starts
// at the same time never reads half a secret.
func createSecret(path, text string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	draft := path + "." + rand.Text()
	err := durable.WriteFile(draft, []byte(text), 0o600)
	if err == nil {
		err = os.Link(draft, path)
	}
	removed := os.Remove(draft)
	if errors.Is(err, fs.ErrExist) { // another server was faster
		return os.ReadFile(path)
	}
	return []byte(text), errors.Join(err, removed)
}
