package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// plainPath matches paths that need no quoting in a shell command, nor in the
// lists of PATH and LD_LIBRARY_PATH, and are the same in every text encoding.
//
// Triton starts a Python stub with `bash -c "exec STUB MODEL ..."` and quotes
// neither path, so any other path breaks there, or runs as a command. A stub
// also ignores locale and PYTHONUTF8, and decodes paths as ASCII.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9_./+@-]*$`)

// runDirs returns the folders that may hold the run folders, in order of
// preference; tmp is the last.
func runDirs(cfg Config, tmp string) []string {
	dirs := []string{cfg.RunDir}
	for _, entry := range cfg.Env {
		if dir, ok := strings.CutPrefix(entry, "XDG_RUNTIME_DIR="); ok && dir != "" {
			dirs = append(dirs, dir)
		}
	}
	return append(dirs, tmp)
}

// chooseRunDir returns the first of dirs that Triton can work in.
func chooseRunDir(cfg Config, dirs []string) (string, error) {
	var faults []error
	for _, dir := range dirs {
		err := checkRunDir(cfg, dir)
		if err == nil {
			return dir, nil
		}
		faults = append(faults, err)
	}
	return "", errors.Join(faults...)
}

func checkRunDir(cfg Config, dir string) error {
	if !plainPath.MatchString(dir) {
		return fmt.Errorf("%q has characters that Triton passes to a shell unquoted", dir)
	}
	if n := len(runFolder(dir).socket()) + 1 + maxRunID; n > maxSocketPath {
		return fmt.Errorf("%s is %d characters too long for the path of a Unix socket", dir, n-maxSocketPath)
	}
	if dir == cfg.RunDir {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	// A user who may rename a run folder may replace it.
	owned := st.Uid == 0 || int(st.Uid) == os.Geteuid()
	if shared := st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0; dir != cfg.RunDir && (!owned || shared) {
		return fmt.Errorf("%s is open to other users", dir)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s cannot be written: %w", dir, err)
	}
	return nil
}

// runFolder is the server's working directory, from its first start to its end.
// It holds the socket of the server, and links to every file and folder that the
// server or a stub opens by path, so all of these paths are plain, wherever the
// project, the environment and the models are. Only its owner can enter it, its
// name ends in random digits, and it must not exist before, so no other user can
// prepare it.
type runFolder string

// socketPort is what the server, after a colon, appends to its address, also
// where that is the path of a socket.
const socketPort = "1"

// maxSocketPath is the length of the longest path of a Unix socket.
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

func (f runFolder) socketBase() string { return filepath.Join(string(f), "grpc") }
func (f runFolder) socket() string     { return f.socketBase() + ":" + socketPort }

func (f runFolder) backends() string { return filepath.Join(string(f), "backends") }
func (f runFolder) repository(n int) string {
	return filepath.Join(string(f), "models"+strconv.Itoa(n))
}
func (f runFolder) venv() string         { return filepath.Join(string(f), "venv") }
func (f runFolder) sitePackages() string { return filepath.Join(string(f), "site-packages") }
func (f runFolder) libPython() string    { return filepath.Join(string(f), "libpython") }

// server is the path of tritonserver, which finds its own libraries beside the
// target of the link.
func (f runFolder) server() string {
	return filepath.Join(f.sitePackages(), "pytriton", "tritonserver", "bin", "tritonserver")
}

func (f runFolder) remove() error { return os.RemoveAll(string(f)) }

// fill empties the folder and creates its links. The wheel has the Python
// backend and its stubs in separate folders; the server expects them in one.
func (f runFolder) fill(cfg Config, i installation) error {
	left, err := os.ReadDir(string(f))
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := os.RemoveAll(filepath.Join(string(f), e.Name())); err != nil {
			return err
		}
	}
	backend := filepath.Join(f.backends(), "python")
	if err := os.MkdirAll(backend, 0o700); err != nil {
		return err
	}
	links := map[string]string{
		f.venv(): i.venv, f.sitePackages(): i.sitePackages, f.libPython(): i.libPython(),
		filepath.Join(backend, filepath.Base(i.stub())): i.stub(),
	}
	for n, repository := range slices.Concat(cfg.ModelRepositories, cfg.LaterRepositories) {
		links[f.repository(n)] = repository
	}
	entries, err := os.ReadDir(i.wheel("backends", "python"))
	if err != nil {
		return fmt.Errorf("link the Python backend: %w", err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			links[filepath.Join(backend, e.Name())] = i.wheel("backends", "python", e.Name())
		}
	}
	for link, target := range links {
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	return nil
}
