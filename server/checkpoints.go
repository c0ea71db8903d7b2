package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/internal/config"
)

// openLibrary reads the bundles that were shipped, in the settings' folder, and
// those that were imported, in the data folder. uploads says that imported
// ones reach Triton by the load call; readOnly leaves the data folder as it is.
func openLibrary(s config.Settings, uploads, readOnly bool, logger *slog.Logger) (*lifecycle.Library, error) {
	limits := checkpoint.DefaultLimits()
	shipped, damaged, err := checkpoint.Scan(s.Checkpoints, limits)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("setting checkpoints: no folder %s", s.Checkpoints)
	}
	if err != nil {
		return nil, err
	}
	tokenizer, err := clip.New()
	if err != nil {
		return nil, err
	}
	opened, err := lifecycle.OpenLibrary(lifecycle.LibraryConfig{
		Shipped: shipped, Damaged: damaged, Dir: importedFolder(s), Preset: s.DefaultCheckpoint,
		HeadOnly: uploads, Limits: limits, Tokenizer: tokenizer, ReadOnly: readOnly, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	if len(opened.Snapshot().List()) == 0 {
		var faults []error
		for _, d := range damaged {
			faults = append(faults, d.Err)
		}
		return nil,
			errors.Join(append([]error{fmt.Errorf("setting checkpoints: no bundle in %s", s.Checkpoints)}, faults...)...)
	}
	return opened, nil
}

// OpenLibrary opens the checkpoints that a server with these settings has.
func OpenLibrary(s config.Settings) (*lifecycle.Library, error) {
	return openLibrary(s, false, true, nil)
}

// importedFolder is where imported bundles are kept.
func importedFolder(s config.Settings) string { return filepath.Join(s.DataDir, "checkpoints") }

// degradeCheckpoints says what of the checkpoints could not be read.
func (s *Server) degradeCheckpoints() {
	for _, d := range s.library.Damaged() {
		f := startFault{check: "bundle " + d.Name, detail: "checkpoint bundle " + d.Name +
			" is damaged or can't be read, and " +
			"is left as it is: it can't score"}
		if d.Name == lifecycle.StateFile {
			f = startFault{check: "state-file", detail: "the chosen default can't be read from " + d.Name +
				" in the data folder: the default of the settings scores"}
		}
		s.degrade(f, d.Err)
	}
}
