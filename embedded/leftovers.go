package embedded

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// shmPrefix begins the names of everything that a server leaves on the
// machine.
const shmPrefix = "agiqa_"

// mark names one run of the server: the folder in RunDir, and the first part
// of the names of its regions in /dev/shm. It says whose the run is, by number
// and start time, since numbers of processes come round again.
type mark string

var markForm = regexp.MustCompile(`^agiqa_([0-9]+)_([0-9]+)_[0-9a-f]{8}`)

// newMark returns a mark of this process.
func newMark() (mark, error) {
	pid := os.Getpid()
	started, err := startTime(pid)
	if err != nil {
		return "", err
	}
	var r [4]byte
	rand.Read(r[:])
	return mark(fmt.Sprintf("%s%d_%d_%s", shmPrefix, pid, started, hex.EncodeToString(r[:]))), nil
}

// orphanMark returns the mark that name begins with if its process is gone.
func orphanMark(name string) (mark, bool) {
	m := markForm.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	pid, err := strconv.Atoi(m[1])
	if err != nil {
		return "", false
	}
	if started, err := startTime(pid); err == nil && strconv.FormatUint(started, 10) == m[2] {
		return "", false
	}
	return mark(m[0]), true
}

// removeTraces removes the regions and the run folder of a run.
func removeTraces(shm, runs string, m mark) error {
	if m == "" { // would match every region of every program
		return nil
	}
	entries, err := os.ReadDir(shm)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), string(m)) {
			err = errors.Join(err, ignoreGone(os.Remove(filepath.Join(shm, e.Name()))))
		}
	}
	return errors.Join(err, os.RemoveAll(filepath.Join(runs, string(m))))
}

func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// sweep removes what runs whose agiqa is gone left behind, and returns their
// marks. Processes that outlived their agiqa and their keeper are killed first.
func sweep(shm string, runs []string) ([]mark, error) {
	orphans := map[mark]bool{}
	var faults error
	for _, dir := range append([]string{shm}, runs...) {
		entries, err := os.ReadDir(dir)
		faults = errors.Join(faults, ignoreGone(err))
		for _, e := range entries {
			if m, ok := orphanMark(e.Name()); ok && owned(filepath.Join(dir, e.Name())) {
				orphans[m] = true
			}
		}
	}
	var swept []mark
	for m := range orphans {
		killProcessesOf(m)
		for _, dir := range runs {
			faults = errors.Join(faults, removeTraces(shm, dir, m))
		}
		swept = append(swept, m)
	}
	return swept, faults
}

// owned reports whether path, link or not, belongs to the user of this process.
func owned(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && int(st.Uid) == os.Geteuid()
}

// killProcessesOf kills the server that was started under m, and its stubs:
// both have the mark on their command lines.
func killProcessesOf(m mark) {
	for _, p := range processes() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		if err != nil || !bytes.Contains(line, []byte(m)) {
			continue
		}
		program, _, _ := bytes.Cut(line, []byte{0})
		switch filepath.Base(string(program)) {
		case "tritonserver", "triton_python_backend_stub":
			// Gone already is as good; somebody else's is not ours to end.
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
	}
}

// process is a line of /proc/<pid>/stat.
type process struct {
	pid, parent, group int
	dead               bool // a zombie: nobody has waited for it yet
	started            uint64
}

// processes lists those that can be read.
func processes() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// childrenOf returns the children of pid.
func childrenOf(pid int) []process {
	var children []process
	for _, p := range processes() {
		if p.parent == pid {
			children = append(children, p)
		}
	}
	return children
}

func readProcess(pid int) (process, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	return parseStat(string(b))
}

// parseStat reads /proc/<pid>/stat; see proc(5). The name in parentheses may
// hold anything, parentheses and spaces included.
func parseStat(s string) (process, error) {
	number, rest, ok := strings.Cut(s, " (")
	end := strings.LastIndex(rest, ") ")
	if !ok || end < 0 {
		return process{}, fmt.Errorf("stat %.80q has no name", s)
	}
	f := strings.Fields(rest[end+2:])
	if len(f) < 20 {
		return process{}, fmt.Errorf("stat %.80q has %d fields after the name, want 20", s, len(f))
	}
	var p process
	var faults [4]error
	p.pid, faults[0] = strconv.Atoi(number)
	p.parent, faults[1] = strconv.Atoi(f[1])
	p.group, faults[2] = strconv.Atoi(f[2])
	p.started, faults[3] = strconv.ParseUint(f[19], 10, 64)
	p.dead = f[0] == "Z" || f[0] == "X"
	return p, errors.Join(faults[:]...)
}

// startTime returns when a process started, in clock ticks since the boot. A
// dead one that nobody waited for yet counts as gone.
func startTime(pid int) (uint64, error) {
	p, err := readProcess(pid)
	if err == nil && p.dead {
		err = fmt.Errorf("process %d: %w", pid, unix.ESRCH)
	}
	return p.started, err
}
