package kubernetes_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var withServer = flag.Bool("server", false, "also run the tests that start an API server (make test-kubernetes)")

// schemas are the modules that publish the schemas of custom kinds, each with
// the sum that go.sum would have: they are downloaded and never compiled.
var schemas = []struct {
	module, sum string
	files       []string
}{
	{
		"github.com/prometheus-operator/prometheus-operator@v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
		[]string{
			"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
			"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		},
	},
	{
		"github.com/kedacore/keda/v2@v2.21.0", "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
		[]string{"config/crd/bases/keda.sh_scaledobjects.yaml"},
	},
	{
		"github.com/kserve/kserve@v0.16.0", "h1:kDkcAU5VMiZf4zhdDXH+UdAIgzXhs10GMv0d9r4qvTs=",
		[]string{
			"config/crd/full/serving.kserve.io_servingruntimes.yaml",
			"config/crd/full/serving.kserve.io_inferenceservices.yaml",
		},
	},
}

// server is an API server with its etcd, both on loopback.
type server struct {
	url, token, kubeconfig string
	client                 *http.Client
}

// program starts a child that ends with the test. The log is shown if the test
// fails.
func program(t *testing.T, name string, args ...string) {
	t.Helper()
	path := filepath.Join(tools(t), name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; build it with: make kubernetes", err)
	}
	var log bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		stopped := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		stopped.Stop()
		if t.Failed() {
			lines := strings.Split(log.String(), "\n")
			t.Logf("end of the log of %s:\n%s", name, strings.Join(lines[max(0, len(lines)-20):], "\n"))
		}
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// start runs etcd and kube-apiserver, with the policy of pod security that
// namespaces ask for, and no controller: objects are created, no pods run.
func start(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	client, peer, port := freePort(t), freePort(t), freePort(t)
	store := "http://127.0.0.1:" + client
	program(t, "etcd", "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", store, "--advertise-client-urls",
		store, "--listen-peer-urls", "http://127.0.0.1:"+peer, "--unsafe-no-fsync")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s := &server{
		url: "https://127.0.0.1:" + port, token: rand.Text(),
		// The server's certificate is its own, made a moment ago.
		client: &http.Client{
			Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		},
	}
	signing := write("signing.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
	tokens := write("tokens.csv", []byte(s.token+",admin,admin,system:masters\n"))
	program(t, "kube-apiserver", "--etcd-servers", store, "--bind-address", "127.0.0.1", "--secure-port", port,
		"--cert-dir", filepath.Join(dir, "certificates"), "--token-auth-file", tokens, "--authorization-mode", "RBAC",
		"--disable-admission-plugins", "ServiceAccount", "--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", signing, "--service-account-signing-key-file", signing,
		"--service-cluster-ip-range", "10.96.0.0/16")
	config, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "test",
		"clusters": []any{map[string]any{"name": "test", "cluster": map[string]any{
			"server": s.url, "insecure-skip-tls-verify": true,
		}}},
		"users":    []any{map[string]any{"name": "test", "user": map[string]any{"token": s.token}}},
		"contexts": []any{map[string]any{"name": "test", "context": map[string]any{"cluster": "test", "user": "test"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.kubeconfig = write("kubeconfig", config)
	s.await(t, "/readyz", func(status int, _ []byte) bool { return status == http.StatusOK })
	return s
}

// await asks until an answer is right, for a minute at most.
func (s *server) await(t *testing.T, path string, right func(status int, body []byte) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		status, body, err := s.ask(ctx, http.MethodGet, path, "", nil)
		if err == nil && right(status, body) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s doesn't answer as it should: %d, %v\n%.300s", path, status, err, body)
		case <-tick.C:
		}
	}
}

func (s *server) ask(ctx context.Context, method, path, contentType string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", contentType)
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return resp.StatusCode, content, err
}

// apply creates or changes an object; fields that its schema lacks are an error.
func (s *server) apply(t *testing.T, path string, content []byte, options ...string) error {
	t.Helper()
	options = append(options, "fieldManager=test", "fieldValidation=Strict")
	status, body, err := s.ask(t.Context(), http.MethodPatch, path+"?"+strings.Join(options, "&"),
		"application/apply-patch+yaml", content)
	if err == nil && status >= 300 {
		err = fmt.Errorf("%s: %d\n%.600s", path, status, body)
	}
	return err
}

// namespace makes one that takes restricted pods only.
func (s *server) namespace(t *testing.T, name string) {
	t.Helper()
	err := s.apply(t, "/api/v1/namespaces/"+name,
		fmt.Appendf(nil, "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n"+
			"  labels:\n    pod-security.kubernetes.io/enforce: restricted\n", name))
	if err != nil {
		t.Fatal(err)
	}
}

// definitions installs the schemas of custom kinds.
func (s *server) definitions(t *testing.T) {
	t.Helper()
	for _, from := range schemas {
		cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", from.module)
		cmd.Dir = t.TempDir() // outside of any module
		out, err := cmd.Output()
		var module struct{ Dir, Sum, Error string }
		if json.Unmarshal(out, &module) != nil || module.Error != "" || module.Dir == "" {
			t.Fatalf("go mod download %s: %v %s", from.module, err, module.Error)
		}
		if module.Sum != from.sum {
			t.Fatalf("%s has the sum %s, want %s", from.module, module.Sum, from.sum)
		}
		for _, file := range from.files {
			content, err := os.ReadFile(filepath.Join(module.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			var d struct {
				Metadata metav1.ObjectMeta
				Spec     struct {
					Group    string
					Versions []struct{ Name string }
					Names    struct{ Plural string }
				}
			}
			if err := yaml.Unmarshal(content, &d); err != nil {
				t.Fatal(err)
			}
			path := "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + d.Metadata.Name
			if err := s.apply(t, path, content); err != nil {
				t.Fatal(err)
			}
			for _, version := range d.Spec.Versions[:1] {
				s.await(t, fmt.Sprintf("/apis/%s/%s/%s", d.Spec.Group, version.Name, d.Spec.Names.Plural),
					func(status int, _ []byte) bool { return status == http.StatusOK })
			}
		}
	}
}

// helm runs it against this server.
func (s *server) helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return helm(t, append(args, "--kubeconfig", s.kubeconfig)...)
}

func (s *server) mustHelm(t *testing.T, args ...string) {
	t.Helper()
	if out, err := s.helm(t, args...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// kinds are those that the chart creates, each with its path.
var kinds = map[string]string{
	"ConfigMap": "/api/v1/namespaces/%s/configmaps", "Service": "/api/v1/namespaces/%s/services",
	"ServiceAccount":          "/api/v1/namespaces/%s/serviceaccounts",
	"Deployment":              "/apis/apps/v1/namespaces/%s/deployments",
	"StatefulSet":             "/apis/apps/v1/namespaces/%s/statefulsets",
	"PodDisruptionBudget":     "/apis/policy/v1/namespaces/%s/poddisruptionbudgets",
	"NetworkPolicy":           "/apis/networking.k8s.io/v1/namespaces/%s/networkpolicies",
	"Ingress":                 "/apis/networking.k8s.io/v1/namespaces/%s/ingresses",
	"HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/%s/horizontalpodautoscalers",
	"ServiceMonitor":          "/apis/monitoring.coreos.com/v1/namespaces/%s/servicemonitors",
	"PrometheusRule":          "/apis/monitoring.coreos.com/v1/namespaces/%s/prometheusrules",
	"ScaledObject":            "/apis/keda.sh/v1alpha1/namespaces/%s/scaledobjects",
	"ServingRuntime":          "/apis/serving.kserve.io/v1alpha1/namespaces/%s/servingruntimes",
	"InferenceService":        "/apis/serving.kserve.io/v1beta1/namespaces/%s/inferenceservices",
}

// takes asks the server whether it would take the objects as they are. Helm's
// own dry run doesn't send them, and its installation drops unknown fields.
func (s *server) takes(t *testing.T, namespace string, objects []*unstructured.Unstructured) error {
	t.Helper()
	var faults []error
	for _, o := range objects {
		o = o.DeepCopy()
		o.SetNamespace(namespace)
		content, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		path, ok := kinds[o.GetKind()]
		if !ok {
			t.Fatalf("no path is known for %s", o.GetKind())
		}
		faults = append(faults, s.apply(t, fmt.Sprintf(path, namespace)+"/"+o.GetName(), content, "dryRun=All"))
	}
	return errors.Join(faults...)
}

// installed lists the release's objects on the server, as KIND NAME.
func (s *server) installed(t *testing.T, namespace string) []string {
	t.Helper()
	var found []string
	for kind, path := range kinds {
		path = fmt.Sprintf(path, namespace) + "?labelSelector=app.kubernetes.io/managed-by=Helm"
		status, body, err := s.ask(t.Context(), http.MethodGet, path, "", nil)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %v", path, status, err)
		}
		var list unstructured.UnstructuredList
		if err := json.Unmarshal(body, &list); err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			found = append(found, kind+" "+item.GetName())
		}
	}
	slices.Sort(found)
	return found
}

func (s *server) gatewayImage(t *testing.T, namespace string) string {
	t.Helper()
	status, body, err := s.ask(t.Context(), http.MethodGet,
		"/apis/apps/v1/namespaces/"+namespace+"/deployments/agiqa-gateway", "", nil)
	if err != nil || status != http.StatusOK {
		t.Fatalf("the gateway's deployment: %d %v", status, err)
	}
	image := regexp.MustCompile(`"image":"([^"]*gateway[^"]*)"`).FindSubmatch(body)
	if image == nil {
		t.Fatalf("no image in %s", body)
	}
	return string(image[1])
}

// pods asks the server to take a pod of each workload: the policy of the
// namespace is applied to pods, which nobody else makes here.
func (s *server) pods(t *testing.T, namespace string, objects []object) error {
	t.Helper()
	for _, o := range objects {
		template := template(o)
		if template == nil {
			continue
		}
		added := template.DeepCopy()
		for _, name := range claims(o) { // what the controller of a StatefulSet adds
			added.Spec.Volumes = append(added.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
			}})
		}
		if err := s.pod(t, namespace, o.GetName(), *added); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) pod(t *testing.T, namespace, name string, template corev1.PodTemplateSpec) error {
	t.Helper()
	content, err := json.Marshal(corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: template.Labels, Annotations: template.Annotations},
		Spec:       template.Spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	status, body, err := s.ask(t.Context(), http.MethodPost,
		"/api/v1/namespaces/"+namespace+"/pods?dryRun=All&fieldValidation=Strict", "application/json", content)
	if err != nil || status != http.StatusCreated {
		return fmt.Errorf("a pod of %s: %d %w\n%.600s", name, status, err, body)
	}
	return nil
}

func claims(o object) []string {
	var names []string
	templates, _, _ := unstructured.NestedSlice(o.Object, "spec", "volumeClaimTemplates")
	for _, template := range templates {
		name, _, _ := unstructured.NestedString(template.(map[string]any), "metadata", "name")
		names = append(names, name)
	}
	return names
}

// TestServer installs every set of values into a real API server, upgrades it,
// rolls it back and takes it out.
func TestServer(t *testing.T) {
	if !*withServer {
		t.Skip("starts an API server, whose build takes minutes: make test-kubernetes")
	}
	s := start(t)
	s.definitions(t)

	for name, values := range examples(t) {
		t.Run(name, func(t *testing.T) {
			namespace := "chart-" + name
			s.namespace(t, namespace)
			install := append([]string{"agiqa", chart, "--namespace", namespace}, values...)

			objects := render(t, values...)
			var sent []*unstructured.Unstructured
			for _, o := range objects {
				sent = append(sent, o.Unstructured)
			}
			if err := s.takes(t, namespace, sent); err != nil {
				t.Error(err)
			}
			s.mustHelm(t, append([]string{"install", "--dry-run=server"}, install...)...)
			if found := s.installed(t, namespace); len(found) > 0 {
				t.Fatalf("a dry run left %q", found)
			}
			s.mustHelm(t, append([]string{"install"}, install...)...)
			var want []string
			for _, o := range objects {
				want = append(want, o.GetKind()+" "+o.GetName())
			}
			slices.Sort(want)
			if found := s.installed(t, namespace); !slices.Equal(found, want) {
				t.Errorf("installed\n%q, want\n%q", found, want)
			}
			if err := s.pods(t, namespace, objects); err != nil {
				t.Error(err)
			}

			before := s.gatewayImage(t, namespace)
			s.mustHelm(t, append(append([]string{"upgrade"}, install...), "--set",
				"gateway.image.tag=9.9.9,gateway.settings.queue=7,redis.source=none")...)
			if image := s.gatewayImage(t, namespace); !strings.HasSuffix(image, ":9.9.9") {
				t.Errorf("after the upgrade the image is %s", image)
			}
			s.mustHelm(t, "rollback", "agiqa", "1", "--namespace", namespace)
			if image := s.gatewayImage(t, namespace); image != before {
				t.Errorf("after the rollback the image is %s, want %s", image, before)
			}
			if found := s.installed(t, namespace); !slices.Equal(found, want) {
				t.Errorf("after the rollback there are\n%q, want\n%q", found, want)
			}
			s.mustHelm(t, "uninstall", "agiqa", "--namespace", namespace)
			if found := s.installed(t, namespace); len(found) > 0 {
				t.Errorf("left over: %q", found)
			}
		})
	}

	t.Run("kserve", func(t *testing.T) {
		s.namespace(t, "kserve")
		objects := kserve(t)
		if err := s.takes(t, "kserve", objects); err != nil {
			t.Error(err)
		}
		triton, gateway := kservePods(t, objects)
		for name, pod := range map[string]*corev1.PodTemplateSpec{"triton": triton, "gateway": gateway} {
			if err := s.pod(t, "kserve", name, *pod); err != nil {
				t.Error(err)
			}
		}
		objects[0].Object["spec"].(map[string]any)["protocolVersion"] = "v2"
		if s.takes(t, "kserve", objects) == nil {
			t.Error("the server takes a ServingRuntime with a misspelt field")
		}
	})

	// The tests above could not fail if the server took anything.
	t.Run("misspelt field", func(t *testing.T) {
		s.namespace(t, "misspelt")
		for file, change := range map[string][2]string{
			"gateway.yaml": {"readinessProbe:", "readinessProb:"}, "monitoring.yaml": {"endpoints:", "endpoint:"},
			"triton.yaml": {"pollingInterval:", "pollInterval:"},
		} {
			copied := filepath.Join(t.TempDir(), "chart")
			if err := os.CopyFS(copied, os.DirFS(chart)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(copied, "templates", file)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(content, []byte(change[0])) {
				t.Fatalf("%s has no %s", file, change[0])
			}
			content = bytes.Replace(content, []byte(change[0]), []byte(change[1]), 1)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := helm(t, "template", "agiqa", copied, "--values", filepath.Join(chart, "examples", "many.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			err = s.takes(t, "misspelt", documents(t, out))
			if err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(change[1], ":")) {
				t.Errorf("%s instead of %s: error %v, want one that names it", change[1], change[0], err)
			}
		}
	})
	t.Run("unrestricted pod", func(t *testing.T) {
		s.namespace(t, "unrestricted")
		objects := render(t, "--set", "secret=a")
		pod := template(find(t, objects, "StatefulSet", "agiqa-triton"))
		pod.Spec.SecurityContext.RunAsNonRoot = nil
		if restricted(pod) == nil {
			t.Error("the policy takes a pod that may run as root")
		}
		if err := s.pods(t, "unrestricted", objects); err == nil || !strings.Contains(err.Error(), "runAsNonRoot") {
			t.Errorf("the server takes a pod that may run as root: %v", err)
		}
	})
}
