package version_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/internal/version"
)

const (
	commit = "0123456789abcdef0123456789abcdef01234567"
	date   = "2026-11-29T12:00:00Z"
)

func TestOf(t *testing.T) {
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{
			{Key: "GOOS", Value: "linux"}, {Key: "vcs.revision", Value: commit}, {Key: "vcs.time", Value: date},
			{Key: "vcs.modified", Value: modified},
		}
	}
	for _, test := range []struct {
		name, stamp string
		settings    []debug.BuildSetting
		want        version.Info
	}{
		{name: "nothing known", want: version.Info{Version: version.Number + "-dev"}},
		{
			name: "release", stamp: commit + "," + date + ",release",
			want: version.Info{Version: version.Number, Commit: commit, Date: date},
		},
		{
			name: "between releases", stamp: commit + "," + date + ",dev",
			want: version.Info{Version: version.Number + "-dev+0123456789ab", Commit: commit, Date: date},
		},
		{
			name: "changed files", stamp: commit + "," + date + ",modified",
			want: version.Info{
				Version: version.Number + "-dev+0123456789ab.modified", Commit: commit, Date: date, Modified: true,
			},
		},
		{
			name: "the stamp has precedence", stamp: "f00d," + date + ",dev", settings: vcs("true"),
			want: version.Info{Version: version.Number + "-dev+f00d", Commit: "f00d", Date: date},
		},
		{
			name: "the go command's", settings: vcs("false"),
			want: version.Info{Version: version.Number + "-dev+0123456789ab", Commit: commit, Date: date},
		},
		{
			name: "the go command's, changed files", settings: vcs("true"),
			want: version.Info{
				Version: version.Number + "-dev+0123456789ab.modified", Commit: commit, Date: date, Modified: true,
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.want.Go, test.want.Platform = runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH
			got := version.Of(test.stamp, test.settings)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !semantic.MatchString(got.Version) {
				t.Errorf("%s is no semantic version", got.Version)
			}
		})
	}
}

var semantic = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9a-z.]+)?(\+[0-9a-z.]+)?$`)

// TestStamp runs stamp.sh where builds happen: a clone in each of its states, a
// worktree, an archive, an archive inside of another repository, a container.
func TestStamp(t *testing.T) {
	t.Parallel()
	clone := filepath.Join(t.TempDir(), "clone é x")
	folder := filepath.Join(clone, "internal", "version")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"version.go", "stamp.sh", "archive", "../../.gitattributes"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	git := func(dir string, args ...string) string { return run(t, dir, nil, "git", args...) }
	stamp := func(dir string, env ...string) string {
		return run(t, "/", env, filepath.Join(dir, "internal", "version", "stamp.sh"))
	}
	expect := func(where, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: stamp is %q, want %q", where, got, want)
		}
	}
	if got := stamp(clone); got != "" {
		t.Errorf("without a commit: stamp is %q, want nothing", got)
	}
	git(clone, "init", "--quiet")
	git(clone, "add", "--all")
	git(clone, "commit", "--quiet", "--message", "first")
	head := git(clone, "rev-parse", "HEAD") + "," + date
	expect("a clone", stamp(clone), head+",dev")

	worktree := filepath.Join(t.TempDir(), "worktree")
	git(clone, "worktree", "add", "--quiet", worktree)
	expect("a worktree", stamp(worktree), head+",dev")

	unpack := func(into string) string {
		if err := os.MkdirAll(into, 0o755); err != nil {
			t.Fatal(err)
		}
		archive := filepath.Join(t.TempDir(), "source.tar")
		git(clone, "archive", "--output", archive, "HEAD")
		run(t, into, nil, "tar", "-xf", archive)
		return into
	}
	expect("an archive", stamp(unpack(t.TempDir())), head+",dev")
	expect("an archive in another repository", stamp(unpack(filepath.Join(clone, "vendor", "agiqa"))), head+",dev")
	expect("a new file", stamp(clone), head+",modified")
	if err := os.RemoveAll(filepath.Join(clone, "vendor")); err != nil {
		t.Fatal(err)
	}

	git(clone, "tag", "v9.9.9")
	expect("another version's tag", stamp(clone), head+",dev")
	git(clone, "tag", "v"+version.Number)
	expect("the release", stamp(clone), head+",release")
	expect("the release's archive", stamp(unpack(t.TempDir())), head+",release")
	expect("a container", stamp(clone, "BUILD_STAMP=a,b,dev"), "a,b,dev")
	if err := os.WriteFile(filepath.Join(folder, "version.go"),
		[]byte("const Number = \""+version.Number+"\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	expect("the release, changed", stamp(clone), head+",modified")
}

// run runs a command with Git's identity and dates fixed, and returns its output.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "BUILD_STAMP=",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@localhost", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@localhost",
		"GIT_AUTHOR_DATE=2026-11-29T14:00:00+0200", "GIT_COMMITTER_DATE=2026-11-29T14:00:00+0200")
	cmd.Env = append(cmd.Env, env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// TestEveryBuildIsStamped: make, the container image and compose pass the stamp on.
func TestEveryBuildIsStamped(t *testing.T) {
	t.Parallel()
	const root = "../.."
	const flag = "-X github.com/agiqa/agiqa/internal/version.stamp="
	if got := run(t, root, []string{"BUILD_STAMP=a,b,dev", "MAKEFLAGS="}, "make", "-n",
		"build"); !strings.Contains(got, flag+"a,b,dev") {
		t.Errorf("make build doesn't stamp:\n%s", got)
	}
	for file, want := range map[string]string{
		"deploy/Dockerfile":  flag + "$(internal/version/stamp.sh)",
		"docker-compose.yml": `args: { BUILD_STAMP: "${BUILD_STAMP:-}" }`,
	} {
		content, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), want) {
			t.Errorf("%s lacks %s", file, want)
		}
	}
	dockerfile, err := os.ReadFile(filepath.Join(root, "deploy/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	argument, build := strings.Index(string(dockerfile), "ARG BUILD_STAMP"),
		strings.Index(string(dockerfile), " go build ")
	if stage := strings.LastIndex(string(dockerfile[:max(build, 0)]), "\nFROM "); argument < stage || argument > build {
		t.Error("deploy/Dockerfile declares BUILD_STAMP elsewhere than before go build, in its stage")
	}
}
