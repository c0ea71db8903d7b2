package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"time"
)

// Settings is the whole configuration of the program. Tags: key (kebab-case;
// flag and file key, and with AGIQA_ in front the variable), default, help,
// and group (a heading of the reference page).
type Settings struct {
	Listen         string        `key:"listen" group:"HTTP" default:"127.0.0.1:8080" help:"Address the HTTP server listens on. Port 0 picks a free one."`
	RequestTimeout time.Duration `key:"request-timeout" group:"HTTP" default:"30s" help:"Budget of one scoring request, from its first byte to its answer. What cannot finish in time answers 504."`
	DrainDelay     time.Duration `key:"drain-delay" group:"HTTP" default:"0s" help:"How long to answer on with a red /readyz after SIGTERM, until load balancers notice; behind one, 5s is usual."`
	DrainTimeout   time.Duration `key:"drain-timeout" group:"HTTP" default:"20s" help:"How long accepted requests may take to finish after that."`
	MaxConnections int           `key:"max-connections" group:"HTTP" default:"2048" help:"Connections accepted at once; further ones wait in the kernel."`
	MaxBodyBytes   Bytes         `key:"max-body-bytes" group:"HTTP" default:"64MiB" help:"Largest request body."`
	MaxImages      int           `key:"max-images" group:"HTTP" default:"32" help:"Most images in one request."`
	AdminKey       Secret        `key:"admin-key" group:"HTTP" default:"" help:"Bearer key for administrative routes. Empty: they are off, except that up, on a loopback address, makes a key in data-dir (admin.key), where client commands on the same machine find it."`
	TrustTraces    Peers         `key:"trust-traces" group:"HTTP" default:"false" help:"Whose traces (traceparent) are continued: true for every caller's, or the networks of callers, comma-separated, such as 10.0.0.0/8. Others' are linked, so that no stranger can choose our trace ids; nobody can switch tracing off."`

	MaxBodyMemory   Bytes   `key:"max-body-memory" group:"HTTP" default:"512MiB" help:"Memory that the bodies of all requests together may take; what goes beyond answers 503 overloaded. At least one body of the largest size fits."`
	MemoryWatermark float64 `key:"memory-watermark" group:"HTTP" default:"0.85" help:"Share of the memory limit (GOMEMLIMIT, or the container's) from which on scoring requests are turned away. 0: never. Without a limit it has no effect."`
	RateLimit       float64 `key:"rate-limit" group:"HTTP" default:"0" help:"Scoring requests a second that each client may send on average; further ones answer 429 rate_limited. 0: no limit. A client is known by its key, or else by its address."`
	RateLimitBurst  int     `key:"rate-limit-burst" group:"HTTP" default:"20" help:"Requests that a client may send at once."`
	RateLimitHeader string  `key:"rate-limit-header" group:"HTTP" default:"X-API-Key" help:"Header with the client's key; where it is missing, Authorization. Keys are not verified here: have a proxy in front do that, or clients may invent them."`
	RateLimitKeys   int     `key:"rate-limit-keys" group:"HTTP" default:"10000" help:"Clients that are remembered; the one not seen for longest is forgotten first."`

	MaxImageBytes  Bytes  `key:"max-image-bytes" group:"Images" default:"20MiB" help:"Largest image file."`
	MaxImagePixels int64  `key:"max-image-pixels" group:"Images" default:"25000000" help:"Most pixels (width times height) of an image, checked before decoding."`
	MaxImageScans  int    `key:"max-image-scans" group:"Images" default:"30" help:"Most scans of a progressive JPEG."`
	Decoders       string `key:"decoders" group:"Images" default:"auto" help:"auto: libjpeg-turbo and libwebp decode JPEG and WebP where this machine has them and they pass the self-test. go: everything is decoded in Go. The pixels are the same; the preprocess id says which."`
	Preprocess     string `key:"preprocess" group:"Images" default:"exact" help:"exact: the pixels that training saw. fast: large JPEGs are shrunk while they are decoded (needs libjpeg-turbo). A request may ask for the other."`
	DecodeMemory   Bytes  `key:"decode-memory" group:"Images" default:"1GiB" help:"Memory that decoders may use at once; further images wait."`

	Concurrency int           `key:"concurrency" group:"Scoring" default:"0" help:"Scoring requests worked on at once. 0: 16 for each CPU."`
	Queue       int           `key:"queue" group:"Scoring" default:"256" help:"Scoring requests that may wait for their turn; further ones answer 503 overloaded at once."`
	QueueWait   time.Duration `key:"queue-wait" group:"Scoring" default:"0s" help:"Longest time that a request may be expected to take when it comes, at the pace of the last ones; others answer 503 overloaded at once. Never more than half of the time that it has. 0s: half."`
	Batching    string        `key:"batching" group:"Scoring" default:"auto" help:"Who makes one call of the single images of concurrent requests. gateway: this program, of calls that would wait for Triton anyway. triton: its dynamic batcher, which sees each image as a call of its own. auto: what decision 13 measured to be better."`
	BatchMax    int           `key:"batch-max" group:"Scoring" default:"16" help:"Most images of one call that the gateway makes of several."`
	BatchWait   time.Duration `key:"batch-wait" group:"Scoring" default:"20ms" help:"Longest time that an image waits for others while two calls are under way. With fewer it does not wait."`

	Triton            []string `key:"triton" group:"Triton" default:"" help:"gRPC addresses of Triton, comma-separated. Needed by serve; up starts its own."`
	TritonConnections int      `key:"triton-connections" group:"Triton" default:"1" help:"gRPC connections to each Triton. One carries a hundred inferences at a time."`
	TritonShm         string   `key:"triton-shm" group:"Triton" default:"off" help:"Pixels reach a Triton on a loopback address through shared memory (/dev/shm, 19 MB for each). auto: where it takes that, else over the connection. on: a Triton that does not take it is not ready. Servers from 2.68 on need --allow-client-shm=true."`
	ModelRepository   string   `key:"model-repository" group:"Triton" default:"model_repository" help:"Folder of Triton models that up serves. A relative path is looked for here, then beside the binary's folder."`
	Venv              string   `key:"venv" group:"Triton" default:".venv" help:"Python environment that holds the embedded tritonserver."`

	Checkpoints       string        `key:"checkpoints" group:"Checkpoints" default:"checkpoints" help:"Folder of prompt checkpoints, one bundle in each sub-folder."`
	DefaultCheckpoint string        `key:"default-checkpoint" group:"Checkpoints" default:"" help:"Name of the checkpoint that scores when a request names none. Empty: the only one there is, or the one named demo. A default that was chosen at run time (agiqa checkpoint activate) is kept in data-dir and comes first."`
	ModelUpload       string        `key:"model-upload" group:"Checkpoints" default:"auto" help:"How the models of imported checkpoints reach Triton. shared: files in a model repository that both see (serve: model-repository; up: its own, in data-dir). upload: with the load call, for servers that share no disk; such checkpoints have no ensemble, so a fresh image costs two calls instead of one. auto: shared for up, upload for serve."`
	MaxBundleBytes    Bytes         `key:"max-bundle-bytes" group:"Checkpoints" default:"72MiB" help:"Largest body of an import."`
	ChangeTimeout     time.Duration `key:"change-timeout" group:"Checkpoints" default:"5m" help:"Budget of an import, activation or removal. On a GPU a new head is warmed up in it."`
	GoldenTolerance   float64       `key:"golden-tolerance" group:"Checkpoints" default:"0.0001" help:"How far a golden score may be off when a checkpoint is imported, in the score's unit. Encoders in FP16 may need more."`

	ExperimentStore Secret `key:"experiment-store" group:"Experiments" default:"" help:"Where experiments, exposures and feedback are kept: a file of SQLite, or postgres://user:password@host/database for several gateways. Empty: experiments.db in data-dir. none: no experiments."`
	ExperimentKey   Secret `key:"experiment-key" group:"Experiments" default:"" help:"Secret of at least 16 bytes that assigns units to arms and hides them in records. Gateways of one store need the same; another key puts units of running experiments elsewhere. Empty: one is made in data-dir (experiment.key)."`

	RedisURL        Secret        `key:"redis-url" group:"Cache" default:"" help:"Redis for text and image embeddings, such as redis://127.0.0.1:6379/0. Empty: memory only."`
	TextTTL         time.Duration `key:"text-ttl" group:"Cache" default:"168h" help:"How long text embeddings stay in Redis (spread by a tenth, so that they do not expire together)."`
	ImageCacheBytes Bytes         `key:"image-cache-bytes" group:"Cache" default:"64MiB" help:"Memory for image embeddings. 0: none are kept."`
	ImageTTL        time.Duration `key:"image-ttl" group:"Cache" default:"1h" help:"How long an image embedding stays in memory."`
	ImageRedis      bool          `key:"image-redis" group:"Cache" default:"true" help:"Keep image embeddings in Redis too, where redis-url is set: servers share them, and they outlive a restart. An image that memory does not know costs a round trip."`
	ImageRedisTTL   time.Duration `key:"image-redis-ttl" group:"Cache" default:"24h" help:"How long an image embedding stays in Redis (spread by a tenth). Each takes some 2.3 kB; give Redis a maxmemory and the policy allkeys-lfu."`

	OTLPEndpoint string  `key:"otlp-endpoint" group:"Telemetry" default:"" help:"OTLP/HTTP base URL that traces are sent to, such as http://127.0.0.1:4318. Empty: they are not sent."`
	TraceRatio   float64 `key:"trace-ratio" group:"Telemetry" default:"1" help:"Share of requests whose trace is recorded, decided by the trace id. 1: all, which a collector needs to keep every error and every slow request."`
	TraceQueue   int     `key:"trace-queue" group:"Telemetry" default:"65536" help:"Spans that may wait for the collector (a request makes about twenty); further ones are dropped and counted in agiqa_spans_total."`
	LogLevel     string  `key:"log-level" group:"Telemetry" default:"info" help:"debug, info, warn or error."`
	LogFormat    string  `key:"log-format" group:"Telemetry" default:"auto" help:"json, text, or auto: text on a terminal, json elsewhere."`
	Trace        bool    `key:"trace" group:"Telemetry" default:"false" help:"Keep the latest traces, Triton's spans included, in data-dir for agiqa trace show. otlp-endpoint still gets them."`
	TraceBytes   Bytes   `key:"trace-bytes" group:"Telemetry" default:"128MiB" help:"Disk that the kept traces may take; the oldest half goes when it is full."`
	PprofListen  string  `key:"pprof-listen" group:"Telemetry" default:"" help:"Address for profiles (/debug/pprof/), such as 127.0.0.1:6060. They show code and memory: keep it private. Empty: off."`

	DataDir string `key:"data-dir" group:"Program" default:".agiqa" help:"Folder for what the program writes: imported checkpoints and the choice of the default, the admin key that up makes, run files and the log of tritonserver."`
	URL     string `key:"url" group:"Program" default:"http://127.0.0.1:8080" help:"Server that client commands talk to."`
}

