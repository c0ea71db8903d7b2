package main

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// statusOf asks a server for path with a key, or none.
func statusOf(t *testing.T, p *process, path, key string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path, nil)
	mustDo(t, err)
	if key != "" {
		req.Header.Set(gateway.KeyHeader, key)
	}
	res, err := http.DefaultClient.Do(req)
	mustDo(t, err)
	mustDo(t, res.Body.Close())
	return res.StatusCode
}

// TestKeysOfAReachableServer: a server that other machines reach scores for holders
// of a key only, and a key goes its way from creation over replacement to
// revocation on the command line.
func TestKeysOfAReachableServer(t *testing.T) {
	p := startUp(t, []string{"AGIQA_ADMIN_KEY=" + testAdminKey}, "--listen", "0.0.0.0:0")
	if errs := p.stderr(); !strings.Contains(errs, "warning: other machines can reach this server") {
		t.Errorf("no warning: %s", errs)
	}
	for path, want := range map[string]int{
		"/v1/checkpoints": 401, "/v1/experiments": 401, "/v1/keys": 401, "/metrics": 401,
		"/healthz": 200, "/readyz": 200, "/openapi.json": 200, "/": 200, "/docs": 200,
	} {
		if got := statusOf(t, p, path, ""); got != want {
			t.Errorf("%s without a key: status %d, want %d", path, got, want)
		}
	}
	client := []string{"AGIQA_DATA_DIR=" + t.TempDir(), "AGIQA_URL=" + p.url}
	admin := append(client[:2:2], "AGIQA_ADMIN_KEY="+testAdminKey)
	run := func(env []string, want int, args ...string) (out, errs string) {
		t.Helper()
		out, errs, status := runCommand(t, env, nil, args...)
		if status != want {
			t.Errorf("agiqa %s: status %d, want %d: %s", strings.Join(args, " "), status, want, errs)
		}
		return out, errs
	}
	create := func() (key string, as []string) {
		out, errs := run(admin, 0, "key", "create", "shop", "--scopes", "score,read", "--expires-in", "90d")
		key = strings.TrimSuffix(out, "\n")
		if !access.WellFormed(key) || !strings.Contains(errs, "shop") || strings.Contains(errs, key) {
			t.Fatalf("created %q, %q", out, errs)
		}
		return key, append(client[:2:2], "AGIQA_API_KEY="+key)
	}
	if _, errs := run(client, 1, "score", "examples/tiles.png"); !strings.Contains(errs, "unauthenticated") {
		t.Errorf("score without a key: %s", errs)
	}
	// The admin key is for administration: scoring doesn't send it.
	run(admin, 1, "score", "examples/tiles.png")
	first, asFirst := create()
	run(asFirst, 0, "score", "examples/tiles.png")
	run(asFirst, 0, "compare", "examples/tiles.png")
	if _, errs := run(asFirst, 1, "checkpoint", "activate", "demo"); !strings.Contains(errs,
		"lacks the scope checkpoint") {
		t.Errorf("a change with a key for scoring: %s", errs)
	}
	dir := filepath.Join(t.TempDir(), "out")
	out, _ := run(asFirst, 0, "bench", "http", "--images", "examples", "--rate", "20", "--duration", "300ms", "--json",
		"--out", dir, "--api-key", first)
	var run1 struct{ Scheduled, Completed int }
	mustDo(t, json.Unmarshal([]byte(out), &run1))
	if run1.Scheduled != 6 || run1.Completed != 6 {
		t.Errorf("bench: %s", out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	mustDo(t, err)
	for _, name := range files {
		if strings.Contains(string(mustRead(t, name)), first) {
			t.Errorf("the key is in %s", filepath.Base(name))
		}
	}
	second, asSecond := create()
	if _, errs := run(admin, 1, "key", "create", "shop", "--scopes", "score"); !strings.Contains(errs,
		string(quality.KindConflict)) {
		t.Errorf("a third key of a name: %s", errs)
	}
	run(asSecond, 0, "score", "examples/tiles.png")
	var list struct{ Keys []gateway.APIKey }
	eventually(t, "the last use of both keys is known", func() bool {
		out, _ := run(admin, 0, "key", "list", "--json")
		mustDo(t, json.Unmarshal([]byte(out), &list))
		return len(list.Keys) == 2 && list.Keys[0].Used != nil && list.Keys[1].Used != nil
	})
	id := list.Keys[0].ID
	if !strings.Contains(first, id) {
		t.Fatalf("the oldest key is %s", id)
	}
	run(admin, 1, "key", "revoke", id) // there is no terminal to ask on
	run(asFirst, 0, "score", "examples/tiles.png")
	run(admin, 0, "key", "revoke", id, "--yes")
	if _, errs := run(asFirst, 1, "score", "examples/tiles.png"); !strings.Contains(errs, "was revoked") {
		t.Errorf("score with a revoked key: %s", errs)
	}
	run(asSecond, 0, "score", "examples/tiles.png")
	if out, _ := run(admin, 0, "key", "list"); !strings.Contains(out, "revoked") || strings.Contains(out, second) {
		t.Errorf("list: %s", out)
	}
	if log := p.stderr(); strings.Contains(log, first) || strings.Contains(log, second) {
		t.Error("a key is in the log")
	}
	p.key = second // for what the end of the test looks at
}

// TestRevocationReachesOtherGateways: two gateways share a store; what is created
// and revoked at one counts at the other in the time that is promised.
func TestRevocationReachesOtherGateways(t *testing.T) {
	store := filepath.Join(t.TempDir(), "experiments.db")
	gatewayOf := func() *process {
		return startListening(t, []string{
			"AGIQA_DATA_DIR=" + t.TempDir(), "AGIQA_EXPERIMENT_STORE=" + store, "AGIQA_ADMIN_KEY=" + testAdminKey,
			"AGIQA_EXPERIMENT_KEY=0123456789abcdef", "AGIQA_SCORING_ACCESS=key",
		}, "127.0.0.1:9")
	}
	one, other := gatewayOf(), gatewayOf()
	env := []string{"AGIQA_URL=" + one.url, "AGIQA_ADMIN_KEY=" + testAdminKey}
	out, errs, status := runCommand(t, env, nil, "key", "create", "reader", "--scopes", "read", "--json")
	if status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	var key gateway.NewAPIKey
	mustDo(t, json.Unmarshal([]byte(out), &key))
	for _, p := range []*process{one, other} {
		if got := statusOf(t, p, "/v1/checkpoints", key.Secret); got != http.StatusOK {
			t.Errorf("a new key: status %d", got)
		}
	}
	if _, errs, status := runCommand(t, env, nil, "key", "revoke", key.ID, "--yes"); status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	revoked := time.Now()
	if got := statusOf(t, one, "/v1/checkpoints", key.Secret); got != http.StatusUnauthorized {
		t.Errorf("where it was revoked: status %d", got)
	}
	eventually(t, "the other gateway refuses the key", func() bool {
		return statusOf(t, other, "/v1/checkpoints", key.Secret) == http.StatusUnauthorized
	})
	took := time.Since(revoked)
	t.Logf("refused by the other gateway after %s", took)
	if took > access.RevokedWithin+2*time.Second { // a loaded machine takes its time
		t.Errorf("refused after %s, want at most %s", took, access.RevokedWithin)
	}
}
