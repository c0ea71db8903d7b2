// Package release_test makes a release of the working tree and uses it as a
// stranger would.
package release_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/internal/version"
)

const (
	root = "../.."
	date = "2026-11-29T12:00:00Z"
)

// TestRelease: two clones in different places, made by users with other habits,
// give the same files; what the archive holds is enough to run agiqa up.
func TestRelease(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiles the program twice")
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("the embedded Triton runs on Linux on x86-64 only")
	}
	first := cloneOfTree(t)
	second := filepath.Join(t.TempDir(), "another é place")
	run(t, "/", nil, "git", "clone", "--quiet", "--no-hardlinks", first, second)
	outs := []string{filepath.Join(t.TempDir(), "dist"), filepath.Join(second, "dist")}
	release := func(clone, out, umask string, env ...string) {
		t.Helper()
		run(t, clone, env, "bash", "-c", "umask "+umask+`; exec tools/release/release.sh "$0" amd64`, out)
	}
	release(first, outs[0], "077", "TZ=Pacific/Auckland", "GOAMD64=v3", "GOFLAGS=-tags=netgo", "LC_ALL=de_DE.UTF-8")
	release(second, outs[1], "002", "TZ=UTC", "LC_ALL=C")

	name := "agiqa-" + version.Number + "-dev+" + run(t, first, nil, "git", "rev-parse", "--short=12", "HEAD") +
		"-linux-amd64"
	want := []string{"SHA256SUMS", name + "-static", name + ".cdx.json", name + ".tar.gz"}
	for _, out := range outs {
		if got := names(t, out); !slices.Equal(got, want) {
			t.Fatalf("%s has %q, want %q", out, got, want)
		}
	}
	for _, file := range want {
		a, b := content(t, filepath.Join(outs[0], file)), content(t, filepath.Join(outs[1], file))
		if !bytes.Equal(a, b) {
			t.Errorf("%s: the two builds differ", file)
		}
	}
	run(t, outs[0], nil, "sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	if sums := content(t, filepath.Join(outs[0], "SHA256SUMS")); bytes.Count(sums, []byte("\n")) != len(want)-1 {
		t.Errorf("SHA256SUMS lists other than %d files:\n%s", len(want)-1, sums)
	}

	checkArchive(t, filepath.Join(outs[0], name+".tar.gz"), name)
	static := filepath.Join(outs[0], name+"-static")
	if interpreter(t, static) {
		t.Errorf("%s needs a loader: it isn't static", static)
	}
	home := t.TempDir()
	run(t, home, nil, "tar", "-xzf", filepath.Join(outs[0], name+".tar.gz"))
	home = filepath.Join(home, name)
	commit := run(t, first, nil, "git", "rev-parse", "HEAD")
	for _, program := range []string{static, filepath.Join(home, "bin", "agiqa")} {
		var got version.Info
		if err := json.Unmarshal([]byte(run(t, "/", nil, program, "version", "--json")), &got); err != nil {
			t.Fatal(err)
		}
		if got.Commit != commit || got.Date != date || got.Modified || !strings.Contains(name, got.Version) {
			t.Errorf("%s says %+v, want commit %s of %s", program, got, commit, date)
		}
	}
	score(t, home)

	if err := os.WriteFile(filepath.Join(second, "new.go"), []byte("package x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(second, "tools/release/release.sh"), t.TempDir(), "amd64")
	if out, err := cmd.CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "files have changed since the commit") {
		t.Errorf("with a new file: %v\n%s", err, out)
	}
}

// score starts the server from an unpacked archive by run.sh, with the Python
// environment and the default encoder that make has made here, and scores a
// picture.
func score(t *testing.T, home string) {
	t.Helper()
	for _, made := range []string{".venv", ".cache"} {
		path, err := filepath.Abs(filepath.Join(root, made))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%v: run make venv models, or the tests with -short to leave this out", err)
		}
		if err := os.Symlink(path, filepath.Join(home, made)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(home, "run.sh"), "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(),
		"--model-repository", filepath.Join(home, "model_repository"))
	cmd.Dir = "/"
	p, err := proctest.Start(cmd, "Ctrl-C stops everything", 3*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	url := regexp.MustCompile(`address +(http://\S+)`).FindStringSubmatch(p.Log())
	if url == nil {
		t.Fatalf("no address in the banner:\n%s", p.Log())
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url[1]+"/v1/score",
		bytes.NewReader(content(t, filepath.Join(home, "examples", "harbour.jpg"))))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "image/jpeg")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"score":`)) {
		t.Errorf("status %d, %s (%v)", res.StatusCode, body, err)
	}
}

// checkArchive looks at the headers: they say nothing of who made it and when,
// and the order is by name.
func checkArchive(t *testing.T, path, folder string) {
	t.Helper()
	want, err := time.Parse(time.RFC3339, date)
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(content(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	if !unzipped.ModTime.IsZero() || unzipped.Name != "" {
		t.Errorf("gzip's header has %s %q", unzipped.ModTime, unzipped.Name)
	}
	seen := map[string]bool{}
	for archive, last := tar.NewReader(unzipped), ""; ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if byFolder(h.Name) <= byFolder(last) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || !h.ModTime.Equal(want) ||
			h.Mode&0o022 != 0 || h.Mode&0o444 != 0o444 || !strings.HasPrefix(h.Name, folder) {
			t.Errorf("after %s: %+v", last, h)
		}
		last = h.Name
		seen[strings.TrimPrefix(h.Name, folder+"/")] = true
	}
	for _, name := range []string{
		"LICENSE", "NOTICE", "THIRD_PARTY_NOTICES.md", "SECURITY.md", "sbom.cdx.json", "README.md", "run.sh",
		"docs/threat-model.md",
	} {
		if !seen[name] {
			t.Errorf("the archive lacks %s", name)
		}
	}
}

// byFolder sorts what a folder holds right after it.
func byFolder(name string) string { return strings.ReplaceAll(name, "/", "\x00") }

// cloneOfTree makes a repository of the working tree, changes that aren't
// committed included, with one commit.
func cloneOfTree(t *testing.T) string {
	t.Helper()
	clone := filepath.Join(t.TempDir(), "clone")
	run(t, root, nil, "bash", "-c", `mkdir "$0" && git ls-files -z --cached --others --exclude-standard |
		while IFS= read -r -d '' f; do if [[ -e $f ]]; then printf '%s\0' "$f"; fi; done |
		tar --null --files-from=- -c | tar -x -C "$0"`, clone)
	run(t, clone, nil, "git", "init", "--quiet")
	run(t, clone, nil, "git", "add", "--all")
	run(t, clone, nil, "git", "commit", "--quiet", "--message", "first")
	return clone
}

// run runs a command with Git's identity and dates fixed, and returns its output.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "BUILD_STAMP=",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@localhost", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@localhost",
		"GIT_AUTHOR_DATE="+date, "GIT_COMMITTER_DATE="+date)
	cmd.Env = append(cmd.Env, env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// interpreter reports whether a program asks for a dynamic loader.
func interpreter(t *testing.T, path string) bool {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	bytes, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}
