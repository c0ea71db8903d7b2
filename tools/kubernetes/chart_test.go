package kubernetes_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

const (
	root  = "../.."
	chart = root + "/deploy/chart"
)

// custom are the kinds whose schemas come with their operators. The API server
// of make test-kubernetes has them.
var custom = []string{"ServiceMonitor", "PrometheusRule", "ScaledObject"}

// tools is the folder of the programs that the Makefile builds.
func tools(t *testing.T) string {
	t.Helper()
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.Abs(filepath.Join(root, ".cache", fmt.Sprintf("kubernetes-%x", sha256.Sum256(sums))[:27]))
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// helm runs it with settings of its own.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	program := filepath.Join(tools(t), "helm")
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v; build it with: make helm", err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "HELM_CONFIG_HOME="+home, "HELM_CACHE_HOME="+home, "HELM_DATA_HOME="+home)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("helm %s: %w\n%s", args[0], err, stderr.String())
	}
	return string(out), err
}

// examples are the chart's example values by name, and sets that turn on what
// no example does.
func examples(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chart, "examples", "*.yaml"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d examples, want at least three (%v)", len(files), err)
	}
	sets := map[string][]string{
		"defaults": {"--set", "secret=agiqa"},
		"elsewhere": {"--set", "secret=agiqa,triton.enabled=false,triton.addresses={a:8001,b:8001}," +
			"redis.source=none,postgres.source=none,models.image.repository=,networkPolicy.enabled=false"},
		"adapter": {"--set", "secret=agiqa,triton.autoscaling.kind=adapter,triton.engineCache.size=," +
			"models.source=claim,models.claim=models,tracing.collector.enabled=true,gateway.image.tag=" +
			"sha256:" + strings.Repeat("0a", 32)},
	}
	for _, file := range files {
		sets[strings.TrimSuffix(filepath.Base(file), ".yaml")] = []string{"--values", file}
	}
	return sets
}

// object is a rendered one: typed is nil for the custom kinds.
type object struct {
	*unstructured.Unstructured

	typed runtime.Object
}

// render returns what the chart makes of a set of values. Kinds of Kubernetes are
// decoded strictly: a field that doesn't exist, or is there twice, is an error.
func render(t *testing.T, args ...string) []object {
	t.Helper()
	out, err := helm(t, append([]string{"template", "agiqa", chart, "--namespace", "scoring"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, out)
}

func decode(t *testing.T, manifests string) []object {
	t.Helper()
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var objects []object
	for _, document := range documents(t, manifests) {
		o := object{Unstructured: document}
		if !slices.Contains(custom, o.GetKind()) {
			content, err := o.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if o.typed, _, err = strict.Decode(content, nil, nil); err != nil {
				t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
			}
		}
		objects = append(objects, o)
	}
	return objects
}

// documents splits a file of YAML. A key that is there twice is an error.
func documents(t *testing.T, manifests string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		o := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(document, &o.Object); err != nil {
			t.Fatalf("%v in:\n%s", err, document)
		}
		if o.Object != nil {
			objects = append(objects, o)
		}
	}
}

func TestLint(t *testing.T) {
	t.Parallel()
	for name, values := range examples(t) {
		if out, err := helm(t, append([]string{"lint", chart, "--strict"}, values...)...); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestExamples(t *testing.T) {
	t.Parallel()
	known := settings(t)
	for name, values := range examples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := render(t, values...)
			if len(objects) < 5 {
				t.Fatalf("%d objects", len(objects))
			}
			names := map[string]bool{}
			for _, o := range objects {
				id := o.GetKind() + " " + o.GetName()
				if names[id] {
					t.Errorf("%s is there twice", id)
				}
				names[id] = true
				if o.GetNamespace() != "scoring" || o.GetLabels()["app.kubernetes.io/instance"] != "agiqa" {
					t.Errorf("%s: namespace %q, labels %v", id, o.GetNamespace(), o.GetLabels())
				}
				if pod := template(o); pod != nil {
					checkPod(t, id, pod, known)
				}
			}
			checkReferences(t, objects)
		})
	}
}

// template is what pods of a workload are made from, nil for other objects.
func template(o object) *corev1.PodTemplateSpec {
	switch w := o.typed.(type) {
	case *appsv1.Deployment:
		return &w.Spec.Template
	case *appsv1.StatefulSet:
		return &w.Spec.Template
	}
	return nil
}

