package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/server"
)

// asPlainUser is [proctest.Alone], in a process that may not write where files
// forbid it, whoever runs the tests. Where root does, that process also has mounts of
// its own, and may make some.
func asPlainUser(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return proctest.Alone(t, nil)
	}
	return proctest.Alone(t, func(cmd *exec.Cmd) ([]byte, error) {
		type result struct {
			out []byte
			err error
		}
		done := make(chan result)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread has lost something, and ends
			for _, capability := range []uintptr{unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH} {
				if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
					done <- result{nil, fmt.Errorf("drop a capability: %w", err)}
					return
				}
			}
			mounts := exec.CommandContext(t.Context(), cmd.Path, cmd.Args[1:]...)
			mounts.Env = cmd.Env
			mounts.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
			out, err := mounts.CombinedOutput()
			if errors.Is(err, syscall.EPERM) { // no mounts of its own: tests of full disks have another way
				out, err = cmd.CombinedOutput()
			}
			done <- result{out, err}
		}()
		r := <-done
		return r.out, r.err
	})
}

// degraded is a way to start a server that isn't whole.
type degraded struct {
	name  string
	spoil func(t *testing.T, s *config.Settings) (damaged []string) // files that must stay as they are
	// checks of /readyz that fail, by the first word of their names.
	checks []string
	// noStore: experiments answer store_unavailable.
	noStore bool
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

func forbid(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(path, 0o700) })
}

// mountTmpfs puts a small file system at a path, or reports that it may not.
func mountTmpfs(t *testing.T, path, options string) bool {
	t.Helper()
	if os.Geteuid() != 0 || unix.Mount("tmpfs", path, "tmpfs", 0, options) != nil {
		return false
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return true
}

// fill takes the last byte of a file system.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 4096); err == nil; _, err = f.Write(chunk) {
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling %s: %v", dir, err)
	}
}

