package depcheck

import "slices"

// The modules that rules name more than once.
const (
	gin      = "github.com/gin-gonic/gin/..."
	grpc     = "google.golang.org/grpc/..."
	goRedis  = "github.com/redis/go-redis/..."
	protobuf = "google.golang.org/protobuf/..."
	otelGRPC = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	xSync    = "golang.org/x/sync/..."
	yaml     = "go.yaml.in/yaml/v3"
	cobra    = "github.com/spf13/cobra"
	pflag    = "github.com/spf13/pflag"
	pgx      = "github.com/jackc/pgx/v5/..."
	gonum    = "gonum.org/v1/gonum/..."
)

// otelAPI is what a library may know of OpenTelemetry: the interfaces, and not
// the SDK, which only telemetry sets up.
var otelAPI = []string{
	"go.opentelemetry.io/otel",
	"go.opentelemetry.io/otel/attribute",
	"go.opentelemetry.io/otel/baggage",
	"go.opentelemetry.io/otel/codes",
	"go.opentelemetry.io/otel/metric/...",
	"go.opentelemetry.io/otel/propagation",
	"go.opentelemetry.io/otel/semconv/...",
	"go.opentelemetry.io/otel/trace/...",
}

// otelSDK is for tests that read back spans and metrics.
var otelSDK = []string{
	"go.opentelemetry.io/otel/sdk/...",
}

// planned names the rows whose packages are still being written. The list is
// empty in a release.
var planned []string

// House returns the rules of every package of the project.
func House() map[string]Rule {
	house := make(map[string]Rule)
	for _, part := range []map[string]Rule{domain(), adapters(), shell(), forTests(), internals()} {
		for name, rule := range part {
			rule.Planned = slices.Contains(planned, name)
			house[name] = rule
		}
	}
	return house
}

