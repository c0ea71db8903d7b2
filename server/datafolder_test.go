package server

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
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

// TestDataFolderIsPrivate: one that an older version left open is closed.
func TestDataFolderIsPrivate(t *testing.T) {
	for _, tc := range []struct{ before, after os.FileMode }{
		{0, 0o700}, // doesn't exist
		{0o755, 0o700},
		{0o770 | os.ModeSetgid, 0o700 | os.ModeSetgid},
		{0o500, 0o500},
		{0o777 | os.ModeSticky, 0o777 | os.ModeSticky}, // such as /tmp
	} {
		if tc.before == 0o500 && os.Geteuid() != 0 {
			continue // TestDegradedStart is for others
		}
		s := config.Settings{DataDir: filepath.Join(t.TempDir(), "data")}
		if tc.before != 0 {
			if err := errors.Join(os.Mkdir(s.DataDir, 0o700), os.Chmod(s.DataDir, tc.before)); err != nil {
				t.Fatal(err)
			}
		}
		for _, lock := range []func() (func() error, error){
			func() (func() error, error) { release, _, err := lockDataFolder(s); return release, err },
			func() (func() error, error) { _, release, err := lockEphemeralFolder(s); return release, err },
		} {
			release, err := lock()
			if err != nil {
				t.Fatal(err)
			}
			if err := release(); err != nil {
				t.Error(err)
			}
			info, err := os.Stat(s.DataDir)
			if want := tc.after | os.ModeDir; err != nil || info.Mode() != want {
				t.Errorf("mode %v before: %v (%v), want %v", tc.before, info.Mode(), err, want)
			}
		}
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
	release, _, err := lockDataFolder(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}
