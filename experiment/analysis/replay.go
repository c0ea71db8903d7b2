package analysis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/agiqa/agiqa/experiment"
)

// Replayed says whether the log gives the numbers that were concluded before.
type Replayed struct {
	Equal       bool     `json:"equal"` // to the last bit
	Differences []string `json:"differences,omitempty"`
	Log         Log      `json:"log"` // what was read
}

// mostDifferences bounds what is told of two documents that differ.
const mostDifferences = 10

// ReadAt reads the log of an experiment's phase into a new state, up to the
// offsets of a log that was read before; a zero one: all of it.
func ReadAt(ctx context.Context, store experiment.Store, e experiment.Experiment, until Log,
	limits Limits) (*State, error) {
	s, err := New(e, limits)
	if err != nil {
		return nil, err
	}
	for r, err := range store.Exposures(ctx, e.ID, 0) {
		if err != nil {
			return nil, err
		}
		if until != (Log{}) && r.Seq > until.Exposures {
			break
		}
		s.Exposure(r)
	}
	for r, err := range store.Feedback(ctx, e.ID, 0) {
		if err != nil {
			return nil, err
		}
		if until != (Log{}) && r.Seq > until.Feedback {
			break
		}
		s.Feedback(r)
	}
	return s, nil
}

// ReplayDecision computes a decision again from the log, up to where the live one
// had read, and compares the two.
func ReplayDecision(ctx context.Context, store experiment.Store, e experiment.Experiment, live Decision, at Log,
	limits Limits) (Replayed, error) {
	s, err := ReadAt(ctx, store, e, at, limits)
	if err != nil {
		return Replayed{}, err
	}
	return compareDocuments(live, s.Decide(), s.Log())
}

// compareDocuments compares two values by their JSON, in which floating-point
// numbers have the shortest form that gives them back, so that equal text is equal
// bits.
func compareDocuments(live, again any, at Log) (Replayed, error) {
	var trees [2]any
	for i, v := range []any{live, again} {
		raw, err := json.Marshal(v)
		if err != nil {
			return Replayed{}, err
		}
		decoder := json.NewDecoder(strings.NewReader(string(raw)))
		decoder.UseNumber()
		if err := decoder.Decode(&trees[i]); err != nil {
			return Replayed{}, err
		}
	}
	r := Replayed{Log: at}
	differ("", trees[0], trees[1], &r.Differences)
	r.Equal = len(r.Differences) == 0
	return r, nil
}

// differ lists the places at which two documents are not the same.
func differ(path string, live, again any, found *[]string) {
	if len(*found) >= mostDifferences {
		return
	}
	switch a := live.(type) {
	case map[string]any:
		if b, ok := again.(map[string]any); ok {
			names := make([]string, 0, len(a)+len(b))
			for name := range a {
				names = append(names, name)
			}
			for name := range b {
				names = append(names, name)
			}
			slices.Sort(names)
			for _, name := range slices.Compact(names) {
				differ(strings.TrimPrefix(path+"."+name, "."), a[name], b[name], found)
			}
			return
		}
	case []any:
		if b, ok := again.([]any); ok && len(a) == len(b) {
			for i := range a {
				differ(fmt.Sprintf("%s[%d]", path, i), a[i], b[i], found)
			}
			return
		}
	default:
		if live == again {
			return
		}
	}
	*found = append(*found, fmt.Sprintf("%s: live %s, log %s", path, brief(live), brief(again)))
}

// brief is a value in few letters.
func brief(v any) string {
	raw, err := json.Marshal(v)
	if err != nil || len(raw) > 80 {
		return fmt.Sprintf("%T of %d bytes", v, len(raw))
	}
	return string(raw)
}

// Replay computes a report again from the log, up to where the live one had read,
// with its settings, its time and its guardrails, which the log does not know; and
// compares the two. How the log was read may differ and is not compared.
func Replay(ctx context.Context, store experiment.Store, live Report, o Options) (Replayed, error) {
	s, err := ReadAt(ctx, store, live.Experiment, live.Log, live.Settings.Limits)
	if err != nil {
		return Replayed{}, err
	}
	o.Bootstrap.Resamples, o.Bootstrap.Seed = live.Settings.Resamples, live.Settings.Seed
	again, err := Analyse(s, live.Generated, o)
	if err != nil {
		return Replayed{}, err
	}
	at := again.Log
	again.Log, again.Guards, again.Promotions = live.Log, live.Guards, live.Promotions
	return compareDocuments(live, again, at)
}