// domain is the core: what an image, a checkpoint and a score are, and the use
// case. It runs without a network.
func domain() map[string]Rule {
	return map[string]Rule{
		"quality": {
			Why:         "the domain knows nothing of how things travel or are stored: standard library only, no net, no os",
			NeverImport: []string{"net/...", "os/...", "syscall", "database/...", "log/...", "C", "unsafe"},
		},
		"imageprep": {
			Why:     "turns untrusted bytes into pixels; whoever has the bytes calls it, so it opens nothing itself",
			Project: []string{"quality", "imageprep/internal/jpeg", "imageprep/internal/png", "imageprep/internal/pool"},
			// The semaphore bounds the memory of decoders; cpu says which resampler runs.
			External:    []string{"golang.org/x/image/...", xSync, "golang.org/x/sys/cpu"},
			NeverReach:  []string{gin, grpc, goRedis},
			NeverImport: []string{"net/...", "os/..."},
		},
		"imageprep/native": {
			Why:         "opens the C libraries that decode JPEG and WebP: the one place where memory is handed to C",
			Project:     []string{"imageprep"},
			External:    []string{"github.com/ebitengine/purego"},
			TestProject: []string{"quality"},
			NeverReach:  []string{gin, grpc, goRedis},
			NeverImport: []string{"net/..."},
		},
		"imageprep/internal/jpeg": {
			Why:         "a JPEG decoder that gives the samples Pillow sees: arithmetic over bytes",
			Project:     []string{"imageprep/internal/pool"},
			External:    []string{"golang.org/x/sys/cpu"},
			NeverImport: []string{"net/...", "os/..."},
		},
		"imageprep/internal/png": {
			Why:         "decodes the common kind of PNG: arithmetic over bytes",
			Project:     []string{"imageprep/internal/pool"},
			External:    []string{"golang.org/x/sys/cpu"},
			NeverImport: []string{"net/...", "os/..."},
		},
		"imageprep/internal/pool": {
			Why:         "buffers kept between images",
			NeverImport: []string{"net/...", "os/..."},
		},
		"clip": {
			Why:         "tokens and prompts are arithmetic over text",
			Project:     []string{"quality"},
			External:    []string{"golang.org/x/text/..."},
			NeverReach:  []string{gin, grpc, goRedis},
			NeverImport: []string{"net/...", "os/..."},
		},
		"checkpoint": {
			Why:         "reads and writes checkpoint bundles and the head models made from them; does not talk to Triton",
			Project:     []string{"quality", "clip", "checkpoint/onnxpb", "checkpoint/safetensors", "checkpoint/torchfile"},
			External:    []string{protobuf},
			TestProject: []string{"tritonclient/inferencepb"},
			// The generated model configuration is checked in text form.
			TestExternal: []string{protobuf},
			NeverReach:   []string{gin, goRedis, grpc},
			NeverImport:  []string{"net/..."},
		},
		"checkpoint/lifecycle": {
			Why:     "changes which checkpoints there are; servers, folders and caches are interfaces to it",
			Project: []string{"quality", "clip", "checkpoint"},
			// Its tests run it against an in-process Triton, and score under it.
			TestProject: []string{
				"checkpoint/tritonmodels", "tritonclient", "tritonclient/inferencepb", "cache", "scoring", "imageprep",
			},
			TestExternal: slices.Concat(otelAPI, []string{grpc}),
			NeverReach:   []string{gin, goRedis, grpc},
			NeverImport:  []string{"net/..."},
		},
		"checkpoint/safetensors": {
			Why:         "a file format: bytes to named tensors, with bounds",
			NeverImport: []string{"net/..."},
		},
		"checkpoint/torchfile": {
			Why:         "a file format: bytes to named tensors, with bounds and without Python",
			NeverImport: []string{"net/...", "os/..."},
		},
		"checkpoint/onnxpb": {
			Why:        "generated ONNX messages",
			External:   []string{protobuf},
			NeverReach: []string{gin, goRedis, grpc},
		},
		"evaluation": {
			Why:         "figures are functions of two lists of numbers, alike in Python to the last digits: standard library only",
			NeverReach:  []string{gin, grpc, goRedis, "./..."},
			NeverImport: []string{"net/...", "os/..."},
		},
		"experiment": {
			Why:         "assignment and statistics are functions of their arguments; stores stand at the edge",
			Project:     []string{"quality"},
			TestProject: []string{"experiment/storetest"},
			// Definitions are YAML. rapid draws cases for properties.
			External:     slices.Concat(otelAPI, []string{"github.com/google/uuid", yaml}),
			TestExternal: []string{"pgregory.net/rapid", "gonum.org/v1/gonum/..."},
			NeverReach:   []string{gin, grpc, goRedis},
			NeverImport:  []string{"net/http/..."},
		},
		"experiment/stats": {
			Why:     "statistics are functions of numbers: no store, no clock, no request",
			Project: []string{"evaluation"},
			// Distributions and linear algebra.
			External:    []string{gonum},
			NeverReach:  []string{gin, grpc, goRedis},
			NeverImport: []string{"net/...", "os/...", "time", "log/..."},
		},
		"experiment/analysis": {
			Why:     "what is concluded from records: a fold over them, and statistics of others",
			Project: []string{"quality", "evaluation", "experiment", "experiment/stats"},
			// Histograms of times, whose sums do not depend on the order.
			External:    []string{"github.com/HdrHistogram/hdrhistogram-go"},
			TestProject: []string{"experiment/analysis/synthetic", "experiment/storetest"},
			NeverReach:  []string{gin, grpc, goRedis},
			NeverImport: []string{"net/...", "os/...", "database/...", "log/..."},
		},
		"experiment/analysis/synthetic": {
			Why:         "records of an experiment that never was, for tests and the example report",
			Project:     []string{"quality", "experiment"},
			NeverReach:  []string{gin, grpc, goRedis},
			NeverImport: []string{"net/...", "os/..."},
		},
		"experiment/report": {
			Why:          "draws what was concluded, as a page and as a picture; it computes nothing",
			Project:      []string{"experiment/analysis", "experiment/stats"},
			External:     []string{"gonum.org/v1/plot/..."},
			TestProject:  []string{"experiment", "experiment/analysis/synthetic"},
			TestExternal: []string{"golang.org/x/net/html"},
			NeverReach:   []string{gin, grpc, goRedis},
			NeverImport:  []string{"net/...", "os/..."},
		},
		"experiment/stats/simulate": {
			Why:         "draws images, arms and raters whose truth is known; a demonstration may use its raters",
			Project:     []string{"experiment/stats", "evaluation"},
			NeverReach:  []string{gin, grpc, goRedis},
			NeverImport: []string{"net/...", "os/...", "time", "log/..."},
		},
		"experiment/demo": {
			Why:         "makes images and raters for a demonstration; it knows no server",
			Project:     []string{"experiment/stats", "experiment/stats/simulate"},
			NeverReach:  []string{gin, grpc, goRedis},
			NeverImport: []string{"net/...", "os/...", "time", "log/..."},
		},
		"experiment/engine": {
			Why:     "runs experiments over a store and the checkpoints of a server, which are interfaces to it",
			Project: []string{"quality", "experiment", "experiment/stats", "experiment/analysis", "internal/labels"},
			// rate bounds how fast a rater may send.
			External:     slices.Concat(otelAPI, []string{"github.com/google/uuid", "golang.org/x/time/rate"}),
			TestExternal: slices.Concat(otelSDK, []string{"pgregory.net/rapid"}),
			TestProject:  []string{"experiment/storetest", "experiment/sqlstore", "experiment/postgrestest"},
			NeverReach:   []string{gin, grpc, goRedis},
			NeverImport:  []string{"net/http/..."},
		},
		"scoring": {
			Why:          "the use case: it calls interfaces of quality and is told what stands behind them",
			Project:      []string{"quality", "imageprep", "clip", "checkpoint", "experiment", "internal/retrybudget"},
			External:     slices.Concat(otelAPI, []string{xSync}),
			TestExternal: otelSDK,
			NeverReach:   []string{gin, grpc, goRedis, "./tritonclient/...", "./cache/...", "./gateway/..."},
			NeverImport:  []string{"os/...", "net/..."},
		},
	}
}

