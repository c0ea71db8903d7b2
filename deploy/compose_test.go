package deploy_test

import (
	"context"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/internal/config"
)

// root is the repository's, where docker-compose.yml and .env lie.
const root = ".."

// secrets fill the variables that have no default, on purpose.
var secrets = []string{
	"AGIQA_ADMIN_KEY=a", "TRITON_CONTROL_KEY=0123456789abcdef", "REDIS_PASSWORD=b", "GRAFANA_ADMIN_PASSWORD=c", "POSTGRES_PASSWORD=d", "AGIQA_EXPERIMENT_KEY=e",
	"AGIQA_CACHE_KEY=f",
}

// profiles are the ways to run Triton; each is a project of its own.
var profiles = []string{"gpu", "cpu"}

// withoutHealthcheck names the services that cannot have one, with the reason.
var withoutHealthcheck = map[string]string{
	"otel-collector": "the image holds one binary, which cannot ask itself; Prometheus watches it",
	"models":         "it ends, and Triton waits for its exit status",
}

// endsByItself names the services that do a piece of work and end.
var endsByItself = []string{"models"}

func TestComposeIsSound(t *testing.T) {
	t.Parallel()
	for _, profile := range profiles {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			project := load(t, "docker-compose.yml", secrets, profile)
			if len(project.Services) < 7 {
				t.Fatalf("%d services, want the gateway, Triton and what stands around them", len(project.Services))
			}
			for name, service := range project.Services {
				report := func(format string, args ...any) {
					t.Helper()
					t.Errorf("service "+name+": "+format, args...)
				}
				checkImage(service, report)
				checkPorts(service, report)
				checkMounts(project.WorkingDir, service, report)
				checkUpkeep(service, report)
				checkPrivileges(service, report)
			}
		})
	}
}

func TestComposeRefusesToStartWithoutSecrets(t *testing.T) {
	t.Parallel()
	for i, missing := range secrets {
		name, _, _ := strings.Cut(missing, "=")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rest := slices.Delete(slices.Clone(secrets), i, i+1)
			_, err := loadFiles(t.Context(), []string{"docker-compose.yml"}, rest, "gpu")
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("loading without %s: error %v, want one that names it", name, err)
			}
		})
	}
}

func TestTritonIsTheSameInBothProfiles(t *testing.T) {
	t.Parallel()
	gpu := load(t, "docker-compose.yml", secrets, "gpu").Services["triton"]
	cpu := load(t, "docker-compose.yml", secrets, "cpu").Services["triton-cpu"]
	differ := []string{"--model-config-name=gpu", "--model-config-name=cpu", "--allow-gpu-metrics=false"}
	common := func(command types.ShellCommand) []string {
		return slices.DeleteFunc(slices.Clone([]string(command)),
			func(arg string) bool { return slices.Contains(differ, arg) })
	}
	if diff := cmp.Diff(common(gpu.Command), common(cpu.Command)); diff != "" {
		t.Errorf("command line (-gpu +cpu):\n%s", diff)
	}
	for service, alias := range map[*types.ServiceConfig][]string{&gpu: gpu.Networks["triton"].Aliases,
		&cpu: cpu.Networks["triton"].Aliases} {
		if !slices.Contains(alias, "triton") {
			t.Errorf("%s answers to %q, want triton among them", service.Name, alias)
		}
	}
	if devices := gpu.Deploy.Resources.Reservations.Devices; len(devices) != 1 ||
		!slices.Contains(devices[0].Capabilities, "gpu") {
		t.Errorf("GPU reservation = %+v, want one of capability gpu", devices)
	}
	if cpu.Deploy.Resources.Reservations != nil {
		t.Errorf("the CPU profile reserves %+v", cpu.Deploy.Resources.Reservations)
	}
}

