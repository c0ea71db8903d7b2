package tritonclient

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"
)

// regionsWork says that this system has POSIX shared memory as files.
const regionsWork = true

// shmFolder is where glibc's shm_open looks.
const shmFolder = "/dev/shm"

// regionForm is the name of a region: whose it is, and chance.
var regionForm = regexp.MustCompile(`^agiqa-shm-([0-9]+)-[0-9a-f]{16}$`)

// region is shared memory under a name. Its file is locked for as long as its
// process lives, which is how others know it from a leftover: numbers of
// processes come round again, and mean nothing in another container.
type region struct {
	name string
	mem  []byte
	file *os.File
}

// newRegion makes a region of size bytes that only this user may open. The
// memory is reserved at once: writing into a full /dev/shm would be the end of
// the process.
func newRegion(size int) (_ *region, err error) {
	var r [8]byte
	rand.Read(r[:])
	name := fmt.Sprintf("agiqa-shm-%d-%s", os.Getpid(), hex.EncodeToString(r[:]))
	path := filepath.Join(shmFolder, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("shared memory: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("shared memory %s: %w", path, err), os.Remove(path), f.Close())
		}
	}()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(size)); err != nil {
		return nil, fmt.Errorf("reserve %d bytes: %w", size, err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &region{name: name, mem: mem, file: f}, nil
}

// close removes the name and, with unmap, the memory.
func (r *region) close(unmap bool) error {
	err := os.Remove(filepath.Join(shmFolder, r.name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if unmap {
		err = errors.Join(err, unix.Munmap(r.mem))
	}
	return errors.Join(err, r.file.Close())
}

// removeLeftovers unlinks the regions of processes that died. What it may not
// remove is not this user's.
func removeLeftovers() {
	entries, err := os.ReadDir(shmFolder)
	if err != nil {
		return // there is no shared memory then, which newRegion says better
	}
	for _, e := range entries {
		m := regionForm.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		if pid, err := strconv.Atoi(m[1]); err != nil || alive(pid) {
			continue
		}
		path := filepath.Join(shmFolder, e.Name())
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.Remove(path)
		}
		_ = f.Close()
	}
}

// alive reports whether a process of this number exists here. A region between
// its making and its locking is kept by that alone.
func alive(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return err == nil
}