// adapters speak to the world: Triton, Redis, HTTP clients, a child process.
func adapters() map[string]Rule {
	return map[string]Rule{
		"tritonclient": {
			Why:          "gRPC is known here and nowhere else; codes become kinds",
			Project:      []string{"quality", "tritonclient/inferencepb", "internal/loopback", "internal/retrybudget"},
			External:     slices.Concat(otelAPI, []string{grpc, protobuf, "golang.org/x/sys/unix"}), // memory shared with Triton
			TestExternal: otelSDK,
			NeverReach:   []string{gin, goRedis, "./gateway/...", "./scoring/..."},
		},
		"tritonclient/inferencepb": {
			Why:        "generated KServe v2 stubs",
			External:   []string{grpc, protobuf},
			NeverReach: []string{gin, goRedis},
		},
		"checkpoint/tritonmodels": {
			Why:        "says to Triton what lifecycle asks of servers and model folders",
			Project:    []string{"quality", "checkpoint", "checkpoint/lifecycle", "tritonclient"},
			NeverReach: []string{gin, goRedis},
		},
		"cache": {
			Why:     "decorators over quality's interfaces; Redis is known here and nowhere else",
			Project: []string{"quality"},
			// otter bounds memory and evicts by use.
			External:     slices.Concat(otelAPI, []string{goRedis, "github.com/maypok86/otter/v2/...", xSync}),
			TestExternal: otelSDK,
			NeverReach:   []string{gin, grpc, "./gateway/...", "./scoring/..."},
		},
		"experiment/sqlstore": {
			Why:         "SQL is known here and nowhere else; SQLite and PostgreSQL behind one store of experiments",
			Project:     []string{"quality", "experiment"},
			External:    []string{"modernc.org/sqlite/...", pgx},
			TestProject: []string{"experiment/storetest", "experiment/postgrestest"},
			NeverReach:  []string{gin, grpc, goRedis, "./gateway/...", "./scoring/..."},
			NeverImport: []string{"net/http/..."},
		},
		"gateway": {
			Why:     "HTTP is known here and nowhere else; it sees the use case, never what stands behind it",
			// The types of a report are part of the API's document.
			Project: []string{
				"quality", "scoring", "experiment", "experiment/analysis", "experiment/stats", "internal/labels",
			},
			External: slices.Concat(otelAPI, []string{
				gin, "github.com/danielgtaylor/huma/v2/...", "github.com/swaggest/swgui/...",
				"github.com/google/uuid", xSync, "golang.org/x/time/rate",
				// JSON with a bound on depth, and faults on unknown and repeated names.
				"github.com/go-json-experiment/json/...",
			}),
			// Its tests run the whole chain, down to an in-process Triton and a file
			// of records.
			TestProject: []string{
				"cache", "imageprep", "telemetry", "tritonclient", "tritonclient/inferencepb", "internal/catalogue",
				"experiment/engine", "experiment/sqlstore", "experiment/storetest",
			},
			TestExternal: slices.Concat(otelSDK, []string{yaml, grpc}),
			NeverReach: []string{
				grpc, goRedis, "./tritonclient/...", "./cache/...", "github.com/prometheus/...",
				"go.opentelemetry.io/otel/sdk/...", "go.opentelemetry.io/otel/exporters/...",
			},
		},
		"telemetry": {
			Why:        "sets up tracing and metrics for any program; it knows no word of this one",
			External:   []string{"go.opentelemetry.io/...", "github.com/prometheus/client_golang/..."},
			NeverReach: []string{gin, goRedis, "./..."},
		},
		"telemetry/tracelog": {
			Why:          "keeps and draws the spans of one machine; it knows OTLP and no word of this program",
			External:     []string{"go.opentelemetry.io/proto/otlp/...", protobuf},
			TestExternal: slices.Concat(otelAPI, otelSDK, []string{"go.opentelemetry.io/otel/exporters/otlp/..."}),
			NeverReach:   []string{gin, goRedis, "./..."},
		},
		"embedded": {
			Why:        "a child process and its supervision: standard library and system calls",
			External:   []string{"golang.org/x/sys/..."},
			NeverReach: []string{gin, goRedis, grpc, "./gateway/...", "./scoring/..."},
		},
	}
}

