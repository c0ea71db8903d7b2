package deploy_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDockerfileIsSound(t *testing.T) {
	t.Parallel()
	build := load(t, "docker-compose.yml", secrets, "gpu").Services["gateway"].Build
	if build == nil || build.Dockerfile != "deploy/Dockerfile" {
		t.Fatalf("the gateway is built from %+v, want deploy/Dockerfile", build)
	}
	for _, fault := range dockerfileFaults(t, read(t, "deploy/Dockerfile")) {
		t.Error(fault)
	}
}

func TestDockerfileFaultsAreFound(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       []string
	}{
		{
			name: "sound",
			text: "FROM golang:1.26.8 AS build\nCOPY go.mod \\\n  go.sum ./\nFROM scratch\nCOPY --from=build /a /a\nUSER 65532\nHEALTHCHECK CMD [\"/a\"]\nENTRYPOINT [\"/a\"]\n",
		},
		{
			name: "floating base, root, shell",
			text: "FROM golang AS build\nFROM alpine:latest\nHEALTHCHECK CMD [\"/a\"]\nENTRYPOINT /a\n",
			want: []string{
				"base image golang is not an exact version",
				"base image alpine:latest is not an exact version",
				"the final stage runs as \"\", want a number that is not 0",
				"the entry point is not in exec form: /a",
			},
		},
		{
			name: "explicit root, no health check, unknown sources",
			text: "FROM scratch\nCOPY no-such-file training /\nCOPY --from=nowhere /a /a\nUSER 0:0\nENTRYPOINT [\"/a\"]\n",
			want: []string{
				"COPY no-such-file: not in the repository",
				"COPY training: kept out by .dockerignore",
				"COPY --from=nowhere: no such stage",
				"the final stage runs as \"0:0\", want a number that is not 0",
				"no health check",
			},
		},
		{
			name: "a named user can be anyone",
			text: "FROM scratch\nUSER agiqa\nHEALTHCHECK NONE\nENTRYPOINT [\"/a\"]\n",
			want: []string{
				"the final stage runs as \"agiqa\", want a number that is not 0",
				"no health check",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, dockerfileFaults(t, tt.text)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDockerfileBuildsWithTheModulesGo compares the image's Go with go.mod's.
func TestDockerfileBuildsWithTheModulesGo(t *testing.T) {
	t.Parallel()
	wanted := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	image := regexp.MustCompile(`(?m)^FROM golang:(\d+\.\d+)\.\d+-`).FindStringSubmatch(read(t, "deploy/Dockerfile"))
	if wanted == nil || image == nil || wanted[1] != image[1] {
		t.Errorf("go.mod says %q, the image is %q; want the same Go", wanted, image)
	}
}

// TestImageShipsTheDecoders: the final stage holds what the build stage
// gathered, and that is both libraries that imageprep/native opens.
func TestImageShipsTheDecoders(t *testing.T) {
	t.Parallel()
	text := read(t, "deploy/Dockerfile")
	for _, name := range []string{"libturbojpeg.so.0", "libwebp.so.7"} {
		opened := read(t, "imageprep/native/turbojpeg.go") + read(t, "imageprep/native/webp.go")
		if !strings.Contains(text, `"`+name+`"`) || !strings.Contains(opened, `"`+name+`"`) {
			t.Errorf("%s is not both opened and gathered for the image", name)
		}
	}
	all := stages(text)
	if !slices.Contains(all[len(all)-1].instructions, instruction{"COPY", "--from=build /out/root/ /"}) {
		t.Error("the final stage does not take the libraries over")
	}
}

func TestImageAndComposeAgree(t *testing.T) {
	t.Parallel()
	final := stages(read(t, "deploy/Dockerfile"))
	image := final[len(final)-1]
	gateway := load(t, "docker-compose.yml", secrets, "gpu").Services["gateway"]
	if user, _ := image.last("USER"); user != gateway.User {
		t.Errorf("the image runs as %q, compose as %q", user, gateway.User)
	}
	health, _ := image.last("HEALTHCHECK")
	var inImage []string
	if _, command, ok := strings.Cut(health, "CMD "); !ok || json.Unmarshal([]byte(command), &inImage) != nil {
		t.Fatalf("health check %q is not in exec form", health)
	}
	if diff := cmp.Diff(append([]string{"CMD"}, inImage...), []string(gateway.HealthCheck.Test)); diff != "" {
		t.Errorf("health check (-image +compose):\n%s", diff)
	}
	data := *gateway.Environment["AGIQA_DATA_DIR"]
	if volumes, _ := image.last("VOLUME"); !strings.Contains(volumes, `"`+data+`"`) {
		t.Errorf("compose keeps data in %s, the image's volumes are %s", data, volumes)
	}
}

// TestBuildContextHoldsTheProgram looks for every Go file and embedded file of
// the project in what .dockerignore leaves.
func TestBuildContextHoldsTheProgram(t *testing.T) {
	t.Parallel()
	ignored := ignorePatterns(t)
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=Dir,GoFiles,EmbedFiles", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	files := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			Dir                 string
			GoFiles, EmbedFiles []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, file := range slices.Concat(p.GoFiles, p.EmbedFiles) {
			path, err := filepath.Rel(absolute, filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if isIgnored(path, ignored) {
				t.Errorf("%s is needed to build and kept out by .dockerignore", path)
			}
			files++
		}
	}
	if files == 0 {
		t.Error("go list named no file")
	}
}

func TestIsIgnored(t *testing.T) {
	t.Parallel()
	patterns := []string{"bin", ".git", "a/b", "**/node_modules"}
	tests := []struct {
		path string
		want bool
	}{
		{"bin", true},
		{"bin/agiqa", true},
		{"cmd/bin", false},
		{"binary", false},
		{"a/b/c", true},
		{"a/c", false},
		{"node_modules/x", true},
		{"web/node_modules/x", true},
		{".gitignore", false},
	}
	for _, tt := range tests {
		if got := isIgnored(tt.path, patterns); got != tt.want {
			t.Errorf("isIgnored(%q) = %t, want %t", tt.path, got, tt.want)
		}
	}
}

// A stage is a FROM of a Dockerfile with the instructions that follow.
type stage struct {
	base, name   string
	instructions []instruction
}

type instruction struct{ word, rest string }

// last returns the last instruction of a kind: the one that counts.
func (s stage) last(word string) (rest string, ok bool) {
	for _, i := range s.instructions {
		if i.word == word {
			rest, ok = i.rest, true
		}
	}
	return rest, ok
}

// stages reads a Dockerfile without here-documents and parser directives.
func stages(text string) []stage {
	text = strings.ReplaceAll(text, "\\\n", " ")
	var all []stage
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if word == "FROM" {
			fields := strings.Fields(rest)
			s := stage{base: fields[0]}
			if len(fields) == 3 && fields[1] == "AS" {
				s.name = fields[2]
			}
			all = append(all, s)
		} else if len(all) > 0 {
			current := &all[len(all)-1]
			current.instructions = append(current.instructions, instruction{word, strings.TrimSpace(rest)})
		}
	}
	return all
}

var ordinaryUser = regexp.MustCompile(`^[1-9]\d*(:[1-9]\d*)?$`)

func dockerfileFaults(t *testing.T, text string) []string {
	t.Helper()
	all := stages(text)
	if len(all) == 0 {
		return []string{"no stage"}
	}
	var faults []string
	ignored := ignorePatterns(t)
	for i, s := range all {
		if _, tag, ok := cutTag(s.base); s.base != "scratch" && !(ok && exactVersion.MatchString(tag)) {
			faults = append(faults, "base image "+s.base+" is not an exact version")
		}
		for _, copied := range s.instructions {
			if copied.word == "COPY" || copied.word == "ADD" {
				faults = append(faults, copyFaults(copied, all[:i], ignored)...)
			}
		}
	}
	final := all[len(all)-1]
	if user, _ := final.last("USER"); !ordinaryUser.MatchString(user) {
		faults = append(faults, "the final stage runs as \""+user+"\", want a number that is not 0")
	}
	if health, ok := final.last("HEALTHCHECK"); !ok || health == "NONE" {
		faults = append(faults, "no health check")
	}
	if entry, _ := final.last("ENTRYPOINT"); !strings.HasPrefix(entry, "[") {
		faults = append(faults, "the entry point is not in exec form: "+entry)
	}
	return faults
}

// copyFaults checks one COPY: its stage is an earlier one, or its sources are
// in the build's context.
func copyFaults(copied instruction, earlier []stage, ignored []string) []string {
	var sources []string
	for _, word := range strings.Fields(copied.rest) {
		if from, ok := strings.CutPrefix(word, "--from="); ok {
			if !slices.ContainsFunc(earlier, func(s stage) bool { return s.name == from }) {
				return []string{copied.word + " --from=" + from + ": no such stage"}
			}
			return nil
		}
		if !strings.HasPrefix(word, "--") {
			sources = append(sources, word)
		}
	}
	var faults []string
	for _, source := range sources[:len(sources)-1] {
		if _, err := os.Stat(filepath.Join(root, source)); err != nil {
			faults = append(faults, copied.word+" "+source+": not in the repository")
		} else if isIgnored(source, ignored) {
			faults = append(faults, copied.word+" "+source+": kept out by .dockerignore")
		}
	}
	return faults
}

// ignorePatterns reads .dockerignore, and wants it to stay as simple as
// isIgnored.
func ignorePatterns(t *testing.T) []string {
	t.Helper()
	var patterns []string
	for line := range strings.Lines(read(t, ".dockerignore")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if rest := strings.TrimPrefix(line, "**/"); strings.ContainsAny(rest, "*?![\\") {
			t.Errorf(".dockerignore: %q is neither a path nor **/name, so this test cannot read it", line)
		}
		patterns = append(patterns, line)
	}
	return patterns
}

// isIgnored knows plain paths from the root and **/name.
func isIgnored(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if name, anywhere := strings.CutPrefix(pattern, "**/"); anywhere {
			return slices.Contains(strings.Split(path, "/"), name)
		}
		return path == pattern || strings.HasPrefix(path, pattern+"/")
	})
}
