package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRestartLog(t *testing.T) {
	policy := RestartPolicy{Initial: 100 * time.Millisecond, Max: 500 * time.Millisecond, Limit: 4, Window: time.Minute}
	l := restartLog{policy: policy}
	start := time.Unix(1000, 0)
	for _, step := range []struct {
		at    time.Duration
		delay time.Duration
		ok    bool
	}{
		{0, 100 * time.Millisecond, true},
		{time.Second, 200 * time.Millisecond, true},
		{2 * time.Second, 400 * time.Millisecond, true},
		{3 * time.Second, 500 * time.Millisecond, true},
		{4 * time.Second, 0, false},
		{60 * time.Second, 500 * time.Millisecond, true}, // the first is a minute old
		{60 * time.Second, 0, false},
		{200 * time.Second, 100 * time.Millisecond, true}, // all are forgotten
	} {
		delay, ok := l.next(start.Add(step.at))
		if delay != step.delay || ok != step.ok {
			t.Errorf("at %v: %v, %v, want %v, %v", step.at, delay, ok, step.delay, step.ok)
		}
	}
}

func TestParseLock(t *testing.T) {
	const lock = `# comment
numpy==1.26.4 \
    --hash=sha256:00
onnxruntime==1.23.2 ; python_full_version < '3.11' \
    --hash=sha256:01
onnxruntime==1.32.0 ; python_full_version >= '3.11' \
    --hash=sha256:02
`
	tests := []struct {
		name, lock, python string
		want               []pin
		fault              string
	}{
		{"old", lock, "3.10", []pin{{"numpy", "1.26.4"}, {"onnxruntime", "1.23.2"}}, ""},
		{"at the border", lock, "3.11", []pin{{"numpy", "1.26.4"}, {"onnxruntime", "1.32.0"}}, ""},
		{"new", lock, "3.12", []pin{{"numpy", "1.26.4"}, {"onnxruntime", "1.32.0"}}, ""},
		{"a range", "numpy>=1", "3.12", nil, "not name==version"},
		{"another marker", "a==1 ; sys_platform == 'win32'", "3.12", nil, "not supported"},
		{"no Python version", "a==1 ; python_full_version < '3.11'", "x", nil, "not a version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseLock(tt.lock, tt.python)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("error %v, want %q", err, tt.fault)
				}
				return
			}
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("pins %v (%v), want %v", got, err, tt.want)
			}
		})
	}
	if got := (pin{"nvidia-pytriton", "0.7.0"}).distInfo(); got != "nvidia_pytriton-0.7.0.dist-info" {
		t.Errorf("distInfo %q", got)
	}
}

func TestLockIsWhatItShouldBe(t *testing.T) {
	for _, python := range []string{"3.10", "3.11", "3.12"} {
		pins, err := parseLock(requirements, python)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range pins {
			names = append(names, p.name)
		}
		if want := []string{"numpy", "nvidia-pytriton", "onnxruntime"}; !slices.Equal(names, want) {
			t.Errorf("Python %s: %q, want %q", python, names, want)
		}
	}
	if strings.Contains(requirements, "://") {
		t.Error("the lock names an address; where packages come from is the user's choice")
	}
}

func TestArguments(t *testing.T) {
	cfg := DefaultConfig()
	cfg.ModelRepositories = []string{"/models", "/more"}
	cfg.OTLPTracesURL = "http://127.0.0.1:4318/v1/traces"
	cfg.TraceResource = map[string]string{"service.version": "7", "a": "b"}
	cfg.LaterRepositories = []string{"/later"}
	const id = "agiqa_1_2_00000000"
	got := strings.Join(arguments(cfg, []string{"a", "b"}, "/run/"+id, id), "\n")
	want := strings.Join([]string{
		"--backend-directory=/run/agiqa_1_2_00000000/backends",
		"--model-control-mode=explicit", "--model-config-name=embedded", "--disable-auto-complete-config",
		"--strict-readiness=false", "--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0",
		"--exit-timeout-secs=8",
		"--backend-config=python,shm-default-byte-size=1048576",
		"--backend-config=python,shm-region-prefix-name=agiqa_1_2_00000000",
		"--allow-http=false", "--allow-metrics=false",
		"--grpc-address=unix:/run/agiqa_1_2_00000000/grpc", "--grpc-port=1",
		"--model-repository=/run/agiqa_1_2_00000000/models0", "--model-repository=/run/agiqa_1_2_00000000/models1",
		"--model-repository=/run/agiqa_1_2_00000000/models2", "--load-model=a", "--load-model=b",
		"--trace-config", "mode=opentelemetry", "--trace-config", "level=TIMESTAMPS",
		"--trace-config", "rate=0", "--trace-config", "count=-1",
		"--trace-config", "opentelemetry,url=http://127.0.0.1:4318/v1/traces",
		"--trace-config", "opentelemetry,bsp_schedule_delay=500",
		"--trace-config", "opentelemetry,bsp_max_queue_size=65536",
		"--trace-config", "opentelemetry,bsp_max_export_batch_size=2048",
		"--trace-config", "opentelemetry,resource=a=b",
		"--trace-config", "opentelemetry,resource=service.name=triton",
		"--trace-config", "opentelemetry,resource=service.version=7",
	}, "\n")
	if got != want {
		t.Errorf("arguments:\n%s\nwant:\n%s", got, want)
	}
	cfg.OTLPTracesURL = ""
	for _, a := range arguments(cfg, nil, "/m", "m") {
		if strings.Contains(a, "trace") {
			t.Errorf("%s without a URL", a)
		}
	}
}

