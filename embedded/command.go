package embedded

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// arguments returns the command line of tritonserver, without its name.
func arguments(cfg Config, models []string, folder runFolder, id runID) []string {
	args := []string{
		"--backend-directory=" + folder.backends(),
		"--model-control-mode=explicit",
		"--model-config-name=" + cfg.ConfigName,
		// The configurations are complete. Completing them would start and stop
		// one more stub per model, which takes three quarters of the load time.
		"--disable-auto-complete-config",
		// A checkpoint that fails to load must not make the server unready.
		"--strict-readiness=false",
		// The wheel's server is used without a GPU.
		"--allow-gpu-metrics=false",
		"--pinned-memory-pool-byte-size=0",
		fmt.Sprintf("--exit-timeout-secs=%d", exitSeconds(cfg.StopGrace)),
		// One setting per --backend-config: a comma doesn't separate two.
		fmt.Sprintf("--backend-config=python,shm-default-byte-size=%d", cfg.ShmBytes),
		"--backend-config=python,shm-region-prefix-name=" + string(id),
		// Whoever reaches an endpoint can load a model, which is a program. So the
		// only endpoint is a socket in a folder of this user.
		"--allow-http=false", "--allow-metrics=false",
		"--grpc-address=unix:" + folder.socketBase(), "--grpc-port=" + socketPort,
	}
	for n := range len(cfg.ModelRepositories) + len(cfg.LaterRepositories) {
		args = append(args, "--model-repository="+folder.repository(n))
	}
	for _, model := range models {
		args = append(args, "--load-model="+model)
	}
	return append(args, tracing(cfg)...)
}

// exitSeconds is how long the server may wait for requests in flight. It must
// exit before the grace period ends.
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
		// Export spans after half a second instead of five, so that a trace is
		// complete soon after the response.
		"opentelemetry,bsp_schedule_delay=500",
		// A request creates up to nine spans, so the default queue of 2048 holds
		// 450 requests per second between two exports. The server silently drops
		// the rest.
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

// environment returns the environment of tritonserver: base, with the search
// paths of the wheel's libraries and of the environment's Python, and with the
// run ID. It leaves out agiqa's own settings, some of which are secrets. The
// stubs ignore the locale and every PYTHON* variable; they find the Python
// environment by looking for python3 on PATH.
func environment(base []string, folder runFolder, id runID) []string {
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
	return append(env, "PATH="+path, "LD_LIBRARY_PATH="+libraries, runIDVariable+"="+string(id))
}