// shell is what is run: the binary and the load generator.
func shell() map[string]Rule {
	return map[string]Rule{
		"cmd/agiqa": {
			Why:     "wires everything: it may import all that is linked, and nothing meant for tests",
			Project: []string{"..."},
			External: slices.Concat(otelAPI, otelSDK, []string{
				cobra, pflag, yaml, grpc, goRedis, gin, protobuf, xSync, otelGRPC,
				"github.com/schollz/progressbar/v3", "golang.org/x/net/netutil", "golang.org/x/term", "golang.org/x/sys/...",
				"github.com/prometheus/client_golang/...",
			}),
			NeverReach: []string{"./internal/depcheck", "./internal/notices", "testing"},
		},
		"benchmarks/arms": {
			Why:        "times a function that it is given, and writes down what came out",
			NeverReach: []string{gin, grpc, goRedis},
		},
		"benchmarks/preprocess": {
			Why:        "times the preparation of images against Pillow: it needs that package and no server's",
			Project:    []string{"quality", "imageprep"},
			External:   []string{"golang.org/x/sys/unix"},
			NeverReach: []string{gin, grpc, goRedis},
		},
		"benchmarks/peers/summary": {
			Why:        "prints the table of the comparison with the peer, from the reports of others",
			Project:    []string{"benchmarks/load", "benchmarks/preprocess"},
			NeverReach: []string{gin, grpc, goRedis},
		},
		"benchmarks/stubtriton": {
			Why:      "stands in for Triton where the gateway is measured: it speaks the protocol and knows no model",
			Project:  []string{"tritonclient/inferencepb"},
			External: []string{grpc, protobuf},
			// Its tests hold it to the suite that a real server passes.
			TestProject: []string{"quality", "checkpoint", "tritonclient", "tritonclient/tritontest"},
			NeverReach:  []string{gin, goRedis, "./gateway/...", "./scoring/...", "./tritonclient"},
		},
		"benchmarks/tritonload": {
			Why:         "makes Triton itself a target of the load generator, by the gateway's client",
			Project:     []string{"quality", "benchmarks/load", "tritonclient"},
			TestProject: []string{"tritonclient/tritontest"},
			// Faults of the server for tests are gRPC codes.
			TestExternal: []string{grpc},
			NeverReach:   []string{gin, goRedis, "./gateway/...", "./scoring/..."},
		},
		"benchmarks/load": {
			Why:     "a client among clients: it knows the HTTP interface and no server package",
			Project: []string{"internal/loopback"},
			External: []string{
				"github.com/HdrHistogram/hdrhistogram-go",
				// What may stand in a header; precise sleep and processor time.
				"golang.org/x/net/http/httpguts", "golang.org/x/sys/unix",
			},
			NeverReach: []string{
				gin, grpc, goRedis, "./gateway/...", "./scoring/...", "./cache/...", "./tritonclient/...",
				"./imageprep/...", "./checkpoint/...", "./experiment/...",
			},
		},
	}
}