// checkPod holds a pod against the policy "restricted", by the code that the API
// server has, and against what the project asks beyond it.
func checkPod(t *testing.T, id string, pod *corev1.PodTemplateSpec, known map[string]bool) {
	t.Helper()
	if err := restricted(pod); err != nil {
		t.Errorf("%s: %v", id, err)
	}
	if token := pod.Spec.AutomountServiceAccountToken; token == nil || *token {
		t.Errorf("%s: pods get a token of the API", id)
	}
	mounted := map[string]bool{}
	for _, volume := range pod.Spec.Volumes {
		mounted[volume.Name] = true
	}
	mounted["engines"] = mounted["engines"] || strings.Contains(id, "-triton")
	mounted["data"] = mounted["data"] || strings.Contains(id, "-postgres")
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("%s: %s may write to its image", id, c.Name)
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			t.Errorf("%s: %s has no memory limit or asks for no processor", id, c.Name)
		}
		if !regexp.MustCompile(`(:v?\d+\.\d+\S*|@sha256:[0-9a-f]{64})$`).MatchString(c.Image) {
			t.Errorf("%s: image %s is no exact version", id, c.Image)
		}
		for _, m := range c.VolumeMounts {
			if !mounted[m.Name] {
				t.Errorf("%s: %s mounts %s, which the pod lacks", id, c.Name, m.Name)
			}
		}
		given := map[string]bool{}
		for _, e := range c.Env {
			if given[e.Name] {
				t.Errorf("%s: %s is given %s twice", id, c.Name, e.Name)
			}
			given[e.Name] = true
			if strings.HasPrefix(e.Name, "AGIQA_") && !known[e.Name] {
				t.Errorf("%s: %s is no setting of the program", id, e.Name)
			}
			for _, m := range regexp.MustCompile(`\$\((\w+)\)`).FindAllStringSubmatch(e.Value, -1) {
				if !given[m[1]] {
					t.Errorf("%s: %s uses %s, which isn't given before it", id, e.Name, m[1])
				}
			}
		}
	}
}

// restricted evaluates the Pod Security Standard of that name.
func restricted(pod *corev1.PodTemplateSpec) error {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	level := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
	if !result.Allowed {
		return fmt.Errorf("not restricted: %s", result.ForbiddenDetail())
	}
	return nil
}

// checkReferences: selectors find pods, and ports exist there by their names.
func checkReferences(t *testing.T, objects []object) {
	t.Helper()
	var pods []*corev1.PodTemplateSpec
	services, configs := map[string]bool{}, map[string]bool{}
	for _, o := range objects {
		if pod := template(o); pod != nil {
			pods = append(pods, pod)
		}
		services[o.GetName()] = services[o.GetName()] || o.GetKind() == "Service"
		configs[o.GetName()] = configs[o.GetName()] || o.GetKind() == "ConfigMap"
	}
	find := func(id string, selector map[string]string, ports ...string) {
		t.Helper()
		found := 0
		for _, pod := range pods {
			if len(selector) == 0 || !contains(pod.Labels, selector) {
				continue
			}
			found++
			for _, port := range ports {
				if !slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
					return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool {
						return p.Name == port || fmt.Sprint(p.ContainerPort) == port
					})
				}) {
					t.Errorf("%s: its pods have no port %s", id, port)
				}
			}
		}
		if found != 1 {
			t.Errorf("%s selects the pods of %d workloads, want those of one", id, found)
		}
	}
	for _, o := range objects {
		id := o.GetKind() + " " + o.GetName()
		switch typed := o.typed.(type) {
		case *corev1.Service:
			var ports []string
			for _, port := range typed.Spec.Ports {
				ports = append(ports, port.TargetPort.String())
			}
			find(id, typed.Spec.Selector, ports...)
		case *policyv1.PodDisruptionBudget:
			find(id, typed.Spec.Selector.MatchLabels)
		case *networkingv1.NetworkPolicy:
			var ports []string
			for _, rule := range typed.Spec.Ingress {
				for _, port := range rule.Ports {
					ports = append(ports, port.Port.String())
				}
				for _, peer := range rule.From {
					if peer.PodSelector != nil && peer.NamespaceSelector == nil {
						find(id+", ingress", peer.PodSelector.MatchLabels)
					}
				}
			}
			find(id, typed.Spec.PodSelector.MatchLabels, ports...)
		case *appsv1.StatefulSet:
			if !services[typed.Spec.ServiceName] {
				t.Errorf("%s names the service %s, which isn't there", id, typed.Spec.ServiceName)
			}
		}
		if pod := template(o); pod != nil {
			for _, volume := range pod.Spec.Volumes {
				if m := volume.ConfigMap; m != nil && !configs[m.Name] {
					t.Errorf("%s mounts ConfigMap %s, which isn't there", id, m.Name)
				}
			}
		}
	}
}

