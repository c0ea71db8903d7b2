package embedded

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// arguments returns the command line of tritonserver, without its name.
func arguments(cfg Config, models []string, ports Ports, folder runFolder, m mark) []string {
	args := []string{
		"--backend-directory=" + folder.backends(),
		"--model-control-mode=explicit",
		"--model-config-name=" + cfg.ConfigName,
		// Our configurations are complete. Completing them would start and end
		// one more stub for each model, three quarters of the time to load it.
		"--disable-auto-complete-config",
		// A checkpoint that fails to load must not make the server unready.
		"--strict-readiness=false",
		// The wheel's server is used without a GPU.
		"--allow-gpu-metrics=false",
		"--pinned-memory-pool-byte-size=0",
		fmt.Sprintf("--exit-timeout-secs=%d", exitSeconds(cfg.StopGrace)),
		// One setting for each --backend-config: a comma does not separate two.
		fmt.Sprintf("--backend-config=python,shm-default-byte-size=%d", cfg.ShmBytes),
		"--backend-config=python,shm-region-prefix-name=" + string(m),
		"--http-address=" + loopback, "--http-port=" + strconv.Itoa(ports.HTTP),
		"--grpc-address=" + loopback, "--grpc-port=" + strconv.Itoa(ports.GRPC),
		"--metrics-address=" + loopback, "--metrics-port=" + strconv.Itoa(ports.Metrics),
	}
	for n := range len(cfg.ModelRepositories) + len(cfg.LaterRepositories) {
		args = append(args, "--model-repository="+folder.repository(n))
	}
	for _, model := range models {
		args = append(args, "--load-model="+model)
	}
	return append(args, tracing(cfg)...)
}

// exitSeconds is how long the server may wait for requests in flight: it must
// be done before the keeper loses patience.
func exitSeconds(grace time.Duration) int {
	return max(1, int(grace/time.Second)-2)
}

// tracing returns the options for OpenTelemetry. With rate 0 the server traces
// the requests that carry a traceparent and starts no trace of its own.
func tracing(cfg Config) []string {
	if cfg.OTLPTracesURL == "" {
		return nil
	}
	settings := []string{
		"mode=opentelemetry", "level=TIMESTAMPS", "rate=0", "count=-1",
		"opentelemetry,url=" + cfg.OTLPTracesURL,
		// Spans leave after half a second instead of five, so that a trace is
		// whole soon after the answer.
		"opentelemetry,bsp_schedule_delay=500",
		// A request makes up to nine spans, so that the default of 2048 holds
		// those of 450 requests a second between two exports; what is more is
		// dropped in silence.
		"opentelemetry,bsp_max_queue_size=65536",
		"opentelemetry,bsp_max_export_batch_size=2048",
	}
	resource := map[string]string{"service.name": "triton"}
	maps.Copy(resource, cfg.TraceResource)
	for _, key := range slices.Sorted(maps.Keys(resource)) {
		settings = append(settings, "opentelemetry,resource="+key+"="+resource[key])
	}
	var args []string
	for _, s := range settings {
		args = append(args, "--trace-config", s)
	}
	return args
}

// environment returns what tritonserver inherits: base with the search paths
// that lead to the wheel's libraries and the environment's Python, and without
// our own settings, of which some are secrets. The stubs ignore the locale and
// every PYTHON* variable; they find the environment by looking for python3 on
// PATH.
func environment(base []string, folder runFolder) []string {
	path, libraries := "/usr/local/bin:/usr/bin:/bin", ""
	var env []string
	for _, entry := range base {
		key, value, _ := strings.Cut(entry, "=")
		switch {
		case key == "PATH":
			path = value
		case key == "LD_LIBRARY_PATH":
			libraries = value
		case !strings.HasPrefix(key, "AGIQA_"):
			env = append(env, entry)
		}
	}
	path = filepath.Join(folder.venv(), "bin") + ":" + path
	wheel := filepath.Join(folder.sitePackages(), "nvidia_pytriton.libs")
	libraries = strings.TrimSuffix(wheel+":"+folder.libPython()+":"+libraries, ":")
	return append(env, "PATH="+path, "LD_LIBRARY_PATH="+libraries)
}
