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
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// TestDockerfileBuildsWithTheModulesGo compares the image's Go with the
// toolchain of go.mod, which is what a Go older than that downloads: without it
// that would be the first release of the language version, bugs and all.
func TestDockerfileBuildsWithTheModulesGo(t *testing.T) {
	t.Parallel()
	wanted := regexp.MustCompile(`(?m)^toolchain go(\d+\.\d+\.\d+)$`).FindStringSubmatch(read(t, "go.mod"))
	image := regexp.MustCompile(`(?m)^FROM golang:(\d+\.\d+\.\d+)-`).FindStringSubmatch(read(t, "deploy/Dockerfile"))
	if wanted == nil || image == nil || wanted[1] != image[1] {
		t.Errorf("go.mod says %q, the image is %q; want the same Go", wanted, image)
	}
}

// TestImageHoldsNoLibraries: the binary is built without cgo, and packages that
// would make it need a loader all the same are not among its own.
func TestImageHoldsNoLibraries(t *testing.T) {
	t.Parallel()
	if !strings.Contains(read(t, "deploy/Dockerfile"), "CGO_ENABLED=0 go build") {
		t.Error("the image's binary is built with cgo")
	}
	if modules := read(t, "go.mod"); strings.Contains(modules, "purego") {
		t.Error("purego makes the binary need a loader, which the image lacks")
	}
}

// TestImageAndComposeAgree on user, health check and data folder, for those who
// run the image without compose.
func TestImageAndComposeAgree(t *testing.T) {
	t.Parallel()
	final := finalStage(t)
	gateway := load(t, "docker-compose.yml", secrets, "gpu").Services["gateway"]
	if gateway.Build == nil || gateway.Build.Dockerfile != "deploy/Dockerfile" {
		t.Fatalf("the gateway is built from %+v, want deploy/Dockerfile", gateway.Build)
	}
	user := instructions(final, "USER")
	if len(user) != 1 || user[0] != gateway.User || !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user[0]) {
		t.Errorf("the image runs as %q, compose as %q; want one pair of numbers, not root's", user, gateway.User)
	}
	_, command, _ := strings.Cut(strings.Join(instructions(final, "HEALTHCHECK"), ""), "CMD ")
	var health []string
	if err := json.Unmarshal([]byte(command), &health); err != nil {
		t.Fatalf("health check %q is not in exec form: %v", command, err)
	}
	if diff := cmp.Diff(append([]string{"CMD"}, health...), []string(gateway.HealthCheck.Test)); diff != "" {
		t.Errorf("health check (-image +compose):\n%s", diff)
	}
	data := *gateway.Environment["AGIQA_DATA_DIR"]
	if volumes := instructions(final, "VOLUME"); !slices.Equal(volumes, []string{`["` + data + `"]`}) {
		t.Errorf("compose keeps data in %s, the image's volumes are %q", data, volumes)
	}
}

// TestBuildContextHoldsTheProgram looks for every Go file and embedded file of
// the project in what .dockerignore leaves.
func TestBuildContextHoldsTheProgram(t *testing.T) {
	t.Parallel()
	file, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
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
			if is, err := ignored.MatchesOrParentMatches(path); is || err != nil {
				t.Errorf("%s is needed to build and kept out by .dockerignore (%v)", path, err)
			}
			files++
		}
	}
	if files == 0 {
		t.Error("go list named no file")
	}
}

// TestRepositoryImageHoldsModelsAndBundles follows what deploy/repository.Dockerfile
// copies through its .dockerignore, and to where the chart's pods copy it from.
func TestRepositoryImageHoldsModelsAndBundles(t *testing.T) {
	t.Parallel()
	patterns, err := ignorefile.ReadAll(strings.NewReader(read(t, "deploy/repository.Dockerfile.dockerignore")))
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"model_repository/encoder.json": false, "model_repository/clip_image_encoder/1/model.onnx": false,
		"demo/checkpoints/demo/manifest.json": false, ".git/config": true, ".env": true, "server/server.go": true,
	} {
		if is, err := ignored.MatchesOrParentMatches(path); is != want || err != nil {
			t.Errorf("%s is left out: %t (%v), want %t", path, is, err, want)
		}
	}
	text := read(t, "deploy/repository.Dockerfile")
	for folder, template := range map[string]string{
		"/repository/models": "triton.yaml", "/repository/checkpoints": "gateway.yaml",
	} {
		if !strings.Contains(text, " "+folder+"\n") ||
			!strings.Contains(read(t, "deploy/chart/templates/"+template), "command: [cp, -r, "+folder) {
			t.Errorf("%s isn't both written by the image and copied by %s", folder, template)
		}
	}
}

// finalStage is the part of the Dockerfile from its last FROM on.
func finalStage(t *testing.T) string {
	t.Helper()
	text := read(t, "deploy/Dockerfile")
	return text[strings.LastIndex(text, "\nFROM "):]
}

// instructions returns what follows a word at the beginning of lines.
func instructions(stage, word string) []string {
	var rest []string
	for _, m := range regexp.MustCompile(`(?m)^`+word+` (.*)$`).FindAllStringSubmatch(stage, -1) {
		rest = append(rest, m[1])
	}
	return rest
}