func TestExitSeconds(t *testing.T) {
	for grace, want := range map[time.Duration]int{time.Millisecond: 1, 3 * time.Second: 1, 10 * time.Second: 8} {
		if got := exitSeconds(grace); got != want {
			t.Errorf("grace %v: %d, want %d", grace, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	const libraries = "LD_LIBRARY_PATH=/r/site-packages/nvidia_pytriton.libs:/r/libpython"
	const run = "AGIQA_TRITON_RUN=agiqa_1_2_00000000"
	tests := []struct {
		name       string
		base, want []string
	}{
		{"nothing inherited", nil, []string{
			"PATH=/r/venv/bin:/usr/local/bin:/usr/bin:/bin", libraries, run,
		}},
		{
			"paths are kept behind ours, secrets are not kept",
			[]string{"HOME=/h", "AGIQA_ADMIN_KEY=secret", "PATH=/p", "LD_LIBRARY_PATH=/l", "AGIQA_REDIS_URL=redis://:pw@h"},
			[]string{"HOME=/h", "PATH=/r/venv/bin:/p", libraries + ":/l", run},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := environment(tt.base, "/r", "agiqa_1_2_00000000"); !slices.Equal(got, tt.want) {
				t.Errorf("environment %q, want %q", got, tt.want)
			}
		})
	}
}

func TestParseStat(t *testing.T) {
	const after = " 7 8 8 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 100 200"
	tests := []struct {
		name, stat string
		want       process
		fault      bool
	}{
		{"plain", "12 (cat) S" + after, process{pid: 12, parent: 7, started: 4242}, false},
		{"zombie", "12 (cat) Z" + after, process{pid: 12, parent: 7, dead: true, started: 4242}, false},
		{"a name to trip over", "12 (a) S 1 (b) S" + after, process{pid: 12, parent: 7, started: 4242}, false},
		{"empty", "", process{}, true},
		{"cut off", "12 (cat) S 7 8", process{}, true},
		{"not a number", "x (cat) S" + after, process{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat(tt.stat)
			if (err != nil) != tt.fault {
				t.Fatalf("error %v, want one: %v", err, tt.fault)
			}
			if err == nil && got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestOrphanRunID(t *testing.T) {
	own, err := newRunID()
	if err != nil {
		t.Fatal(err)
	}
	reused := fmt.Sprintf("agiqa_%d_1_0123abcd", os.Getpid())
	tests := []struct {
		name, file string
		want       runID
		orphan     bool
	}{
		{"our own", string(own) + "_region", "", false},
		{"a dead process", "agiqa_4194305_17_0123abcd_region", "agiqa_4194305_17_0123abcd", true},
		{"our process ID, used before", reused, runID(reused), true},
		{"a stranger's", "sem.mp-1sqylvt6", "", false},
		{"almost ours", "agiqa_12_0123abcd", "", false},
		{"a number too large", "agiqa_99999999999999999999_1_0123abcd", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, orphan := orphanRunID(tt.file)
			if got != tt.want || orphan != tt.orphan {
				t.Errorf("%q, %v, want %q, %v", got, orphan, tt.want, tt.orphan)
			}
		})
	}
}

func TestRemoveLeftoversTouchesNothingElse(t *testing.T) {
	shm, runs := t.TempDir(), t.TempDir()
	for _, name := range []string{"agiqa_1_2_aaaaaaaa_x", "agiqa_1_2_aaaaaaaa_y", "agiqa_1_2_bbbbbbbb_x", "other"} {
		if err := os.WriteFile(filepath.Join(shm, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(runs, "agiqa_1_2_aaaaaaaa", "backends"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, id := range []runID{"", "agiqa_1_2_aaaaaaaa"} {
		if err := removeLeftovers(shm, runs, id); err != nil {
			t.Fatal(err)
		}
	}
	var left []string
	for _, dir := range []string{shm, runs} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			left = append(left, e.Name())
		}
	}
	if want := []string{"agiqa_1_2_bbbbbbbb_x", "other"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}

func TestLogFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := openLog(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if n, err := fmt.Fprintf(l, "line %02d\n", i); n != 8 || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + ".1"} {
		if info, err := os.Stat(p); err != nil || info.Size() > 100 {
			t.Errorf("%s: %v, %v, want at most 100 bytes", p, info, err)
		}
	}
	// 12 lines fit: 36 to 47 are in the old file, 48 and 49 in the new one.
	if got, want := tailLog(path, 4), []string{"line 46", "line 47", "line 48", "line 49"}; !slices.Equal(got, want) {
		t.Errorf("tail %q, want %q", got, want)
	}
	if got := tailLog(path, 1000); len(got) != 14 || got[0] != "line 36" {
		t.Errorf("tail %q, want the 14 lines from 36", got)
	}
}

func TestTailLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if got := tailLog(path, 5); len(got) != 0 {
		t.Errorf("tail of no file: %q", got)
	}
	text := "first\n" + strings.Repeat("x", 3*tailBytes) + "\nlast\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := tailLog(path, 9), []string{strings.Repeat("x", 500), "last"}; !slices.Equal(got, want) {
		t.Errorf("tail %.600q, want the end of the long line and the last", got)
	}
}
