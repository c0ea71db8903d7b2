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
	"time"

	"golang.org/x/sys/unix"
)

// shmPrefix begins the names of everything that a server creates on the
// machine.
const shmPrefix = "agiqa_"

// runID names one [Server]. Its folder in RunDir has that name, the names of its
// regions in /dev/shm begin with it, and its processes have it in their
// environment. It holds the process ID of the agiqa that owns the server, and
// that process's start time, since the kernel reuses process IDs.
type runID string

// runIDVariable is the environment variable that marks the processes of a run.
const runIDVariable = "AGIQA_TRITON_RUN"

var runIDForm = regexp.MustCompile(`^agiqa_([0-9]+)_([0-9]+)_[0-9a-f]{8}`)

// maxRunID is the length of the longest run ID: prefix, process ID (below 2^22),
// start time (three centuries after boot) and random digits.
const maxRunID = len(shmPrefix) + 7 + 1 + 12 + 1 + 8

// newRunID returns the ID of a new run owned by this process.
func newRunID() (runID, error) {
	pid := os.Getpid()
	started, err := startTime(pid)
	if err != nil {
		return "", err
	}
	var r [4]byte
	rand.Read(r[:])
	return runID(fmt.Sprintf("%s%d_%d_%s", shmPrefix, pid, started, hex.EncodeToString(r[:]))), nil
}

// orphanRunID returns the run ID that name begins with if the owner of the run
// is dead.
func orphanRunID(name string) (runID, bool) {
	m := runIDForm.FindStringSubmatch(name)
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
	return runID(m[0]), true
}

// removeLeftovers removes the shared memory regions and the run folder of a run.
func removeLeftovers(shm, runs string, id runID) error {
	if id == "" { // would remove every run folder
		return nil
	}
	return errors.Join(removeRegions(shm, id), os.RemoveAll(filepath.Join(runs, string(id))))
}

// removeRegions removes the shared memory regions of a run.
func removeRegions(shm string, id runID) error {
	if id == "" { // would match every region of every program
		return nil
	}
	entries, err := os.ReadDir(shm)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), string(id)) {
			err = errors.Join(err, ignoreGone(os.Remove(filepath.Join(shm, e.Name()))))
		}
	}
	return err
}

func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// sweep ends the processes and removes the files of runs whose agiqa is dead,
// and returns the IDs of those runs.
func sweep(shm string, runs []string) ([]runID, error) {
	orphans := map[runID]bool{}
	var faults error
	for _, dir := range append([]string{shm}, runs...) {
		entries, err := os.ReadDir(dir)
		faults = errors.Join(faults, ignoreGone(err))
		for _, e := range entries {
			if id, ok := orphanRunID(e.Name()); ok && owned(filepath.Join(dir, e.Name())) {
				orphans[id] = true
			}
		}
	}
	var swept []runID
	for id := range orphans {
		faults = errors.Join(faults, killProcesses(id))
		for _, dir := range runs {
			faults = errors.Join(faults, removeLeftovers(shm, dir, id))
		}
		swept = append(swept, id)
	}
	return swept, faults
}

// owned reports whether path, link or not, belongs to the user of this process.
func owned(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && int(st.Uid) == os.Geteuid()
}

// A killed process ends within milliseconds, unless it waits for a broken disk.
const (
	killTimeout  = 5 * time.Second
	killInterval = 5 * time.Millisecond
)

// killProcesses kills the processes of a run and returns when they are gone.
func killProcesses(id runID) error {
	deadline := time.Now().Add(killTimeout)
	for {
		left := processesOf(id)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d did not end within %v of SIGKILL", left[0].pid, killTimeout)
		}
		for _, p := range left {
			_ = unix.Kill(p.pid, unix.SIGKILL)
			if p.parent == os.Getpid() { // agiqa is process 1 of a container
				_, _ = unix.Wait4(p.pid, nil, 0, nil)
			}
		}
		time.Sleep(killInterval)
	}
}

// processesOf returns the live processes of a run: the server and everything
// that it started. A zombie has no environment.
func processesOf(id runID) []process {
	var found []process
	for _, p := range processes() {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		if err == nil && bytes.Contains(env, []byte(runIDVariable+"="+string(id))) {
			found = append(found, p)
		}
	}
	return found
}

// process holds fields of /proc/<pid>/stat.
type process struct {
	pid, parent int
	dead        bool // a zombie: its parent has not reaped it yet
	started     uint64
}

// processes returns all processes whose stat this process may read.
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

// parseStat parses /proc/<pid>/stat; see proc(5). The name in parentheses may
// contain any character, parentheses and spaces included.
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
	var faults [3]error
	p.pid, faults[0] = strconv.Atoi(number)
	p.parent, faults[1] = strconv.Atoi(f[1])
	p.started, faults[2] = strconv.ParseUint(f[19], 10, 64)
	p.dead = f[0] == "Z" || f[0] == "X"
	return p, errors.Join(faults[:]...)
}

// startTime returns when a process started, in clock ticks since boot. It
// returns an error for a zombie.
func startTime(pid int) (uint64, error) {
	p, err := readProcess(pid)
	if err == nil && p.dead {
		err = fmt.Errorf("process %d: %w", pid, unix.ESRCH)
	}
	return p.started, err
}
