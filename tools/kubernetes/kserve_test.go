package kubernetes_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// kserve returns the objects of deploy/kserve: the runtime, then the service.
func kserve(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for _, file := range []string{"runtime.yaml", "inferenceservice.yaml"} {
		content, err := os.ReadFile(filepath.Join(root, "deploy", "kserve", file))
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, documents(t, string(content))...)
	}
	if len(objects) != 2 || objects[0].GetKind() != "ServingRuntime" || objects[1].GetKind() != "InferenceService" {
		t.Fatalf("%d objects, want a ServingRuntime and an InferenceService", len(objects))
	}
	return objects
}

// kservePods are the pods that KServe makes of them: the runtime's containers and
// volumes with what the service says of the predictor, and its transformer.
func kservePods(t *testing.T, objects []*unstructured.Unstructured) (triton, gateway *corev1.PodTemplateSpec) {
	t.Helper()
	spec := func(value any) *corev1.PodTemplateSpec {
		t.Helper()
		content, err := json.Marshal(map[string]any{"spec": value})
		if err != nil {
			t.Fatal(err)
		}
		pod := &corev1.PodTemplateSpec{}
		if err := json.Unmarshal(content, pod); err != nil {
			t.Fatal(err)
		}
		return pod
	}
	runtime := objects[0].Object["spec"]
	service := objects[1].Object["spec"].(map[string]any)
	triton, gateway = spec(runtime), spec(service["transformer"])
	predictor := spec(service["predictor"])
	triton.Spec.SecurityContext = predictor.Spec.SecurityContext
	triton.Spec.AutomountServiceAccountToken = predictor.Spec.AutomountServiceAccountToken
	triton.Spec.TerminationGracePeriodSeconds = predictor.Spec.TerminationGracePeriodSeconds
	return triton, gateway
}

// TestKServe: both pods are what the chart's are, and the gateway asks the Triton
// of its InferenceService.
func TestKServe(t *testing.T) {
	t.Parallel()
	objects := kserve(t)
	triton, gateway := kservePods(t, objects)
	checkPod(t, "ServingRuntime", triton, settings(t))
	checkPod(t, "InferenceService", gateway, settings(t))

	rendered := render(t, "--set", "secret=agiqa,models.source=claim,models.claim=agiqa-models")
	ours := template(find(t, rendered, "StatefulSet", "agiqa-triton")).Spec.Containers[0]
	arguments := func(c corev1.Container) []string {
		return slices.DeleteFunc(slices.Clone(c.Args),
			func(a string) bool { return strings.HasPrefix(a, "--model-repository=") })
	}
	if got, want := arguments(triton.Spec.Containers[0]), arguments(ours); !slices.Equal(got, want) {
		t.Errorf("arguments of Triton\n%q, the chart has\n%q", got, want)
	}
	if triton.Spec.Containers[0].Image != ours.Image {
		t.Errorf("image %s, the chart has %s", triton.Spec.Containers[0].Image, ours.Image)
	}
	if got, want := environment(gateway.Spec.Containers[0])["AGIQA_TRITON"], objects[1].GetName()+"-predictor:8001"; got != want {
		t.Errorf("the gateway asks %s, want %s", got, want)
	}
	name, _, _ := unstructured.NestedString(objects[1].Object, "spec", "predictor", "model", "runtime")
	if name != objects[0].GetName() {
		t.Errorf("the service names the runtime %q, which is called %q", name, objects[0].GetName())
	}
	// KServe appends these; a gateway that didn't take them would end at once.
	serve, err := os.ReadFile(filepath.Join(root, "cmd", "agiqa", "serve.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"model_name", "predictor_host", "http_port"} {
		if !regexp.MustCompile(`"` + flag + `"`).Match(serve) {
			t.Errorf("agiqa serve doesn't take --%s", flag)
		}
	}
}
