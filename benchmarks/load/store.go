package load

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// manifestFile is the name of the manifest in the folder of a measurement.
const manifestFile = "manifest.json"

// line is a record as it is stored: one JSON object a line, gzipped. Times are
// microseconds from the start of the run.
type line struct {
	ID      int       `json:"id"`
	Due     float64   `json:"due_us"`
	Start   float64   `json:"start_us,omitempty"`
	First   float64   `json:"first_us,omitempty"`
	Done    float64   `json:"done_us,omitempty"`
	Own     float64   `json:"own_us,omitempty"`
	Outcome string    `json:"outcome"`
	Wrote   bool      `json:"wrote,omitempty"`
	Status  uint16    `json:"status,omitempty"`
	Failure Failure   `json:"failure,omitempty"`
	Bytes   int64     `json:"bytes,omitempty"`
	Stages  []float32 `json:"stages_ms,omitempty"`
}

// Save writes runs and their manifest to a folder. labels name the runs and
// may be nil.
func Save(folder string, m Manifest, labels []string, runs ...Run) (err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	m.Runs = nil
	for i, r := range runs {
		rm := RunManifest{
			File: fmt.Sprintf("records-%03d.jsonl.gz", i), Target: r.Target, Loop: r.Loop, Started: r.Started.UTC(),
			Length: r.Length, Took: r.Took, CPU: r.CPU, Stages: r.Stages, Process: r.Process, Behind: r.Behind,
		}
		if i < len(labels) {
			rm.Label = labels[i]
		}
		if r.Broken != nil {
			rm.Broken = r.Broken.Error()
		}
		if err := writeRecords(filepath.Join(folder, rm.File), r.Records); err != nil {
			return err
		}
		m.Runs = append(m.Runs, rm)
	}
	doc, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, manifestFile), append(doc, '\n'), 0o644)
}

func writeRecords(name string, records []Record) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	packed := gzip.NewWriter(f)
	defer func() { err = errors.Join(err, packed.Close()) }()
	w := bufio.NewWriterSize(packed, 1<<16)
	defer func() { err = errors.Join(err, w.Flush()) }()
	enc := json.NewEncoder(w)
	for i, r := range records {
		err := enc.Encode(line{
			ID: i, Due: inUS(r.Due), Start: inUS(r.Start), First: inUS(r.First), Done: inUS(r.Done), Own: inUS(r.Own),
			Outcome: r.Outcome.String(), Wrote: r.Wrote, Status: r.Status, Failure: r.Failure, Bytes: r.Bytes, Stages: r.Stages,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Load reads what Save wrote.
func Load(folder string) (Manifest, []Run, error) {
	var m Manifest
	doc, err := os.ReadFile(filepath.Join(folder, manifestFile))
	if err != nil {
		return m, nil, err
	}
	if err := json.Unmarshal(doc, &m); err != nil {
		return m, nil, fmt.Errorf("%s: %w", filepath.Join(folder, manifestFile), err)
	}
	var runs []Run
	for _, rm := range m.Runs {
		if filepath.Base(rm.File) != rm.File {
			return m, nil, fmt.Errorf("%s: file %q is not in the folder", folder, rm.File)
		}
		r := Run{Target: rm.Target, Loop: rm.Loop, Started: rm.Started, Length: rm.Length, Took: rm.Took, CPU: rm.CPU,
			Stages: rm.Stages, Process: rm.Process, Behind: rm.Behind}
		if rm.Broken != "" {
			r.Broken = errors.New(rm.Broken)
		}
		if r.Records, err = readRecords(filepath.Join(folder, rm.File)); err != nil {
			return m, nil, fmt.Errorf("%s: %w", filepath.Join(folder, rm.File), err)
		}
		if err := r.Check(); err != nil {
			return m, nil, fmt.Errorf("%s: %w", filepath.Join(folder, rm.File), err)
		}
		for _, rec := range r.Records {
			if len(rec.Stages) > len(r.Stages) {
				return m, nil, fmt.Errorf("%s: a record has %d stages, the manifest names %d", rm.File,
					len(rec.Stages), len(r.Stages))
			}
		}
		runs = append(runs, r)
	}
	return m, runs, nil
}

func readRecords(name string) ([]Record, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	packed, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	var records []Record
	dec := json.NewDecoder(packed)
	for {
		var l line
		switch err := dec.Decode(&l); {
		case errors.Is(err, io.EOF):
			return records, nil
		case err != nil:
			return nil, err
		case l.ID != len(records):
			return nil, fmt.Errorf("record %d where %d was due", l.ID, len(records))
		}
		outcome := Unsent
		for int(outcome) < len(outcomeNames) && outcomeNames[outcome] != l.Outcome {
			outcome++
		}
		records = append(records, Record{
			Due: us(l.Due), Start: us(l.Start), First: us(l.First), Done: us(l.Done), Own: us(l.Own),
			Outcome: outcome, Wrote: l.Wrote, Status: l.Status, Failure: l.Failure, Bytes: l.Bytes, Stages: l.Stages,
		})
	}
}

func inUS(d time.Duration) float64 { return float64(d) / 1e3 }

func us(v float64) time.Duration { return time.Duration(v*1e3 + 0.5) }