// forTests is what tests share. No binary links it.
func forTests() map[string]Rule {
	return map[string]Rule{
		"tritonclient/tritontest": {
			Why: "an in-process Triton that speaks the real protocol",
			// Its conformance suite drives the client, against itself or the real thing.
			// It computes panels from the file that was loaded.
			Project:    []string{"quality", "tritonclient", "tritonclient/inferencepb", "checkpoint/safetensors"},
			External:   []string{grpc, protobuf},
			NeverReach: []string{gin, goRedis},
			TestOnly:   true,
		},
		"checkpoint/checkpointtest": {
			Why:        "bundles made for tests, sound ones and spoilt ones",
			Project:    []string{"quality", "clip", "checkpoint", "checkpoint/safetensors"},
			NeverReach: []string{gin, goRedis, grpc},
			TestOnly:   true,
		},
		"cache/cachetest": {
			Why:         "one conformance suite for every store",
			Project:     []string{"quality", "cache"},
			NeverReach:  []string{gin, grpc},
			TestOnly:    true,
			TestProject: []string{"cache"},
		},
		"cache/redistest": {
			Why:        "starts a real Redis for tests",
			Project:    []string{"internal/proctest"},
			External:   []string{goRedis},
			NeverReach: []string{gin, grpc},
			TestOnly:   true,
		},
		"experiment/postgrestest": {
			Why:        "starts a real PostgreSQL for tests",
			Project:    []string{"internal/proctest"},
			External:   []string{pgx},
			NeverReach: []string{gin, grpc, goRedis},
			TestOnly:   true,
		},
		"experiment/storetest": {
			Why:        "one conformance suite for every store of experiments, and one in memory",
			Project:    []string{"quality", "experiment"},
			External:   []string{"github.com/google/go-cmp/cmp/..."},
			NeverReach: []string{gin, grpc, goRedis},
			TestOnly:   true,
		},
		"internal/proctest": {
			Why:        "runs a program for a test, and leaves nothing behind",
			NeverReach: []string{gin, grpc, goRedis, "./..."},
			TestOnly:   true,
		},
		"internal/otlptest": {
			Why:        "a collector in process that keeps the spans it is sent, for tests",
			Project:    []string{"telemetry/tracelog"},
			NeverReach: []string{gin, goRedis},
			TestOnly:   true,
		},
		"internal/testimages": {
			Why:        "small images that the project drew itself",
			Project:    []string{"quality"},
			External:   []string{"golang.org/x/image/..."},
			NeverReach: []string{gin, grpc, goRedis},
			TestOnly:   true,
		},
	}
}

// internals serve the project's own housekeeping.
func internals() map[string]Rule {
	return map[string]Rule{
		"internal/config": {
			Why:        "settings to a value: flags over environment over file over defaults",
			External:   []string{cobra, pflag, yaml},
			NeverReach: []string{gin, grpc, goRedis, "./gateway/...", "./scoring/...", "./cache/...", "./tritonclient/..."},
		},
		"internal/catalogue": {
			Why:        "a list of metrics: it knows the kinds of errors, and reads Prometheus' text with Prometheus' parser",
			Project:    []string{"quality"},
			External:   []string{"github.com/prometheus/client_model/...", "github.com/prometheus/common/..."},
			NeverReach: []string{gin, grpc, goRedis},
		},
		"internal/loopback": {
			Why:        "tells this machine's addresses from others",
			NeverReach: []string{gin, grpc, goRedis, "./..."},
		},
		"internal/labels": {
			Why:        "a set with a bound, under a lock",
			NeverReach: []string{gin, grpc, goRedis, "./..."},
		},
		"internal/dashboards": {
			Why:        "writes Grafana's dashboards: strings to JSON",
			NeverReach: []string{"./..."},
		},
		"internal/drawexamples": {
			Why:        "draws the pictures of examples/",
			External:   []string{"golang.org/x/image/..."},
			NeverReach: []string{"./..."},
		},
		"internal/statstable": {
			Why:        "prints the tables of docs/statistics.md",
			Project:    []string{"experiment/stats", "experiment/stats/simulate"},
			NeverReach: []string{gin, grpc, goRedis},
		},
		"internal/drawreport": {
			Why:        "writes the example report of docs/examples",
			Project:    []string{"experiment", "experiment/analysis", "experiment/analysis/synthetic", "experiment/report"},
			NeverReach: []string{gin, grpc, goRedis},
		},
		"internal/gocommand": {
			Why: "runs the go command for the checks that read the module graph",
		},
		"internal/retrybudget": {
			Why:        "a token bucket: arithmetic under a lock",
			NeverReach: []string{gin, grpc, goRedis, "./..."},
		},
		"internal/depcheck": {
			Why:     "checks everything, so it depends on nothing but the go command",
			Project: []string{"internal/gocommand"},
		},
		"internal/notices": {
			Why:     "reads licences from the module cache with the go command",
			Project: []string{"internal/gocommand"},
		},
		"deploy": {
			Why: "tests of the deployment's files; it holds no Go code to link",
			TestExternal: []string{
				"github.com/compose-spec/compose-go/v2/...", yaml,
			},
			TestProject: []string{"internal/config", "internal/catalogue"},
		},
	}
}
