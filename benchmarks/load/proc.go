package load

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process and its descendants use, as the kernel reports it.
type Usage struct {
	CPU     time.Duration `json:"cpu_ns"` // since they began; of children that ended, too
	RSSKB   int64         `json:"rss_kb"`
	FDs     int           `json:"fds"`
	Threads int           `json:"threads"`
}

// ReadUsage sums over a process and its descendants. It needs /proc.
func ReadUsage(pid int) (Usage, error) {
	pids, err := tree(pid)
	if err != nil {
		return Usage{}, err
	}
	var sum Usage
	for _, p := range pids {
		u, err := usageOf(p)
		if err != nil {
			if p == pid {
				return Usage{}, err
			}
			continue // a child that has just ended
		}
		sum.CPU += u.CPU
		sum.RSSKB += u.RSSKB
		sum.FDs += u.FDs
		sum.Threads += u.Threads
	}
	return sum, nil
}

// userHZ is the unit of processor times in /proc: Linux shows them in
// hundredths of a second whatever its own tick.
const userHZ = 100

func usageOf(pid int) (Usage, error) {
	stat, err := statOf(pid)
	if err != nil {
		return Usage{}, err
	}
	// After the name: state is 0, utime to cstime are 11 to 14.
	var u Usage
	for _, text := range stat[11:15] {
		ticks, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return u, fmt.Errorf("process %d: %w", pid, err)
		}
		u.CPU += time.Duration(ticks) * (time.Second / userHZ)
	}
	status := filepath.Join("/proc", strconv.Itoa(pid), "status")
	u.RSSKB = kilobytes(field(status, "VmRSS"))
	u.Threads = int(kilobytes(field(status, "Threads")))
	fds, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	u.FDs = len(fds)
	return u, err
}

// statOf returns the fields of /proc/PID/stat after the name, which may hold
// anything.
func statOf(pid int) ([]string, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	end := strings.LastIndexByte(string(b), ')')
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 20 {
		return nil, fmt.Errorf("process %d: its stat has %d fields", pid, len(fields))
	}
	return fields, nil
}

// tree returns a process and its descendants.
func tree(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := statOf(child)
		if err != nil {
			continue // has just ended
		}
		if parent, err := strconv.Atoi(stat[1]); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		for _, c := range children[pids[i]] {
			if !slices.Contains(pids, c) {
				pids = append(pids, c)
			}
		}
	}
	return pids, nil
}

// kilobytes reads "123 kB", or a number without a unit.
func kilobytes(text string) int64 {
	number, _, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
