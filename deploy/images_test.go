package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fullVersion is a tag that its publisher doesn't move to another release:
// 1.26.8-bookworm, v3.14.0, 17.6-alpine, 26.03-py3. A digest may follow.
var fullVersion = regexp.MustCompile(`^v?\d+\.\d+(\.\d+)?(-[a-z0-9.-]+)?(@sha256:[0-9a-f]{64})?$`)

// patchVersion is for images whose versions have three numbers.
var patchVersion = regexp.MustCompile(`^\d+\.\d+\.\d+-`)

// TestDockerfileImagesArePinned: each stage begins with an image of an exact
// version, another stage, or nothing.
func TestDockerfileImagesArePinned(t *testing.T) {
	t.Parallel()
	for name, least := range map[string]int{"deploy/Dockerfile": 3, "deploy/repository.Dockerfile": 2} {
		stages := map[string]bool{"scratch": true}
		lines := regexp.MustCompile(`(?mi)^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?`).
			FindAllStringSubmatch(read(t, name), -1)
		if len(lines) < least {
			t.Fatalf("%s: %d stages, want at least %d", name, len(lines), least)
		}
		for _, line := range lines {
			// Ours are built a moment before.
			if image := line[1]; !stages[image] && !strings.HasPrefix(image, "agiqa/") {
				if _, tag, ok := cutTag(image); !ok || !fullVersion.MatchString(tag) || !patchVersion.MatchString(tag) {
					t.Errorf("%s: FROM %s: want a tag with major, minor and patch", name, image)
				}
			}
			stages[line[2]] = true
		}
		for _, line := range regexp.MustCompile(`(?m)--from=(\S+)`).FindAllStringSubmatch(read(t, name), -1) {
			if !stages[line[1]] {
				t.Errorf("%s: --from=%s is no stage: give it one with an exact version", name, line[1])
			}
		}
	}
}

func TestFullVersion(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("a", 64)
	for tag, want := range map[string]bool{
		"1.26.8-bookworm": true, "v3.14.0": true, "26.03-py3": true, "17.6-alpine" + digest: true,
		"latest": false, "3": false, "3-alpine": false, "alpine3.20": false, "1.2.3@sha256:00": false, "": false,
	} {
		if got := fullVersion.MatchString(tag); got != want {
			t.Errorf("%q: exact is %t, want %t", tag, got, want)
		}
	}
}

// TestPinImages runs pin-images.sh on a copy with a registry of its own: every
// image gets the digest of its tag, and only that changes.
func TestPinImages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files := []string{
		"docker-compose.yml", "deploy/compose.several.yml", "deploy/Dockerfile", "deploy/repository.Dockerfile",
	}
	before := map[string]string{}
	for _, name := range files {
		before[name] = read(t, name)
		write(name, before[name])
	}
	write("deploy/pin-images.sh", read(t, "deploy/pin-images.sh"))
	write("bin/crane", "#!/bin/sh\n[ \"$1\" = digest ] && printf 'sha256:%s\\n' \"$(printf %s \"$2$SALT\" | sha256sum "+
		"| cut -c1-64)\"\n")
	pin := func(salt string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "deploy/pin-images.sh"), args...)
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "SALT="+salt)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := pin("", "--check"); err == nil || !strings.Contains(out, "prom/prometheus:") {
		t.Errorf("--check before: %v\n%s", err, out)
	}
	for _, salt := range []string{"", "moved"} {
		if out, err := pin(salt); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if out, err := pin(salt, "--check"); err != nil {
			t.Errorf("--check after: %v\n%s", err, out)
		}
		pinned := regexp.MustCompile(`@sha256:[0-9a-f]{64}`)
		for _, name := range files {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := pinned.ReplaceAllString(string(content), ""); got != before[name] {
				t.Errorf("%s: more than digests changed:\n%s", name, got)
			}
			images := regexp.MustCompile(`(?m)^(?: *image: |FROM )([^\s/]*(?:/[^\s:]*)?:\S+)`)
			for _, m := range images.FindAllStringSubmatch(string(content), -1) {
				if ours := strings.HasPrefix(m[1], "agiqa/"); ours == pinned.MatchString(m[1]) {
					t.Errorf("%s: %s", name, m[1])
				}
			}
		}
	}
	if out, err := pin("again", "--check"); err == nil || !strings.Contains(out, "is now sha256:") {
		t.Errorf("--check after tags moved: %v\n%s", err, out)
	}
}