func contains(labels, selector map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return true
}

// settings are the program's environment variables, as the reference page has
// them, which a test holds against the program.
func settings(t *testing.T) map[string]bool {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `--[^|]*\\| `(AGIQA_[A-Z_]+)`").FindAllSubmatch(page, -1) {
		names[string(m[1])] = true
	}
	if len(names) < 60 {
		t.Fatalf("docs/configuration.md has %d settings", len(names))
	}
	return names
}

// find returns the one object of a kind and name.
func find(t *testing.T, objects []object, kind, name string) object {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	t.Fatalf("no %s %s", kind, name)
	return object{}
}

func environment(c corev1.Container) map[string]string {
	values := map[string]string{}
	for _, e := range c.Env {
		values[e.Name] = e.Value
	}
	return values
}

// TestTritonIsOutOfReach: gateways and Prometheus alone get at it, and its
// control asks for the key that the gateway has.
func TestTritonIsOutOfReach(t *testing.T) {
	t.Parallel()
	objects := render(t, "--set", "secret=keys")
	p := find(t, objects, "NetworkPolicy", "agiqa-triton").typed.(*networkingv1.NetworkPolicy)
	if len(p.Spec.Ingress) != 2 || len(p.Spec.Egress) != 0 || len(p.Spec.PolicyTypes) != 2 {
		t.Errorf("%d rules in, %d out, types %v; want two, none, both", len(p.Spec.Ingress), len(p.Spec.Egress),
			p.Spec.PolicyTypes)
	}
	for _, rule := range p.Spec.Ingress {
		if len(rule.From) != 1 || len(rule.Ports) != 1 {
			t.Fatalf("rule %+v, want one port for one peer", rule)
		}
		switch peer := rule.From[0]; rule.Ports[0].Port.String() {
		case "grpc":
			if peer.NamespaceSelector != nil || peer.PodSelector.MatchLabels["app.kubernetes.io/component"] != "gateway" {
				t.Errorf("gRPC is open to %+v", peer)
			}
		case "metrics":
			if peer.NamespaceSelector == nil || len(peer.NamespaceSelector.MatchLabels) == 0 {
				t.Errorf("metrics are open to %+v", peer)
			}
		}
	}
	triton := template(find(t, objects, "StatefulSet", "agiqa-triton")).Spec.Containers[0]
	if !slices.Contains(triton.Args, "--allow-http=false") || !slices.Contains(triton.Args,
		"--grpc-restricted-protocol=model-repository,shared-memory,trace,logging:control-key=$(TRITON_CONTROL_KEY)") {
		t.Errorf("arguments of Triton: %q", triton.Args)
	}
	for _, e := range triton.Env {
		if e.Name == "TRITON_CONTROL_KEY" && (e.ValueFrom == nil || e.ValueFrom.SecretKeyRef.Key != "triton-control-key" ||
			e.ValueFrom.SecretKeyRef.Name != "keys") {
			t.Errorf("the key comes from %+v", e)
		}
	}
	gateway := template(find(t, objects, "Deployment", "agiqa-gateway"))
	if got := environment(gateway.Spec.Containers[0])["AGIQA_TRITON_CONTROL_KEY_FILE"]; got !=
		"/run/secrets/agiqa/triton-control-key" {
		t.Errorf("the gateway reads the key from %q", got)
	}
	if s := find(t, objects, "Service", "agiqa-triton").typed.(*corev1.Service); s.Spec.ClusterIP != "None" {
		t.Errorf("Triton's service has the address %q, want none: gateways balance by themselves", s.Spec.ClusterIP)
	}
}

// TestTritonIsComposes: the same image and the same command line as
// docker-compose.yml, apart from where models lie.
func TestTritonIsComposes(t *testing.T) {
	t.Parallel()
	var compose struct {
		Services map[string]struct {
			Image   string
			Command []string
		}
		Triton struct{ Image string } `json:"x-triton"`
	}
	content, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, &compose); err != nil {
		t.Fatal(err)
	}
	values := []string{"--set", "secret=a,tracing.endpoint=http://otel-collector:4318,redis.source=bundled," +
		"postgres.source=bundled,tracing.collector.enabled=true"}
	for accelerator, service := range map[string]string{"gpu": "triton", "cpu": "triton-cpu"} {
		objects := render(t, append(values, "--set", "triton.accelerator="+accelerator)...)
		c := template(find(t, objects, "StatefulSet", "agiqa-triton")).Spec.Containers[0]
		image, _, _ := strings.Cut(compose.Triton.Image, "@")
		if c.Image != image {
			t.Errorf("%s: image %s, compose has %s", accelerator, c.Image, image)
		}
		unlike := regexp.MustCompile(`\$\{[^}]*\}|\$\(\w+\)`)
		alike := func(args []string) []string {
			var out []string
			for _, arg := range args {
				if !strings.HasPrefix(arg, "--model-repository=") {
					out = append(out, unlike.ReplaceAllString(arg, "KEY"))
				}
			}
			slices.Sort(out)
			return out
		}
		if got, want := alike(c.Args), alike(compose.Services[service].Command); !slices.Equal(got, want) {
			t.Errorf("%s: arguments\n%q, compose has\n%q", accelerator, got, want)
		}
		for _, other := range []struct{ kind, name, service string }{
			{"Deployment", "agiqa-redis", "redis"}, {"StatefulSet", "agiqa-postgres", "postgres"},
			{"Deployment", "agiqa-collector", "otel-collector"},
		} {
			image, _, _ := strings.Cut(compose.Services[other.service].Image, "@")
			if got := template(find(t, objects, other.kind, other.name)).Spec.Containers[0].Image; got != image {
				t.Errorf("%s: image %s, compose has %s", other.name, got, image)
			}
		}
	}
}

// TestGatewayEndsInTime: the kubelet waits longer than the gateway takes (25 s at
// most), and probes ask the operations listener.
func TestGatewayEndsInTime(t *testing.T) {
	t.Parallel()
	pod := template(find(t, render(t, "--set", "secret=a"), "Deployment", "agiqa-gateway"))
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace == nil || *grace < 30 {
		t.Errorf("grace period %v, want at least 30 s", grace)
	}
	c := pod.Spec.Containers[0]
	for name, probe := range map[string]*corev1.Probe{
		"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe,
	} {
		want := map[bool]string{true: "/readyz", false: "/healthz"}[name == "readiness"]
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Port.String() != "operations" || probe.HTTPGet.Path != want {
			t.Errorf("%s probe: %+v, want %s on the operations listener", name, probe, want)
		}
	}
	// The kubelet gives a liveness probe longer than a readiness probe: a busy
	// gateway is taken out of the Service, not killed.
	if l, r := c.LivenessProbe, c.ReadinessProbe; l.PeriodSeconds*l.FailureThreshold < 30 ||
		r.PeriodSeconds*r.FailureThreshold > 5 {
		t.Errorf("liveness gives %d s, readiness %d s", l.PeriodSeconds*l.FailureThreshold,
			r.PeriodSeconds*r.FailureThreshold)
	}
}

// TestSettingsBecomeVariables: numbers without exponents, lists by commas.
func TestSettingsBecomeVariables(t *testing.T) {
	t.Parallel()
	objects := render(t, "--set", "secret=a,gateway.settings.max_image_pixels=25000000,gateway.settings.trace_ratio=0.25,"+
		"gateway.settings.image_redis=false,gateway.settings.cors_origins={https://a.example,https://b.example}",
		"--set-string", "gateway.settings.queue_wait=1s")
	got := environment(template(find(t, objects, "Deployment", "agiqa-gateway")).Spec.Containers[0])
	for name, want := range map[string]string{
		"AGIQA_MAX_IMAGE_PIXELS": "25000000", "AGIQA_TRACE_RATIO": "0.25", "AGIQA_IMAGE_REDIS": "false",
		"AGIQA_CORS_ORIGINS": "https://a.example,https://b.example", "AGIQA_QUEUE_WAIT": "1s",
		"AGIQA_TRITON": "agiqa-triton.scoring.svc:8001",
	} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
}

// TestMonitoringFindsItsTargets: jobs are called as the rules call them, and the
// rules and dashboards are all there.
func TestMonitoringFindsItsTargets(t *testing.T) {
	t.Parallel()
	objects := render(t, "--set", "secret=a,monitoring.serviceMonitors=true,monitoring.rules=true,"+
		"monitoring.dashboards=true,tracing.collector.enabled=true,monitoring.labels.release=p")
	jobs := map[string]bool{}
	dashboards, alerts := 0, 0
	for _, o := range objects {
		switch o.GetKind() {
		case "ServiceMonitor":
			selector, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
			matching := 0
			for _, s := range objects {
				service, ok := s.typed.(*corev1.Service)
				if !ok || !contains(service.Labels, selector) {
					continue
				}
				if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == "metrics" }) {
					t.Errorf("%s: service %s has no port metrics", o.GetName(), service.Name)
				}
				matching++
			}
			if matching != 1 || o.GetLabels()["release"] != "p" {
				t.Errorf("%s selects %d services, has labels %v", o.GetName(), matching, o.GetLabels())
			}
			endpoints, _, _ := unstructured.NestedSlice(o.Object, "spec", "endpoints")
			for _, rule := range endpoints[0].(map[string]any)["relabelings"].([]any) {
				jobs[rule.(map[string]any)["replacement"].(string)] = true
			}
		case "PrometheusRule":
			groups, _, _ := unstructured.NestedSlice(o.Object, "spec", "groups")
			for _, group := range groups {
				alerts += len(group.(map[string]any)["rules"].([]any))
				for _, m := range regexp.MustCompile(`up\{job="([^"]+)"\}`).FindAllStringSubmatch(fmt.Sprint(group), -1) {
					if !slices.Contains([]string{"gateway", "triton", "otel-collector"}, m[1]) {
						t.Errorf("a rule asks for job %s, which the chart doesn't watch", m[1])
					}
				}
			}
		case "ConfigMap":
			if o.GetLabels()["grafana_dashboard"] == "1" {
				dashboards++
			}
		}
	}
	if got := slices.Sorted(maps.Keys(jobs)); !slices.Equal(got, []string{"gateway", "otel-collector", "triton"}) {
		t.Errorf("jobs %q", got)
	}
	if dashboards != 4 || alerts < 20 {
		t.Errorf("%d dashboards, %d rules", dashboards, alerts)
	}
}