func degradedStarts() []degraded {
	inData := func(name, content string) func(*testing.T, *config.Settings) []string {
		return func(t *testing.T, s *config.Settings) []string {
			return []string{write(t, filepath.Join(s.DataDir, name), content)}
		}
	}
	unreadable := func(name, content string) func(*testing.T, *config.Settings) []string {
		return func(t *testing.T, s *config.Settings) []string {
			forbid(t, write(t, filepath.Join(s.DataDir, name), content), 0)
			return nil
		}
	}
	none := func(f func(t *testing.T, s *config.Settings)) func(*testing.T, *config.Settings) []string {
		return func(t *testing.T, s *config.Settings) []string { f(t, s); return nil }
	}
	const garbage = "this was a file once\n"
	return []degraded{
		{"an experiment store that is damaged", inData("experiments.db", strings.Repeat(garbage, 1000)),
			[]string{"store"}, true},
		{"an experiment store that may not be read", unreadable("experiments.db", garbage), []string{"store"}, true},
		{"a bundle that is damaged", func(t *testing.T, s *config.Settings) []string {
			copyCheckpoints(t, s)
			return []string{write(t, filepath.Join(s.Checkpoints, "quick", "weights.safetensors"), garbage)}
		}, []string{"bundle"}, false},
		{"a bundle that may not be read", none(func(t *testing.T, s *config.Settings) {
			copyCheckpoints(t, s)
			forbid(t, filepath.Join(s.Checkpoints, "quick", "manifest.json"), 0)
			write(t, filepath.Join(s.Checkpoints, "notes.txt"), garbage)
			forbid(t, filepath.Join(s.Checkpoints, "notes.txt"), 0)
		}), []string{"bundle"}, false},
		{"a folder of a bundle that may not be entered", none(func(t *testing.T, s *config.Settings) {
			copyCheckpoints(t, s)
			forbid(t, filepath.Join(s.Checkpoints, "quick"), 0)
		}), []string{"bundle"}, false},
		{"an imported bundle that is damaged", inData("checkpoints/mine/manifest.json", garbage), []string{"bundle"}, false},
		{"imported bundles that may not be read", none(func(t *testing.T, s *config.Settings) {
			write(t, filepath.Join(s.DataDir, "checkpoints", "mine", "manifest.json"), garbage)
			forbid(t, filepath.Join(s.DataDir, "checkpoints"), 0)
		}), []string{"bundle", "state-file"}, false},
		{"a state file that is empty", inData("checkpoints/state.json", ""), []string{"state-file"}, false},
		{"a state file that says nothing", inData("checkpoints/state.json", garbage), []string{"state-file"}, false},
		{"a state file that may not be read", unreadable("checkpoints/state.json", garbage), []string{"state-file"}, false},
		{"a data folder that may not be written", none(func(t *testing.T, s *config.Settings) { forbid(t, s.DataDir, 0o500) }),
			[]string{"data-folder", "experiment-key", "store"}, true},
		{"a data folder that can't be created", none(func(t *testing.T, s *config.Settings) {
			forbid(t, s.DataDir, 0o500)
			s.DataDir = filepath.Join(s.DataDir, "below", "it")
		}), []string{"data-folder", "experiment-key", "store"}, true},
		{"a file system that is read-only", none(func(t *testing.T, s *config.Settings) {
			if !mountTmpfs(t, s.DataDir, "size=1m") || unix.Mount("", s.DataDir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") != nil {
				forbid(t, s.DataDir, 0o500)
			}
		}), []string{"data-folder", "experiment-key", "store"}, true},
		{"a full disk", none(func(t *testing.T, s *config.Settings) {
			if mountTmpfs(t, s.DataDir, "size=64k") {
				fill(t, s.DataDir)
			} else {
				proctest.FullDisk(t)
			}
		}), []string{"data-folder", "experiment-key", "store"}, true},
		{"a limit on files", none(func(t *testing.T, _ *config.Settings) { proctest.FullDisk(t) }),
			[]string{"data-folder", "experiment-key", "store"}, true},
		{"the lock of a process that is dead", none(func(t *testing.T, s *config.Settings) {
			write(t, filepath.Join(s.DataDir, "lock"), "999999 elsewhere\n")
		}), nil, false},
		{"a lock that may not be opened", unreadable("lock", ""), []string{"data-folder"}, false},
		{"an experiment key that is none", inData("experiment.key", garbage), []string{"experiment-key"}, true},
		{"an experiment key that may not be read", unreadable("experiment.key", garbage), []string{"experiment-key"}, true},
		{"a cache key that is none", func(t *testing.T, s *config.Settings) []string {
			s.RedisURL = "redis://127.0.0.1:1"
			return inData("cache.key", garbage)(t, s)
		}, []string{"cache-key", "redis"}, false},
		{"traces in the way of their folder", func(t *testing.T, s *config.Settings) []string {
			s.Trace = true
			return inData("traces", garbage)(t, s)
		}, []string{"traces"}, false},
		{"no Redis", none(func(_ *testing.T, s *config.Settings) { s.RedisURL = "redis://127.0.0.1:1" }),
			[]string{"redis"}, false},
		{"no PostgreSQL", none(func(t *testing.T, s *config.Settings) {
			write(t, filepath.Join(s.DataDir, "checkpoints", "origin.json"), `{"store":"its","revision":3}`) // a copy
			s.ExperimentStore = "postgres://agiqa:secret@127.0.0.1:1/agiqa"
		}), []string{"store"}, true},
		{"no collector", none(func(_ *testing.T, s *config.Settings) { s.OTLPEndpoint = "http://127.0.0.1:1" }), nil, false},
	}
}

