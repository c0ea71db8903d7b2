package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/agiqa/agiqa/tools/locks"
)

// OSV takes this many queries at once, and answers with so many bytes at most
// as far as we read.
const (
	batch     = 1000
	mostBytes = 32 << 20
)

// subject is a version of a package, whatever file pins it.
type subject struct{ ecosystem, name, version string }

// vulnerability is what is printed of an advisory.
type vulnerability struct {
	ID        string
	Aliases   []string
	Summary   string
	Withdrawn time.Time
}

// pins looks every pin up, those for other Pythons and platforms included:
// somebody installs them.
func (a audit) pins(ctx context.Context, pins []locks.Pin, accepted map[string]string) (string, error) {
	files := map[subject][]string{}
	for _, p := range pins {
		s := subject{p.Ecosystem, p.Name, p.Version}
		if !slices.Contains(files[s], p.File) {
			files[s] = append(files[s], p.File)
		}
	}
	subjects := slices.SortedFunc(maps.Keys(files), func(a, b subject) int {
		return strings.Compare(a.ecosystem+" "+a.name+" "+a.version, b.ecosystem+" "+b.name+" "+b.version)
	})
	found, ids := 0, map[string]bool{}
	for part := range slices.Chunk(subjects, batch) {
		answers, err := a.query(ctx, part)
		if err != nil {
			return "", err
		}
		for i, s := range part {
			for _, id := range answers[i] {
				v, err := a.vulnerability(ctx, id)
				if err != nil {
					return "", err
				}
				if !v.Withdrawn.IsZero() {
					continue
				}
				ids[id] = true
				if _, ok := accepted[id]; ok {
					continue
				}
				found++
				fmt.Fprintf(a.out, "%s %s: %s %s (pinned by %s)\n", s.name, s.version,
					strings.Join(append([]string{v.ID}, v.Aliases...), " "), v.Summary, strings.Join(files[s], ", "))
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(accepted)) {
		if !ids[id] {
			return "", fmt.Errorf("%s is accepted and no longer found: remove it from tools/audit/accepted.txt", id)
		}
	}
	if found > 0 {
		return "", errFound
	}
	return fmt.Sprintf("no known vulnerability in %d pinned versions (%d accepted)", len(subjects), len(accepted)), nil
}

// query returns the ids of the advisories of each subject.
func (a audit) query(ctx context.Context, subjects []subject) ([][]string, error) {
	type query struct {
		Package struct {
			Name      string `json:"name"`
			Ecosystem string `json:"ecosystem"`
		} `json:"package"`
		Version string `json:"version"`
		Token   string `json:"page_token,omitempty"`
	}
	ids := make([][]string, len(subjects))
	open := make([]int, len(subjects)) // subjects with answers to come
	queries := make([]query, len(subjects))
	for i, s := range subjects {
		open[i], queries[i].Version = i, s.version
		queries[i].Package.Name, queries[i].Package.Ecosystem = s.name, s.ecosystem
	}
	for len(open) > 0 {
		var answer struct {
			Results []struct {
				Vulns []struct{ ID string }
				Next  string `json:"next_page_token"`
			}
		}
		if err := a.call(ctx, "/v1/querybatch", map[string]any{"queries": queries}, &answer); err != nil {
			return nil, err
		}
		if len(answer.Results) != len(queries) {
			return nil, fmt.Errorf("%s answered %d of %d queries", a.osvURL, len(answer.Results), len(queries))
		}
		var more []int
		var next []query
		for i, r := range answer.Results {
			for _, v := range r.Vulns {
				ids[open[i]] = append(ids[open[i]], v.ID)
			}
			if r.Next != "" {
				queries[i].Token = r.Next
				more, next = append(more, open[i]), append(next, queries[i])
			}
		}
		open, queries = more, next
	}
	return ids, nil
}

func (a audit) vulnerability(ctx context.Context, id string) (v vulnerability, err error) {
	err = a.call(ctx, "/v1/vulns/"+url.PathEscape(id), nil, &v)
	return v, err
}

// call asks OSV: with a body by POST, without one by GET.
func (a audit) call(ctx context.Context, path string, body, answer any) error {
	method, content := http.MethodGet, []byte(nil)
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return err
		}
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, a.osvURL+path, bytes.NewReader(content))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := a.client.Do(req)
	if err != nil {
		return &unreachableError{"OSV_URL", a.osvURL, plain(err)}
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return &unreachableError{"OSV_URL", a.osvURL, fmt.Errorf("status %s", res.Status)}
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, mostBytes)).Decode(answer); err != nil {
		return fmt.Errorf("%s%s: %w", a.osvURL, path, err)
	}
	return nil
}

// plain is an error of a request without method and address.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// parseAccepted reads lines of an id and a reason.
func parseAccepted(list string) (map[string]string, error) {
	reasons := map[string]string{}
	for line := range strings.Lines(list) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, reason, _ := strings.Cut(line, " ")
		if strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("accepted.txt: %s has no reason", id)
		}
		reasons[id] = strings.TrimSpace(reason)
	}
	return reasons, nil
}
