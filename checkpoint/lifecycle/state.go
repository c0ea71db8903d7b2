package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/agiqa/agiqa/internal/durable"
	"github.com/agiqa/agiqa/quality"
)

// StateFile holds the choice of the default, which programs that know no store
// read too.
const StateFile = "state.json"

// state is the content of the state file.
type state struct {
	Default  string `json:"default"`
	Previous string `json:"previous,omitempty"`
}

// readState returns the zero state where there is no file yet.
func readState(dir string) (state, error) {
	var s state
	raw, err := os.ReadFile(filepath.Join(dir, StateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	err = dec.Decode(&s)
	if err == nil && (!quality.ValidCheckpointName(s.Default) || s.Previous != "" &&
		!quality.ValidCheckpointName(s.Previous)) {
		err = errors.New("names no checkpoint")
	}
	if err != nil {
		return state{}, fmt.Errorf("%s: %w", filepath.Join(dir, StateFile), err)
	}
	return s, nil
}

// keepDamaged moves a state file that says nothing out of the way: whoever mends it
// may still learn something from it.
func keepDamaged(dir string) error {
	if _, err := readState(dir); err == nil {
		return nil
	}
	path := filepath.Join(dir, StateFile)
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "replace", Path: path, Err: syscall.EISDIR}
	}
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.damaged-%d", path, n)
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			return os.Rename(path, aside)
		}
	}
}

// writeState replaces the state file.
func writeState(dir string, s state) error {
	if err := keepDamaged(dir); err != nil {
		return err
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return durable.ReplaceFile(dir, StateFile, append(raw, '\n'))
}
