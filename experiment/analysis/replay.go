package analysis

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/agiqa/agiqa/experiment"
)

// Replayed says whether the log gives the numbers that were concluded before.
type Replayed struct {
	Equal       bool     `json:"equal"` // to the last bit
	Differences []string `json:"differences,omitempty"`
	Log         Log      `json:"log"` // what was read
}

// mostDifferences bounds what is reported of two documents that differ.
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
// numbers have the shortest form that parses to the same value, so that equal text
// is equal bits.
func compareDocuments(live, again any, at Log) (Replayed, error) {
	var leaves [2]map[string]string
	for i, v := range []any{live, again} {
		raw, err := json.Marshal(v)
		if err != nil {
			return Replayed{}, err
		}
		var tree any
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		if err := decoder.Decode(&tree); err != nil {
			return Replayed{}, err
		}
		leaves[i] = map[string]string{}
		flatten("", tree, leaves[i])
	}
	r := Replayed{Log: at}
	both := maps.Clone(leaves[0])
	maps.Copy(both, leaves[1])
	for _, path := range slices.Sorted(maps.Keys(both)) {
		a, b := cmp.Or(leaves[0][path], "nothing"), cmp.Or(leaves[1][path], "nothing")
		if a != b && len(r.Differences) < mostDifferences {
			r.Differences = append(r.Differences, fmt.Sprintf("%s: live %s, log %s", path, a, b))
		}
	}
	r.Equal = len(r.Differences) == 0
	return r, nil
}

// flatten lists the leaves of a document by their path.
func flatten(path string, v any, leaves map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for name, of := range v {
			flatten(strings.TrimPrefix(path+"."+name, "."), of, leaves)
		}
	case []any:
		leaves[path+".length"] = strconv.Itoa(len(v))
		for i, of := range v {
			flatten(fmt.Sprintf("%s[%d]", path, i), of, leaves)
		}
	default:
		text := fmt.Sprint(v)
		if v == nil {
			text = "null"
		}
		leaves[path] = text
	}
}

// Replay computes a report again from the log, up to where the live one had read,
// with its settings, its time and its guardrails, which the log does not know; and
// compares the two. How the log was read may differ and is not compared.
func Replay(ctx context.Context, store experiment.Store, live Report, o Options) (Replayed, error) {
	s, err := ReadAt(ctx, store, live.Experiment, live.Log, live.Settings.Limits)
	if err != nil {
		return Replayed{}, err
	}
	o.MostScores = 0
	o.Bootstrap.Resamples, o.Bootstrap.Seed = live.Settings.Resamples, live.Settings.Seed
	o.Bootstrap.Groups = live.Settings.Groups
	again, err := Analyse(ctx, s, live.Generated, o)
	if err != nil {
		return Replayed{}, err
	}
	at := again.Log
	again.Log, again.Guards, again.Promotions = live.Log, live.Guards, live.Promotions
	return compareDocuments(live, again, at)
}