// TestDegradedStart: whatever is damaged, full, forbidden or away when a server
// starts, it scores with the default checkpoint, says in /readyz and in one line of
// the log what it does without, answers store_unavailable where that is missing, and
// leaves what is damaged as it is.
func TestDegradedStart(t *testing.T) {
	if asPlainUser(t) {
		return
	}
	triton := fakeTriton(t, settings(t))
	for _, tt := range degradedStarts() {
		t.Run(tt.name, func(t *testing.T) {
			s := settings(t, triton.Addr())
			s.AdminKey = "an admin key for this test"
			damaged := tt.spoil(t, &s)
			before := contents(t, damaged)
			var log proctest.Buffer
			srv, err := server.New(t.Context(), server.Config{Settings: s, Version: "1.2.3",
				Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatalf("it refuses to start: %v", err)
			}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			err = srv.While(t.Context(), func(ctx context.Context) error {
				checkDegraded(ctx, t, client, srv.URL(), string(s.AdminKey), tt)
				return nil
			})
			if err != nil {
				t.Errorf("it ends with %v", err)
			}
			if after := contents(t, damaged); !slices.Equal(before, after) {
				t.Errorf("what was damaged has changed: %q, was %q", after, before)
			}
			for _, check := range tt.checks {
				own := check != "store" && check != "redis" // which say so each time they're asked
				n := strings.Count(log.String(), "check="+check+" ") + strings.Count(log.String(), `check="`+check+" ")
				if own && n != 1 {
					t.Errorf("%d lines say that %s is missing, want one:\n%s", n, check, log.String())
				}
			}
		})
	}
}

// TestDiskFills: a disk that is full while the server runs refuses what has to be
// kept, names the folder, and costs no score.
func TestDiskFills(t *testing.T) {
	if asPlainUser(t) {
		return
	}
	triton := fakeTriton(t, settings(t))
	for _, name := range []string{"a file system", "a limit"} {
		t.Run(name, func(t *testing.T) {
			s := settings(t, triton.Addr())
			s.AdminKey = "an admin key for this test"
			mounted := name == "a file system" && mountTmpfs(t, s.DataDir, "size=4m")
			srv, err := server.New(t.Context(), server.Config{Settings: s, Version: "1.2.3", Logger: discard()})
			if err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			err = srv.While(t.Context(), func(ctx context.Context) error {
				refused := func(what, path string, body any) {
					t.Helper()
					status, answer := sendJSON(ctx, t, client, srv.URL()+path, string(s.AdminKey), body)
					if status != http.StatusServiceUnavailable || !bytes.Contains(answer, []byte(`"store_unavailable"`)) ||
						!bytes.Contains(answer, []byte(s.DataDir)) {
						t.Errorf("%s: status %d, %s, want store_unavailable that names %s", what, status, answer, s.DataDir)
					}
				}
				if mounted {
					fill(t, s.DataDir)
				} else {
					proctest.FullDisk(t)
				}
				refused("an activation", "/v1/checkpoints/demo-shared/activate", nil)
				refused("an API key", "/v1/keys", map[string]any{"name": "one", "scopes": []string{"score"}})
				if status, body := send(ctx, t, client, http.MethodPost, srv.URL()+"/v1/score", "", testimages.PNG(64, 48)); status !=
					http.StatusOK || !bytes.Contains(body, []byte(`"demo"`)) {
					t.Errorf("scoring: status %d, %s", status, body)
				}
				return nil
			})
			if err != nil {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}

func sendJSON(ctx context.Context, t *testing.T, client *http.Client, url, key string, body any) (int, []byte) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if body == nil {
		raw = nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", key)
	if raw != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, res)
}

func readAnswer(t *testing.T, res *http.Response) (int, []byte) {
	t.Helper()
	defer res.Body.Close()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, answer.Bytes()
}

// copyCheckpoints gives a server a copy of the bundles that may be spoiled.
func copyCheckpoints(t *testing.T, s *config.Settings) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(s.Checkpoints)); err != nil {
		t.Fatal(err)
	}
	s.Checkpoints = dir
}

// TestDamagedDefault: no other checkpoint scores in the place of the one that was
// chosen. Those that a request names do, and an activation ends it.
func TestDamagedDefault(t *testing.T) {
	triton := fakeTriton(t, settings(t))
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, s *config.Settings)
	}{
		{"the preset is damaged", func(t *testing.T, s *config.Settings) {
			s.DefaultCheckpoint = "demo"
			write(t, filepath.Join(s.Checkpoints, "demo", "weights.safetensors"), "no weights")
		}},
		{"nothing is set, and demo is damaged", func(t *testing.T, s *config.Settings) {
			write(t, filepath.Join(s.Checkpoints, "demo", "weights.safetensors"), "no weights")
		}},
		{"the choice is gone", func(t *testing.T, s *config.Settings) {
			write(t, filepath.Join(s.DataDir, "checkpoints", "state.json"), `{"default":"mine"}`)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := settings(t, triton.Addr())
			s.AdminKey = "an admin key for this test"
			copyCheckpoints(t, &s)
			tt.spoil(t, &s)
			srv, err := server.New(t.Context(), server.Config{Settings: s, Version: "1.2.3", Logger: discard()})
			if err != nil {
				t.Fatalf("it refuses to start: %v", err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- srv.Run(ctx, nil) }()
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			picture := testimages.PNG(64, 48)
			await := func(what string, done func() bool) {
				t.Helper()
				tick, late := time.NewTicker(20*time.Millisecond), time.After(time.Minute)
				defer tick.Stop()
				for !done() {
					select {
					case <-tick.C:
					case <-late:
						t.Fatalf("not in time: %s", what)
					}
				}
			}
			await("a checkpoint that is named scores", func() bool {
				status, _ := send(ctx, t, client, http.MethodPost, srv.URL()+"/v1/score?checkpoint=demo-shared", "", picture)
				return status == http.StatusOK
			})
			if status, body := send(ctx, t, client, http.MethodPost, srv.URL()+"/v1/score", "", picture); status !=
				http.StatusServiceUnavailable || !bytes.Contains(body, []byte("restore it, or activate another one")) {
				t.Errorf("without a name: status %d, %s", status, body)
			}
			if status, body := send(ctx, t, client, http.MethodGet, srv.URL()+"/readyz", "", nil); status !=
				http.StatusServiceUnavailable || !bytes.Contains(body, []byte(`"name":"default","ok":false,"critical":true`)) {
				t.Errorf("/readyz: status %d, %s", status, body)
			}
			if status, body := send(ctx, t, client, http.MethodPost, srv.URL()+"/v1/checkpoints/demo-shared/activate",
				string(s.AdminKey), nil); status != http.StatusOK {
				t.Errorf("activation: status %d, %s", status, body)
			}
			await("it is ready", func() bool {
				status, _ := send(ctx, t, client, http.MethodGet, srv.URL()+"/readyz", "", nil)
				return status == http.StatusOK
			})
			if status, _ := send(ctx, t, client, http.MethodPost, srv.URL()+"/v1/score", "", picture); status != http.StatusOK {
				t.Errorf("after the activation: status %d", status)
			}
			stop()
			if err := <-ended; err != nil {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}

func contents(t *testing.T, paths []string) []string {
	t.Helper()
	var all []string
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(raw))
	}
	return all
}

func checkDegraded(ctx context.Context, t *testing.T, client *http.Client, url, key string, want degraded) {
	t.Helper()
	status, body := send(ctx, t, client, http.MethodPost, url+"/v1/score", key, testimages.PNG(64, 48))
	if status != http.StatusOK || !bytes.Contains(body, []byte(`"demo"`)) {
		t.Errorf("scoring: status %d, %s", status, body)
	}
	status, body = send(ctx, t, client, http.MethodGet, url+"/readyz", "", nil)
	var report gateway.ReadinessReport
	if err := json.Unmarshal(body, &report); err != nil || status != http.StatusOK {
		t.Fatalf("/readyz: status %d, %s (%v)", status, body, err)
	}
	var failing []string
	for _, c := range report.Checks {
		name, _, _ := strings.Cut(c.Name, " ")
		if !c.OK && c.Detail != "not checked yet" {
			failing = append(failing, name)
			if c.Critical || c.Detail == "" || c.Detail == "unavailable" {
				t.Errorf("check %+v, want a sentence and not critical", c)
			}
		}
	}
	slices.Sort(failing)
	if wanted := slices.Sorted(slices.Values(want.checks)); !slices.Equal(failing, wanted) {
		t.Errorf("checks %q fail, want %q: %s", failing, wanted, body)
	}
	status, body = send(ctx, t, client, http.MethodGet, url+"/v1/experiments", key, nil)
	var problem gateway.Problem
	_ = json.Unmarshal(body, &problem)
	switch {
	case want.noStore && (status != http.StatusServiceUnavailable || problem.Code != "store_unavailable"):
		t.Errorf("experiments: status %d, %s, want store_unavailable", status, body)
	case !want.noStore && status != http.StatusOK:
		t.Errorf("experiments: status %d, %s", status, body)
	}
}

func send(ctx context.Context, t *testing.T, client *http.Client, method, url, key string, body []byte) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("X-API-Key", key)
	}
	if body != nil {
		req.Header.Set("Content-Type", "image/png")
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, res)
}
