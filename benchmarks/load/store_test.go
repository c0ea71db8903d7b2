package load_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/benchmarks/load"
)

func someRun() load.Run {
	return load.Run{
		Target: "somewhere", Loop: load.OpenLoop, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Length: time.Second, Took: 2 * time.Second, CPU: 3 * time.Millisecond, Stages: []string{"total", "prepare"},
		Records: []load.Record{
			{Due: 0, Start: 1234, First: 5_000_001, Done: 9_999_999, Own: 1234, Outcome: load.Completed, Wrote: true,
				Status: 200, Bytes: 77, Stages: []float32{1.25, -1}},
			{Due: 250 * time.Millisecond, Start: 250 * time.Millisecond, Done: 260 * time.Millisecond, Outcome: load.Failed,
				Failure: "status_503", Wrote: true, Status: 503},
			{Due: 500 * time.Millisecond, Outcome: load.Dropped},
			{Due: 750 * time.Millisecond, Outcome: load.Unsent},
		},
	}
}

func TestRecordsComeBack(t *testing.T) {
	t.Parallel()
	dir, run := t.TempDir(), someRun()
	run.Broken = errors.New("power cut")
	m := load.NewManifest(time.Now(), "http", "agiqa bench http", "abc", 12)
	if err := load.Save(dir, m, []string{"first"}, run, someRun()); err != nil {
		t.Fatal(err)
	}
	got, runs, err := load.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []load.Run{run, someRun()} {
		sameError := cmp.Comparer(func(a, b error) bool {
			return a == nil && b == nil || a != nil &&
				b != nil && a.Error() == b.Error()
		})
		if diff := cmp.Diff(want, runs[i], sameError); diff != "" {
			t.Errorf("run %d (-want +got):\n%s", i, diff)
		}
	}
	if got.Seed != 12 || got.Runs[0].Label != "first" || got.Processor == "" {
		t.Errorf("manifest %+v", got)
	}
	if got.AllowedProcessors != runtime.NumCPU() || got.GOMAXPROCS != runtime.GOMAXPROCS(0) ||
		got.Processors < got.AllowedProcessors {
		t.Errorf("of %d processors the generator may use %d, with GOMAXPROCS %d", got.Processors,
			got.AllowedProcessors, got.GOMAXPROCS)
	}
	if text := got.Allotment(); !strings.Contains(text, fmt.Sprintf("GOMAXPROCS %d", got.GOMAXPROCS)) {
		t.Errorf("the text of the manifest has %q", text)
	}
	r := load.Summarise(runs[0])
	if r.Completed != 1 || r.Errors != 1 || r.Dropped != 1 || r.Unsent != 1 || r.StagesMS["prepare"] != nil ||
		r.StagesMS["total"].P50 != 1.25 {
		t.Errorf("report %+v", r)
	}
}

// TestLinesAreJSON reads the lines as any other program would.
func TestLinesAreJSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := load.Save(dir, load.Manifest{}, nil, someRun()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "records-000.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	packed, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var first map[string]any
	if err := json.NewDecoder(packed).Decode(&first); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": 0.0, "due_us": 0.0, "start_us": 1.234, "first_us": 5000.001, "done_us": 9999.999, "own_us": 1.234,
		"outcome": "completed", "wrote": true, "status": 200.0, "bytes": 77.0, "stages_ms": []any{1.25, -1.0},
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// TestSpoiltRecords are refused, not reported on.
func TestSpoiltRecords(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a missing record":        `{"id":1,"due_us":0,"outcome":"unsent"}`,
		"an unknown outcome":      `{"id":0,"due_us":0,"outcome":"perhaps"}`,
		"done before it began":    `{"id":0,"due_us":0,"start_us":9,"done_us":5,"outcome":"completed"}`,
		"unsent and answered":     `{"id":0,"due_us":0,"done_us":5,"outcome":"unsent"}`,
		"an error without one":    `{"id":0,"due_us":0,"start_us":1,"done_us":5,"outcome":"error"}`,
		"no JSON":                 `nonsense`,
		"more stages than names":  `{"id":0,"due_us":0,"start_us":1,"done_us":5,"outcome":"completed","stages_ms":[1,2,3]}`,
		"started before it's due": `{"id":0,"due_us":9,"start_us":1,"done_us":15,"outcome":"completed"}`,
	} {
		dir := t.TempDir()
		if err := load.Save(dir, load.Manifest{}, nil, someRun()); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(dir, "records-000.jsonl.gz"))
		if err != nil {
			t.Fatal(err)
		}
		packed := gzip.NewWriter(f)
		if _, err := packed.Write([]byte(text + "\n")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(packed.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := load.Load(dir); err == nil || !strings.Contains(err.Error(), "records-000") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