// TestTritonIsOutOfReach: its control API runs code, so it wants a key, and only
// those are on its network who have to call it or be called.
func TestTritonIsOutOfReach(t *testing.T) {
	t.Parallel()
	for _, profile := range profiles {
		project := load(t, "docker-compose.yml", secrets, profile)
		name := map[string]string{"gpu": "triton", "cpu": "triton-cpu"}[profile]
		triton, gateway := project.Services[name], project.Services["gateway"]
		var neighbours []string
		for _, service := range project.Services {
			if _, ok := service.Networks["triton"]; ok {
				neighbours = append(neighbours, service.Name)
			}
		}
		slices.Sort(neighbours)
		if want := []string{"gateway", "otel-collector", "prometheus", name}; !slices.Equal(neighbours, want) {
			t.Errorf("on the network of %s: %q, want %q", name, neighbours, want)
		}
		if len(triton.Networks) != 1 || !project.Networks["triton"].Internal || len(triton.Ports) > 0 {
			t.Errorf("%s: networks %v, ports %v; want one inner network and no port", name, triton.Networks, triton.Ports)
		}
		key := gateway.Environment["AGIQA_TRITON_CONTROL_KEY"]
		if key == nil || *key == "" {
			t.Fatal("the gateway has no key for Triton's control")
		}
		for _, want := range []string{
			"--allow-http=false",
			"--grpc-restricted-protocol=model-repository,shared-memory,trace,logging:control-key=" + *key,
		} {
			if !slices.Contains(triton.Command, want) {
				t.Errorf("%s is started without %s", name, want)
			}
		}
		if slices.ContainsFunc(triton.Command, func(a string) bool { return strings.HasPrefix(a, "--allow-client-shm") }) {
			t.Errorf("%s shares memory with its clients", name)
		}
	}
}

// TestTritonIsMended: advisories with a score of 7 and more that NVIDIA has
// published are fixed in the pinned release, as deploy/README.md lists them.
func TestTritonIsMended(t *testing.T) {
	t.Parallel()
	rows := regexp.MustCompile(`(?m)^\| (\d\d\.\d\d) \| .*CVE-`).FindAllStringSubmatch(read(t, "deploy/README.md"), -1)
	if len(rows) < 5 {
		t.Fatalf("deploy/README.md lists %d releases with advisories", len(rows))
	}
	for profile, name := range map[string]string{"gpu": "triton", "cpu": "triton-cpu"} {
		_, tag, _ := cutTag(load(t, "docker-compose.yml", secrets, profile).Services[name].Image)
		release := strings.TrimSuffix(tag, "-py3")
		for _, row := range rows {
			if release < row[1] { // both are YY.MM
				t.Errorf("%s runs %s; %s fixes advisories", name, release, row[1])
			}
		}
		if !strings.Contains(read(t, "deploy/README.md"), "tritonserver "+release) {
			t.Errorf("deploy/README.md doesn't name tritonserver %s", release)
		}
	}
}

// TestEnginesAreWritable: the folder for TensorRT's engines belongs to Triton's
// user, who gets it from the image of the service that runs first.
func TestEnginesAreWritable(t *testing.T) {
	t.Parallel()
	project := load(t, "docker-compose.yml", secrets, "gpu")
	models, triton := project.Services["models"], project.Services["triton"]
	at := func(s types.ServiceConfig) string {
		for _, v := range s.Volumes {
			if v.Source == "triton-engines" {
				return v.Target
			}
		}
		return ""
	}
	if at(models) == "" || at(models) != at(triton) || models.User != triton.User {
		t.Errorf("engines are at %q for models (%s), at %q for triton (%s)", at(models), models.User, at(triton), triton.User)
	}
	if owner := "chown " + triton.User + " "; !regexp.MustCompile(owner + ".*" + at(triton)).MatchString(
		read(t, "deploy/Dockerfile")) {
		t.Errorf("deploy/Dockerfile doesn't %s%s", owner, at(triton))
	}
}

