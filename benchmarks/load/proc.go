package load

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/procfs"
)

// Usage is what a process and its descendants use, as the kernel reports it.
type Usage struct {
	CPU     time.Duration `json:"cpu_ns"` // since they started; includes children that have exited
	RSSKB   int64         `json:"rss_kb"`
	FDs     int           `json:"fds"`
	Threads int           `json:"threads"`
}

// ReadUsage sums over a process and its descendants. It needs /proc.
func ReadUsage(pid int) (Usage, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return Usage{}, fmt.Errorf("process %d: %w", pid, err)
	}
	sum, err := usageOf(p)
	if err != nil {
		return Usage{}, fmt.Errorf("process %d: %w", pid, err)
	}
	family, err := descendants(pid)
	if err != nil {
		return Usage{}, err
	}
	for _, p := range family {
		if u, err := usageOf(p); err == nil { // otherwise it has just exited
			sum.CPU += u.CPU
			sum.RSSKB += u.RSSKB
			sum.FDs += u.FDs
			sum.Threads += u.Threads
		}
	}
	return sum, nil
}

// tick is the unit of processor times in /proc: Linux shows them in hundredths
// of a second, whatever its own tick is.
const tick = time.Second / 100

func usageOf(p procfs.Proc) (Usage, error) {
	stat, err := p.Stat()
	if err != nil {
		return Usage{}, err
	}
	status, err := p.NewStatus()
	if err != nil {
		return Usage{}, err
	}
	fds, err := p.FileDescriptorsLen()
	ticks := int(stat.UTime+stat.STime) + stat.CUTime + stat.CSTime
	return Usage{
		CPU: time.Duration(ticks) * tick, RSSKB: int64(status.VmRSS >> 10), FDs: fds, Threads: stat.NumThreads,
	}, err
}

func descendants(pid int) (procfs.Procs, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	children := map[int]procfs.Procs{}
	for _, p := range all {
		if stat, err := p.Stat(); err == nil && p.PID != pid { // on error it has just exited
			children[stat.PPID] = append(children[stat.PPID], p)
		}
	}
	found := slices.Clone(children[pid])
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].PID]...)
	}
	return found, nil
}