// TestChartRefuses what can't work, with a sentence that names the value.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"":                                                          "secret: name the Secret",
		"secret=a,gateway.settings.max_image=1":                     "max_image",
		"secret=a,gateway.settings.listen=a":                        "listen",
		"secret=a,gateway.settings.admin_key=a":                     "admin_key",
		"secret=a,gateway.replica=3":                                "replica",
		"secret=a,gateway.replicas=-1":                              "replicas",
		"secret=a,gateway.terminationGracePeriodSeconds=10":         "terminationGracePeriodSeconds",
		"secret=a,triton.accelerator=tpu":                           "accelerator",
		"secret=a,triton.enabled=false":                             "triton.addresses",
		"secret=a,models.source=claim":                              "models.claim",
		"secret=a,models.source=objectStore":                        "models.url",
		"secret=a,models.source=objectStore,models.url=ftp://a/b":   "url",
		"secret=a,ingress.enabled=true":                             "ingress.host",
		"secret=a,redis.source=yes":                                 "redis",
		"secret=a,gateway.image.repository=a,gateway.image.tag=a b": "tag",
		"secret=a,triton.autoscaling.kind=hpa":                      "kind",
		"secret=a,triton.autoscaling.kind=keda,triton.autoscaling.queueWaitSeconds=0": "queueWaitSeconds",
		"secret=a,gateway.drainDelay=5":                                               "drainDelay",
		"secret=a,triton.tls.serverSecret=a":                                          "triton.tls",
	} {
		out, err := helm(t, "template", "agiqa", chart, "--set", values)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that names %s\n%.300s", values, err, want, out)
		}
	}
}