func TestGatewaySettingsAreKnown(t *testing.T) {
	t.Parallel()
	known := knownSettings()
	gateway := load(t, "docker-compose.yml", secrets, "gpu").Services["gateway"]
	environment := slices.Sorted(maps.Keys(gateway.Environment))
	for _, name := range environment {
		if strings.HasPrefix(name, "AGIQA_") && !slices.Contains(known, name) {
			t.Errorf("the gateway is given %s, which is no setting of the program", name)
		}
	}
	for _, need := range []string{"AGIQA_TRITON", "AGIQA_TRITON_CONTROL_KEY", "AGIQA_REDIS_URL", "AGIQA_OTLP_ENDPOINT", "AGIQA_ADMIN_KEY",
		"AGIQA_EXPERIMENT_STORE", "AGIQA_EXPERIMENT_KEY", "AGIQA_CACHE_KEY"} {
		if value := gateway.Environment[need]; value == nil || *value == "" {
			t.Errorf("the gateway is not given %s", need)
		}
	}
	for name, want := range map[string]string{
		"AGIQA_REDIS_URL":        "redis://agiqa:b@redis:6379/0",
		"AGIQA_EXPERIMENT_STORE": "postgres://agiqa:d@postgres:5432/agiqa?sslmode=disable",
	} {
		if got := *gateway.Environment[name]; got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if ratio := gateway.Environment["AGIQA_TRACE_RATIO"]; ratio != nil && *ratio != "1" {
		t.Errorf("AGIQA_TRACE_RATIO = %q: the collector can only keep every error if it gets every trace", *ratio)
	}
}

// TestExperimentsAreKept: the store's folder is a volume, its database and
// password are those of the gateway's URL, and it is reached from inside only.
func TestExperimentsAreKept(t *testing.T) {
	t.Parallel()
	project := load(t, "docker-compose.yml", secrets, "gpu")
	postgres := project.Services["postgres"]
	store, err := url.Parse(*project.Services["gateway"].Environment["AGIQA_EXPERIMENT_STORE"])
	if err != nil {
		t.Fatal(err)
	}
	password, _ := store.User.Password()
	for name, want := range map[string]string{
		"POSTGRES_DB":       strings.TrimPrefix(store.Path, "/"),
		"POSTGRES_PASSWORD": password,
	} {
		if got := postgres.Environment[name]; got == nil || *got != want {
			t.Errorf("%s is not the %q of the gateway's AGIQA_EXPERIMENT_STORE", name, want)
		}
	}
	kept := slices.ContainsFunc(postgres.Volumes, func(v types.ServiceVolumeConfig) bool {
		return v.Type == types.VolumeTypeVolume && v.Target == "/var/lib/postgresql/data"
	})
	if !kept || len(postgres.Ports) != 0 {
		t.Errorf("volumes %+v, ports %+v; want the data on a volume and no port", postgres.Volumes, postgres.Ports)
	}
	if _, ok := project.Networks["back"]; !ok || !project.Networks["back"].Internal || len(postgres.Networks) != 1 {
		t.Errorf("networks %v, want the inner one alone", postgres.Networks)
	}
	if wait := project.Services["gateway"].DependsOn["postgres"]; wait.Condition != types.ServiceConditionHealthy {
		t.Errorf("the gateway waits for %q, want a healthy store", wait.Condition)
	}
}

// knownSettings are the program's environment variables.
func knownSettings() []string {
	var names []string
	for _, setting := range config.All() {
		names = append(names, config.EnvName(setting.Key))
	}
	return names
}

// TestEnvExample holds deploy/.env.example and docker-compose.yml together:
// the same variables, and the same defaults.
func TestEnvExample(t *testing.T) {
	t.Parallel()
	var compose map[string]any
	decodeYAML(t, "docker-compose.yml", &compose)
	used := make(map[string]string)
	for name, variable := range template.ExtractVariables(compose, nil) {
		used[name] = variable.DefaultValue
	}
	documented, err := dotenv.Read(filepath.Join(root, "deploy", ".env.example"))
	if err != nil {
		t.Fatal(err)
	}
	// Read by docker compose itself.
	if got := documented["COMPOSE_PROFILES"]; !slices.Contains(profiles, got) {
		t.Errorf("COMPOSE_PROFILES = %q, want one of %q", got, profiles)
	}
	delete(documented, "COMPOSE_PROFILES")
	if diff := cmp.Diff(used, documented); diff != "" {
		t.Errorf("variables and defaults (-docker-compose.yml +.env.example):\n%s", diff)
	}
}

func TestGuideNamesEveryService(t *testing.T) {
	t.Parallel()
	guide := read(t, "deploy/README.md")
	for _, profile := range profiles {
		for _, name := range load(t, "docker-compose.yml", secrets, profile).ServiceNames() {
			if !strings.Contains(guide, "`"+name+"`") {
				t.Errorf("deploy/README.md does not name the service %s", name)
			}
		}
	}
}

func TestEnvFileStaysOutOfGitAndImages(t *testing.T) {
	t.Parallel()
	if ignored := strings.Fields(read(t, ".dockerignore")); !slices.Contains(ignored, ".env") {
		t.Error(".dockerignore does not name .env: the secrets would be in the build's context")
	}
	if ignored := strings.Fields(read(t, ".gitignore")); !slices.Contains(ignored, ".env") &&
		!slices.Contains(ignored, "/.env") {
		t.Error(".gitignore does not name /.env: the secrets could be committed")
	}
}

// TestModelConfigsExist looks for the configuration that each Triton is told to
// use in every model of the repository.
func TestModelConfigsExist(t *testing.T) {
	t.Parallel()
	models, err := filepath.Glob(filepath.Join(root, "model_repository", "*", "configs"))
	if err != nil {
		t.Fatal(err)
	}
	if len(models) < 2 {
		t.Fatalf("%d models with configurations, want the two encoders at least", len(models))
	}
	names := configNames(t)
	if diff := cmp.Diff([]string{"cpu", "gpu"}, names); diff != "" {
		t.Fatalf("--model-config-name in docker-compose.yml (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(filepath.Join(root, "model_repository"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		for _, name := range names {
			if _, err := os.Stat(filepath.Join(root, "model_repository", entry.Name(), "configs", name+".pbtxt")); err != nil {
				t.Errorf("model %s: %v", entry.Name(), err)
			}
		}
	}
}

// TestEngineCacheIsOnTheVolume compares the path in the models' configurations
// with the one where the volume is mounted: elsewhere, TensorRT would build its
// engines anew at every start.
func TestEngineCacheIsOnTheVolume(t *testing.T) {
	t.Parallel()
	triton := load(t, "docker-compose.yml", secrets, "gpu").Services["triton"]
	at := slices.IndexFunc(triton.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Source == "triton-engines" })
	if at < 0 {
		t.Fatal("no volume for TensorRT's engines")
	}
	text := read(t, "model_repository/clip_image_encoder/configs/gpu.pbtxt")
	paths := regexp.MustCompile(`key: "trt_(?:engine|timing)_cache_path" value: "([^"]+)"`).FindAllStringSubmatch(text, -1)
	if len(paths) == 0 {
		t.Fatal("clip_image_encoder's gpu.pbtxt names no path of a TensorRT cache")
	}
	for _, path := range paths {
		if !strings.HasPrefix(path[1], triton.Volumes[at].Target+"/") {
			t.Errorf("TensorRT's cache is at %s, the volume at %s", path[1], triton.Volumes[at].Target)
		}
	}
}

