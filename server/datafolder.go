package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/lockfile"
)

const lockName = "lock"

// lockFolder locks the folder that the server may change, and returns it with
// what releases it. unwritable says why it's not the data folder: nobody can write
// there at the moment.
func (cfg Config) lockFolder() (dir string, release func() error, unwritable, err error) {
	if cfg.Ephemeral {
		dir, release, err = lockEphemeralFolder(cfg.Settings)
		return dir, release, nil, err
	}
	unlock, unwritable, err := lockDataFolder(cfg.Settings)
	if err != nil || unwritable == nil || !cfg.Embedded {
		return cfg.Settings.DataDir, unlock, unwritable, err
	}
	dir, remove, err := temporaryFolder()
	if err != nil {
		return "", nil, nil, errors.Join(fmt.Errorf("setting data-dir: %w; nor is there a temporary folder: %w",
			unwritable, err), unlock())
	}
	return dir, func() error { return errors.Join(remove(), unlock()) }, unwritable, nil
}

// lockDataFolder makes the data folder and keeps other servers out of it until
// release: two would lose each other's checkpoints. One that can't be written is
// locked where that is possible.
func lockDataFolder(s config.Settings) (release func() error, unwritable, err error) {
	release, err = lock(s.DataDir)
	if held, ok := errors.AsType[*lockfile.HeldError](err); ok {
		return nil, nil, fmt.Errorf("setting data-dir: %w already serves from %s; stop it, or choose another folder with "+
			"--data-dir or %s",
			held, s.DataDir, config.EnvName("data-dir"))
	}
	switch {
	case err == nil:
		unwritable = tryWriting(s.DataDir)
	case diskFault(err) != "":
		release, unwritable = func() error { return nil }, err
	default:
		return nil, nil, fmt.Errorf("setting data-dir: %w", err)
	}
	if unwritable != nil && diskFault(unwritable) == "" {
		return nil, nil, errors.Join(fmt.Errorf("setting data-dir: %w", unwritable), release())
	}
	return release, unwritable, nil
}

func lock(dir string) (release func() error, err error) {
	if err := makePrivate(dir); err != nil {
		return nil, err
	}
	return lockfile.Acquire(filepath.Join(dir, lockName))
}

// makePrivate makes a folder that only its owner can enter: keys, labels,
// checkpoints and logs are in it. One that is there already, of an older version
// perhaps, becomes private if it is this user's. A folder that many share, such
// as /tmp, stays as it is, and so does one whose group an operator chose, such
// as a volume that belongs to root.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) != os.Geteuid() || info.Mode()&os.ModeSticky != 0 || info.Mode()&0o077 == 0 {
		return nil
	}
	return os.Chmod(dir, info.Mode()&^0o077)
}

// maxEphemeral is how many ephemeral servers may run beside a data folder.
const maxEphemeral = 16

// lockEphemeralFolder takes one of the folders for ephemeral servers.
func lockEphemeralFolder(s config.Settings) (dir string, release func() error, err error) {
	for n := range maxEphemeral {
		if err := makePrivate(s.DataDir); err != nil {
			return "", nil, fmt.Errorf("setting data-dir: %w", err)
		}
		dir := filepath.Join(s.DataDir, "once", strconv.Itoa(n))
		release, err := lock(dir)
		if err == nil {
			return dir, release, nil
		}
		if _, ok := errors.AsType[*lockfile.HeldError](err); !ok {
			return "", nil, fmt.Errorf("setting data-dir: %w", err)
		}
	}
	return "", nil, fmt.Errorf("setting data-dir: %d commands with a server of their own already use %s; keep one "+
		"server running with agiqa up",
		maxEphemeral, s.DataDir)
}