// Validate reports every setting that cannot be right, each by its name.
func (s Settings) Validate() error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, &Fault{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	positive := func(key string, v int64) {
		if v <= 0 {
			fault(key, "must be positive, is %d", v)
		}
	}
	if _, _, err := net.SplitHostPort(s.Listen); err != nil {
		fault("listen", "%q is not host:port", s.Listen)
	}
	for _, a := range s.Triton {
		if _, _, err := net.SplitHostPort(a); err != nil {
			fault("triton", "%q is not host:port", a)
		}
	}
	for key, d := range map[string]time.Duration{"request-timeout": s.RequestTimeout, "drain-timeout": s.DrainTimeout, "text-ttl": s.TextTTL, "image-ttl": s.ImageTTL, "image-redis-ttl": s.ImageRedisTTL, "change-timeout": s.ChangeTimeout} {
		if d <= 0 {
			fault(key, "must be positive, is %s", d)
		}
	}
	if s.DrainDelay < 0 {
		fault("drain-delay", "must not be negative, is %s", s.DrainDelay)
	}
	positive("max-connections", int64(s.MaxConnections))
	positive("max-body-bytes", int64(s.MaxBodyBytes))
	positive("max-bundle-bytes", int64(s.MaxBundleBytes))
	if !(s.GoldenTolerance > 0) || math.IsInf(s.GoldenTolerance, 0) {
		fault("golden-tolerance", "must be positive, is %g", s.GoldenTolerance)
	}
	positive("max-images", int64(s.MaxImages))
	positive("max-body-memory", int64(s.MaxBodyMemory))
	positive("rate-limit-burst", int64(s.RateLimitBurst))
	positive("rate-limit-keys", int64(s.RateLimitKeys))
	if !(s.RateLimit >= 0) || math.IsInf(s.RateLimit, 0) {
		fault("rate-limit", "must not be negative, is %g", s.RateLimit)
	}
	if !(s.MemoryWatermark >= 0 && s.MemoryWatermark <= 1) {
		fault("memory-watermark", "must be 0 to 1, is %g", s.MemoryWatermark)
	}
	if s.TritonConnections < 1 || s.TritonConnections > 64 {
		fault("triton-connections", "must be 1 to 64, is %d", s.TritonConnections)
	}
	positive("max-image-bytes", int64(s.MaxImageBytes))
	positive("max-image-pixels", s.MaxImagePixels)
	positive("max-image-scans", int64(s.MaxImageScans))
	positive("decode-memory", int64(s.DecodeMemory))
	if s.TraceBytes < 1<<20 {
		fault("trace-bytes", "must be at least 1MiB, is %d", s.TraceBytes)
	}
	if s.PprofListen != "" {
		if _, _, err := net.SplitHostPort(s.PprofListen); err != nil {
			fault("pprof-listen", "%q is not host:port", s.PprofListen)
		}
	}
	if s.Concurrency < 0 {
		fault("concurrency", "must not be negative, is %d", s.Concurrency)
	}
	if s.Queue < 0 {
		fault("queue", "must not be negative, is %d", s.Queue)
	}
	if s.ImageCacheBytes < 0 {
		fault("image-cache-bytes", "must not be negative, is %d", s.ImageCacheBytes)
	}
	checkURL := func(key, value string, schemes ...string) {
		u, err := url.Parse(value)
		if err == nil {
			for _, scheme := range schemes {
				if u.Scheme == scheme && (u.Host != "" || scheme == "unix") {
					return
				}
			}
		}
		fault(key, "is not a URL with scheme %v", schemes)
	}
	if !(s.TraceRatio > 0 && s.TraceRatio <= 1) {
		fault("trace-ratio", "must be above 0 and at most 1, is %g", s.TraceRatio)
	}
	if s.TraceQueue < 2048 {
		fault("trace-queue", "must be at least 2048, the size of a batch, is %d", s.TraceQueue)
	}
	if s.OTLPEndpoint != "" {
		checkURL("otlp-endpoint", s.OTLPEndpoint, "http", "https")
	}
	if s.RedisURL != "" {
		checkURL("redis-url", string(s.RedisURL), "redis", "rediss", "unix")
	}
	checkURL("url", s.URL, "http", "https")
	if s.ExperimentKey != "" && len(s.ExperimentKey) < 16 {
		fault("experiment-key", "must have at least 16 bytes")
	}
	oneOf := func(key, value string, allowed ...string) {
		for _, a := range allowed {
			if a == value {
				return
			}
		}
		fault(key, "%q is not one of %v", value, allowed)
	}
	oneOf("triton-shm", s.TritonShm, "auto", "off", "on")
	oneOf("batching", s.Batching, "auto", "gateway", "triton")
	if s.QueueWait < 0 {
		fault("queue-wait", "must not be negative, is %s", s.QueueWait)
	}
	if s.BatchMax < 2 {
		fault("batch-max", "must be at least 2, is %d", s.BatchMax)
	}
	if s.BatchWait <= 0 {
		fault("batch-wait", "must be positive, is %s", s.BatchWait)
	}
	oneOf("decoders", s.Decoders, "auto", "go")
	oneOf("preprocess", s.Preprocess, "exact", "fast")
	oneOf("model-upload", s.ModelUpload, "auto", "shared", "upload")
	oneOf("log-level", s.LogLevel, "debug", "info", "warn", "error")
	oneOf("log-format", s.LogFormat, "auto", "json", "text")
	return errors.Join(faults...)
}

// Fault is one bad setting.
type Fault struct {
	Key    string // as in the tags
	Source string // where the value came from; empty for a rule over values
	Text   string
}

func (f *Fault) Error() string {
	if f.Source == "" {
		return fmt.Sprintf("setting %s (%s): %s", f.Key, EnvName(f.Key), f.Text)
	}
	return fmt.Sprintf("setting %s (from %s): %s", f.Key, f.Source, f.Text)
}
