package server

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
)

// library is the set of checkpoints in the words of the gateway and of scoring.
type library struct{ *lifecycle.Library }

// openLibrary reads the bundles that were shipped, in the settings' folder, and
// those that were imported, in the data folder. uploads says that imported
// ones reach Triton by the load call.
func openLibrary(s config.Settings, uploads bool) (*library, error) {
	limits := checkpoint.DefaultLimits()
	shipped, err := checkpoint.LoadDir(s.Checkpoints, "", limits)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("setting checkpoints: no folder %s", s.Checkpoints)
	}
	if err != nil {
		return nil, err
	}
	preset := s.DefaultCheckpoint
	if _, err := shipped.Get("demo"); err == nil && preset == "" {
		preset = "demo"
	}
	tokenizer, err := clip.New()
	if err != nil {
		return nil, err
	}
	opened, err := lifecycle.OpenLibrary(lifecycle.LibraryConfig{
		Shipped: shipped.List(), Dir: importedFolder(s), Preset: preset,
		HeadOnly: uploads, Limits: limits, Tokenizer: tokenizer,
	})
	if err != nil {
		return nil, err
	}
	if len(opened.Snapshot().List()) == 0 {
		return nil, fmt.Errorf("setting checkpoints: no bundle in %s", s.Checkpoints)
	}
	return &library{opened}, nil
}

// OpenLibrary opens the checkpoints that a server with these settings has.
func OpenLibrary(s config.Settings) (*lifecycle.Library, error) {
	l, err := openLibrary(s, false)
	if err != nil {
		return nil, err
	}
	return l.Library, nil
}

// importedFolder is where imported bundles are kept.
func importedFolder(s config.Settings) string { return filepath.Join(s.DataDir, "checkpoints") }

// imported returns the bundles that came at run time.
func (l *library) imported() []*checkpoint.Bundle {
	var out []*checkpoint.Bundle
	for _, e := range l.Snapshot().List() {
		if e.Imported {
			out = append(out, e.Bundle)
		}
	}
	return out
}

// Get implements [gateway.Checkpoints].
func (l *library) Get(name string) (gateway.CheckpointInfo, error) {
	e, err := l.Snapshot().Get(name)
	if err != nil {
		return gateway.CheckpointInfo{}, err
	}
	return describe(e), nil
}

// Default implements [gateway.Checkpoints].
func (l *library) Default() (gateway.CheckpointInfo, error) {
	e, err := l.Snapshot().Default()
	if err != nil {
		return gateway.CheckpointInfo{}, err
	}
	return describe(e), nil
}

// List implements [gateway.Checkpoints].
func (l *library) List() []gateway.CheckpointInfo {
	var out []gateway.CheckpointInfo
	for _, e := range l.Snapshot().List() {
		out = append(out, describe(e))
	}
	return out
}

func describe(e lifecycle.Entry) gateway.CheckpointInfo {
	m := e.Bundle.Manifest()
	return gateway.CheckpointInfo{
		Checkpoint: e.Checkpoint, ClassTokenPosition: string(m.ClassTokenPosition), ContextLength: m.ContextLength,
		ClassSpecific: m.ClassSpecific, Licence: m.Licence, Training: m.Training, Metrics: m.Metrics,
		Imported: e.Imported,
	}
}
