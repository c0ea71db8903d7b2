package deploy_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// TestTritonServesWhatModelsWrites follows the default encoder from the service
// that builds it to the servers.
func TestTritonServesWhatModelsWrites(t *testing.T) {
	t.Parallel()
	for profile, name := range map[string]string{"gpu": "triton", "cpu": "triton-cpu"} {
		services := load(t, "docker-compose.yml", secrets, profile).Services
		models, triton := services["models"], services[name]
		mounted := func(s types.ServiceConfig) (target string, readOnly bool) {
			for _, v := range s.Volumes {
				if v.Type == types.VolumeTypeVolume && v.Source == "models" {
					return v.Target, v.ReadOnly
				}
			}
			t.Fatalf("%s doesn't mount the volume models", s.Name)
			return "", false
		}
		written, readOnly := mounted(models)
		// The image's .cache is the mount, and agiqa models writes .cache/models.
		stage := read(t, "deploy/Dockerfile")
		if readOnly || !strings.Contains(stage, "ln -s "+written+" /project/.cache") {
			t.Errorf("models writes to %s (read-only: %t), the image's .cache is elsewhere", written, readOnly)
		}
		target, readOnly := mounted(triton)
		if want := "--model-repository=" + target + "/models"; !readOnly || !slices.Contains(triton.Command, want) {
			t.Errorf("%s: command %q lacks %s, or the volume is writable (read-only: %t)", name, triton.Command, want, readOnly)
		}
		if got := triton.DependsOn["models"].Condition; got != types.ServiceConditionCompletedSuccessfully {
			t.Errorf("%s waits for models until %q, want its success", name, got)
		}
		if _, inner := models.Networks["back"]; inner || len(models.Networks) != 1 {
			t.Errorf("networks of models are %v, want the one with a way out alone", models.Networks)
		}
		if models.Build == nil || !strings.Contains(stage, " AS "+models.Build.Target+"\n") {
			t.Errorf("models is built from %+v, which deploy/Dockerfile doesn't have", models.Build)
		}
	}
}

// TestProcessorsOfTriton: without a GPU images are embedded by as many
// instances, of a thread each, as the container has processors.
func TestProcessorsOfTriton(t *testing.T) {
	t.Parallel()
	triton := load(t, "docker-compose.yml", secrets, "cpu").Services["triton-cpu"]
	limit := int(triton.Deploy.Resources.Limits.NanoCPUs)
	config := read(t, "model_repository/clip_image_encoder/configs/cpu.pbtxt")
	if want := fmt.Sprintf("kind: KIND_CPU count: %d ", limit); !strings.Contains(config, want) {
		t.Errorf("triton-cpu has %d processors, and the image encoder's cpu.pbtxt lacks %q", limit, want)
	}
}

// TestModelsScript runs the service's script in a folder like the image's.
func TestModelsScript(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		choice, bin, want string // bin stands for agiqa
		status            int
		served            string // encoder.json of what Triton gets
	}{
		{"repository", "exit 9", "copied model_repository", 0, "small"},
		{"default", `[ "$*" = "models --check --gpu" ]`, "", 0, "old"},
		{"default", `[ "$2" != --check ] && echo "built $*"`, "built models --gpu", 0, "old"},
		{"default", `echo "no room" >&2; exit 1`, "can't be built", 1, "old"},
		{"large", "exit 9", "AGIQA_ENCODER is 'large'", 1, "old"},
	} {
		t.Run(tt.choice+" "+tt.want, func(t *testing.T) {
			t.Parallel()
			project := t.TempDir()
			for name, content := range map[string]string{
				"encoder/models.sh": read(t, "encoder/models.sh"), "deploy/models.sh": read(t, "deploy/models.sh"),
				"bin/agiqa": "#!/bin/sh\n" + tt.bin + "\n", "model_repository/encoder.json": "small",
				".cache/models/encoder.json": "old", ".cache/weights/downloaded.whl": "",
				"encoders/clip-vit-b-16/encoder.json": `      "name": "downloaded.whl",` + "\n",
			} {
				path := filepath.Join(project, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(project, "deploy", "models.sh"))
			cmd.Env = append(os.Environ(), "AGIQA_ENCODER="+tt.choice)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != tt.status || !strings.Contains(string(out), tt.want) {
				t.Errorf("exit status %d, want %d; output %q, want %q in it", got, tt.status, out, tt.want)
			}
			served, err := os.ReadFile(filepath.Join(project, ".cache", "models", "encoder.json"))
			if err != nil || string(served) != tt.served {
				t.Errorf("Triton gets %q (error %v), want %q", served, err, tt.served)
			}
		})
	}
}