func configNames(t *testing.T) []string {
	var names []string
	for _, profile := range profiles {
		for _, service := range load(t, "docker-compose.yml", secrets, profile).Services {
			for _, arg := range service.Command {
				if name, ok := strings.CutPrefix(arg, "--model-config-name="); ok {
					names = append(names, name)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

type reporter func(format string, args ...any)

func checkImage(service types.ServiceConfig, report reporter) {
	if service.Build != nil {
		return // The tag is ours, and the Dockerfile is checked on its own.
	}
	_, tag, ok := cutTag(service.Image)
	switch {
	case !ok:
		report("image %q has no tag", service.Image)
	case !fullVersion.MatchString(tag):
		report("image %q is not an exact version", service.Image)
	}
}

// cutTag splits a reference into name and tag. A digest counts as the tag's part.
func cutTag(image string) (name, tag string, ok bool) {
	slash := strings.LastIndex(image, "/")
	if name, tag, ok = strings.Cut(image[slash+1:], ":"); ok {
		name = image[:slash+1] + name
	}
	return name, tag, ok
}

func checkPorts(service types.ServiceConfig, report reporter) {
	for _, port := range service.Ports {
		if port.HostIP != "127.0.0.1" {
			report("publishes %d on %q, want loopback unless AGIQA_BIND says otherwise", port.Target, port.HostIP)
		}
	}
}

func checkMounts(workingDir string, service types.ServiceConfig, report reporter) {
	for _, volume := range service.Volumes {
		if volume.Type != types.VolumeTypeBind {
			continue
		}
		source, err := filepath.Rel(workingDir, volume.Source)
		if err != nil {
			report("mounts %s: %v", volume.Source, err)
			continue
		}
		if _, err := os.Stat(volume.Source); err != nil {
			report("mounts %s, which is not in the repository", source)
		}
		if !volume.ReadOnly {
			report("mounts %s writable", source)
		}
	}
}

func checkUpkeep(service types.ServiceConfig, report reporter) {
	if health := service.HealthCheck; withoutHealthcheck[service.Name] == "" &&
		(health == nil || health.Disable || len(health.Test) == 0) {
		report("no health check")
	}
	limits := types.Resource{}
	if service.Deploy != nil && service.Deploy.Resources.Limits != nil {
		limits = *service.Deploy.Resources.Limits
	}
	if limits.NanoCPUs == 0 {
		report("no limit of cpus")
	}
	if limits.MemoryBytes == 0 {
		report("no limit of memory")
	}
	if limits.Pids == 0 {
		report("no limit of pids")
	}
	if slices.Contains(endsByItself, service.Name) {
		if !strings.HasPrefix(service.Restart, types.RestartPolicyOnFailure+":") {
			report("restart policy is %q, want a number of attempts after failures", service.Restart)
		}
	} else if service.Restart != types.RestartPolicyUnlessStopped && service.Restart != types.RestartPolicyAlways {
		report("no restart policy")
	}
}

func checkPrivileges(service types.ServiceConfig, report reporter) {
	if service.Privileged {
		report("is privileged")
	}
	if !slices.Contains(service.CapDrop, "ALL") || len(service.CapAdd) > 0 {
		report("keeps capabilities")
	}
	if !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
		report("may gain privileges")
	}
	if !service.ReadOnly {
		report("its root file system is writable")
	}
	if service.Logging == nil || service.Logging.Options["max-size"] == "" {
		report("its logs grow without bound")
	}
	if uid, _, _ := strings.Cut(service.User, ":"); uid == "" || uid == "0" || uid == "root" {
		report("runs as %q, want an ordinary user", service.User)
	}
}

func load(t *testing.T, file string, environ []string, profile ...string) *types.Project {
	t.Helper()
	project, err := loadFiles(t.Context(), []string{file}, environ, profile...)
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// loadFiles reads compose files as docker compose does: schema, interpolation,
// profiles, normal form. The environment is the given one alone.
func loadFiles(ctx context.Context, files, environ []string, profile ...string) (*types.Project, error) {
	paths := make([]string, len(files))
	for i, file := range files {
		paths[i] = filepath.Join(root, file)
	}
	options, err := cli.NewProjectOptions(paths,
		cli.WithWorkingDirectory(root), cli.WithName("agiqa"), cli.WithEnv(environ), cli.WithProfiles(profile))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(ctx)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSeveralGateways: compose.several.yml runs gateways that share no folder and
// publish no port, behind a balancer that trusts nobody's X-Forwarded-For.
func TestSeveralGateways(t *testing.T) {
	t.Parallel()
	for count, env := range map[int][]string{3: secrets, 5: append(slices.Clone(secrets), "AGIQA_GATEWAYS=5")} {
		project, err := loadFiles(t.Context(), []string{"docker-compose.yml", "deploy/compose.several.yml"}, env, "cpu")
		if err != nil {
			t.Fatal(err)
		}
		gateway, balancer := project.Services["gateway"], project.Services["balancer"]
		if got := gateway.Deploy.Replicas; got == nil || *got != count {
			t.Errorf("%v gateways, want %d", got, count)
		}
		if gateway.Deploy.Resources.Limits == nil || len(gateway.Ports) > 0 {
			t.Errorf("gateways publish %v, limits %+v", gateway.Ports, gateway.Deploy.Resources.Limits)
		}
		for _, v := range gateway.Volumes {
			if v.Type == types.VolumeTypeVolume && (v.Target != "/data" || v.Source != "") {
				t.Errorf("gateways share the volume %q at %s", v.Source, v.Target)
			}
		}
		report := func(format string, args ...any) { t.Errorf("balancer: "+format, args...) }
		checkImage(balancer, report)
		checkPorts(balancer, report)
		checkMounts(project.WorkingDir, balancer, report)
		checkUpkeep(balancer, report)
		checkPrivileges(balancer, report)
		if len(balancer.Ports) != 1 || balancer.Ports[0].Published != "8080" {
			t.Errorf("the balancer publishes %v", balancer.Ports)
		}
		// The name "gateway" has addresses of one network only, which is the one
		// whose X-Forwarded-For counts.
		var shared []string
		for name := range balancer.Networks {
			if _, ok := gateway.Networks[name]; ok {
				shared = append(shared, name)
			}
		}
		if !slices.Equal(shared, []string{"edge"}) || !project.Networks["edge"].Internal {
			t.Errorf("gateways and balancer share %q", shared)
		}
		subnet := project.Networks["edge"].Ipam.Config[0].Subnet
		if trusted := gateway.Environment["AGIQA_TRUSTED_PROXIES"]; trusted == nil || *trusted != subnet {
			t.Errorf("gateways trust %v, the network is %s", trusted, subnet)
		}
		for name := range gateway.Environment {
			if strings.HasPrefix(name, "AGIQA_") && !slices.Contains(knownSettings(), name) {
				t.Errorf("%s is no setting of the program", name)
			}
		}
	}
	config := read(t, "deploy/haproxy.cfg")
	for _, want := range []string{"bind :8080", "gateway:8080", "check port 8081", "httpchk GET /readyz", "option forwardfor"} {
		if !strings.Contains(config, want) {
			t.Errorf("deploy/haproxy.cfg lacks %q", want)
		}
	}
}
