package server

import (
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/internal/config"
)

func TestEphemeralServersAreBounded(t *testing.T) {
	s := config.Settings{DataDir: t.TempDir()}
	seen := map[string]bool{s.DataDir: true}
	for range maxEphemeral {
		dir, release, err := lockEphemeralFolder(s)
		if err != nil || seen[dir] {
			t.Fatalf("folder %s, which is taken, or error %v", dir, err)
		}
		defer release()
		seen[dir] = true
	}
	if _, _, err := lockEphemeralFolder(s); err == nil || !strings.Contains(err.Error(), "setting data-dir") {
		t.Errorf("error %v, want one that names data-dir", err)
	}
}

func TestDataFolderThatCannotBeWritten(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	s := config.Settings{DataDir: t.TempDir()}
	if err := os.Chmod(s.DataDir, 0o500); err != nil {
		t.Fatal(err)
	}
	release, err := lockDataFolder(s)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

func TestFailedStartReleasesTheDataFolder(t *testing.T) {
	s := config.Default()
	s.Listen, s.DataDir, s.Trace = "127.0.0.1:0", t.TempDir(), true
	s.Checkpoints = s.DataDir // none there
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	if _, err := New(t.Context(), Config{Settings: s, Logger: logger}); err == nil {
		t.Fatal("it started")
	}
	release, err := lockDataFolder(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}
