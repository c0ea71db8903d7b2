package load

import (
	"bufio"
	"os"
	"runtime"
	"strings"
	"time"
)

// Manifest says what ran, where and how.
type Manifest struct {
	Time       time.Time `json:"time"`
	Kind       string    `json:"kind"` // http, triton, compare, ...
	Command    string    `json:"command"`
	Commit     string    `json:"commit"`
	Go         string    `json:"go"`
	OS         string    `json:"os"`
	Kernel     string    `json:"kernel,omitempty"`
	Processor  string    `json:"processor"`
	Processors int       `json:"processors"` // of the machine
	// How many of them the generator may use, and its GOMAXPROCS.
	AllowedProcessors int               `json:"allowed_processors,omitempty"`
	GOMAXPROCS        int               `json:"gomaxprocs,omitempty"`
	MemoryKB          int64             `json:"memory_kb,omitempty"`
	LoadBefore        string            `json:"load_before,omitempty"` // load averages when the run began
	Seed              uint64            `json:"seed"`
	Versions          map[string]string `json:"versions,omitempty"` // of what was measured
	Notes             string            `json:"notes,omitempty"`
	Runs              []RunManifest     `json:"runs"`
}

// RunManifest is what is known of one run beside its records.
type RunManifest struct {
	File    string        `json:"file"` // of the records
	Label   string        `json:"label,omitempty"`
	Target  string        `json:"target"`
	Loop    Loop          `json:"loop"`
	Started time.Time     `json:"started"`
	Length  time.Duration `json:"length_ns"`
	Took    time.Duration `json:"took_ns"`
	CPU     time.Duration `json:"generator_cpu_ns"`
	Stages  []string      `json:"stages,omitempty"`
	Process *ProcessUse   `json:"process,omitempty"`
	Behind  *Behind       `json:"behind,omitempty"`
	Broken  string        `json:"broken,omitempty"`
}

// NewManifest fills in what the machine knows.
func NewManifest(now time.Time, kind, command, commit string, seed uint64) Manifest {
	return Manifest{
		Time: now.UTC().Truncate(time.Second), Kind: kind, Command: command, Commit: commit, Seed: seed,
		Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH,
		Kernel:    firstLine("/proc/sys/kernel/osrelease"),
		Processor: field("/proc/cpuinfo", "model name"), Processors: onlineProcessors(),
		AllowedProcessors: runtime.NumCPU(), GOMAXPROCS: runtime.GOMAXPROCS(0),
		MemoryKB: kilobytes(field("/proc/meminfo", "MemTotal")), LoadBefore: firstLine("/proc/loadavg"),
	}
}

// onlineProcessors counts those of the machine if the kernel lists them.
func onlineProcessors() int {
	list, err := os.ReadFile("/proc/cpuinfo")
	if n := strings.Count("\n"+string(list), "\nprocessor\t"); err == nil && n > 0 {
		return n
	}
	return runtime.NumCPU()
}

func firstLine(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// field reads "name: value" from one of the kernel's files; "" where there is
// none.
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
