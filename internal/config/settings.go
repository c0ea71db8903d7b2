package config

import (
	"slices"
	"time"
)

// AutoRepository is the value of model-repository that leaves the choice to the
// program.
const AutoRepository = "auto"

// Settings is the whole configuration of the program. [Settings.declare] says
// what each field means, its default and its bounds.
type Settings struct {
	// HTTP
	Listen          string
	RequestTimeout  time.Duration
	DrainDelay      time.Duration
	DrainTimeout    time.Duration
	MaxConnections  int
	MaxBodyBytes    Bytes
	MaxImages       int
	MaxRows         int
	AdminKey        Secret
	ScoringAccess   string
	TrustTraces     Peers
	TrustedProxies  Networks
	MaxBodyMemory   Bytes
	MinBodyRate     Bytes
	MemoryWatermark float64
	RateLimit       float64
	RateLimitBurst  int
	RateLimitKeys   int
	CORSOrigins     []string
	AllowedHosts    []string
	TLSCert         string
	TLSKey          string

	OperationsListen string

	// Images
	MaxImageBytes  Bytes
	MaxImagePixels int64
	MaxImageScans  int
	Decoders       string
	Preprocess     string
	DecodeMemory   Bytes

	// Scoring
	Concurrency int
	Queue       int
	QueueWait   time.Duration
	Batching    string
	BatchMax    int
	BatchWait   time.Duration

	// Triton
	Triton            []string
	TritonConnections int
	TritonControlKey  Secret
	TritonCA          string
	TritonCert        string
	TritonKey         string
	ModelRepository   string
	Venv              string

	// Checkpoints
	Checkpoints       string
	DefaultCheckpoint string
	ModelUpload       string
	MaxBundleBytes    Bytes
	ChangeTimeout     time.Duration
	GoldenTolerance   float64

	// Experiments
	ExperimentStore Secret
	ExperimentKey   Secret

	// Cache
	RedisURL         Secret
	RedisCA          string
	CacheKey         Secret
	CacheKeyPrevious Secret
	TextTTL          time.Duration
	ImageCacheBytes  Bytes
	ImageTTL         time.Duration
	ImageRedis       bool
	ImageRedisTTL    time.Duration

	// Telemetry
	OTLPEndpoint string
	TraceRatio   float64
	TraceQueue   int
	LogLevel     string
	LogFormat    string
	Trace        bool
	TraceBytes   Bytes

	// Program
	DataDir string
	URL     string
	APIKey  Secret
	URLCA   string

	Insecure bool
}

// declare lists every setting with the field it fills, in the order of the
// reference page. Nothing else knows a setting's key, default or bounds.
func (s *Settings) declare() []Setting {
	return slices.Concat(
		group("HTTP",
			of(&s.Listen, "listen", "127.0.0.1:8080",
				"Address the HTTP server listens on. Port 0 picks a free port.",
				listenAddress()),
			of(&s.OperationsListen, "operations-listen", "",
				"Address of a second HTTP server for /healthz, /readyz, /metrics and profiles (/debug/pprof/), such as "+
					"127.0.0.1:8081. It has its own connections, so probes get in when the main one is full, and asks for "+
					"no key. Profiles reveal code and memory: keep the address private. Empty: off; health and metrics "+
					"are always on the main server too.",
				listenAddress()),
			of(&s.RequestTimeout, "request-timeout", "30s",
				"Time budget of a scoring request, from the end of its header to the end of the answer. Work that can't "+
					"finish in time answers 504.",
				atLeast(25*time.Millisecond)),
			of(&s.DrainDelay, "drain-delay", "0s",
				"How long to keep serving with a failing /readyz after SIGTERM, until load balancers notice. serve waits 5s "+
					"if it's not set. At most 3/10 of drain-timeout.",
				atLeast[time.Duration](0)),
			of(&s.DrainTimeout, "drain-timeout", "24s",
				"How long a shutdown may take in all, from SIGTERM to the end of the process. Requests that are still under "+
					"way after 6/10 of it, drain-delay included, answer 503 draining; the rest is for Triton, stores and "+
					"telemetry. Give the process a little more before it is killed: a Kubernetes "+
					"terminationGracePeriodSeconds of 30.",
				atLeast(time.Second)),
			of(&s.MaxConnections, "max-connections", "2048",
				"Connections served at once. Further connections wait, as many again at most. Room is made by closing idle "+
					"connections, then silent ones, and then connections of the client that holds most, if another client "+
					"waits. Connections from trusted-proxies count one by one.",
				atLeast(1)),
			of(&s.MaxBodyBytes, "max-body-bytes", "64MiB",
				"Largest request body.",
				atLeast[Bytes](1)),
			of(&s.MaxImages, "max-images", "32",
				"Most images in one request.",
				atLeast(1)),
			of(&s.MaxRows, "max-rows", "0",
				"Most rows of one request for the encoder: its images times the distinct views of its checkpoints, cached "+
					"or not. An experiment's arms count together. 0: 8 times max-images.",
				atLeast(0)),
			of(&s.AdminKey, "admin-key", "",
				"API key that may do everything, such as create other keys. Empty: there is none, except that up, on a loopback "+
					"address, creates a key in data-dir (admin.key), where client commands on the same machine find it.",
				headerKey(16, 256)),
			of(&s.ScoringAccess, "scoring-access", "auto",
				"Who may score images, and read checkpoints and metrics. open: everybody. key: holders of an API key with "+
					"the scope score or read. auto: open if the server listens on a loopback address and has no "+
					"trusted-proxies, otherwise key. All other routes but the health checks and documents always need a "+
					"key.",
				oneOf("auto", "open", "key")),
			of(&s.TrustTraces, "trust-traces", "false",
				"Callers whose traces (traceparent) are continued: true for all, or a comma-separated list of "+
					"networks such as 10.0.0.0/8. Traces of other callers are linked, so that a stranger can't choose "+
					"trace ids. No caller can switch tracing off."),
			of(&s.TrustedProxies, "trusted-proxies", "",
				"Networks of the reverse proxies in front, comma-separated, such as 10.0.0.0/8. A request that comes from "+
					"one of them counts for the client that its X-Forwarded-For names: the last address there that isn't in "+
					"these networks. Rate limits and fair shares go by client. Empty: the header is ignored, and all "+
					"requests that come through one proxy are one client's."),
			of(&s.MaxBodyMemory, "max-body-memory", "512MiB",
				"Memory for the bodies of all requests together, parsing included. Requests beyond it answer 503 "+
					"overloaded. A client gets at most three times as much as it leaves free, and a quarter is reserved for "+
					"small bodies (up to 1/128 of the budget). One body of the largest size always fits.",
				atLeast[Bytes](1)),
			of(&s.MinBodyRate, "min-body-rate", "8KiB",
				"Bytes per second that a request body has to bring while it is read, measured over 4 seconds. A slower body "+
					"answers 408 request_timeout. 0: no minimum.",
				atLeast[Bytes](0)),
			of(&s.MemoryWatermark, "memory-watermark", "0.85",
				"Share of the memory limit (GOMEMLIMIT or the container's) above which scoring requests are rejected. "+
					"0: never. No effect without a limit.",
				between(0.0, 1)),
			of(&s.RateLimit, "rate-limit", "0",
				"Tokens that each client gets back in a second. A request costs one, a scoring request one for each view of "+
					"each image by each checkpoint, the diff of checkpoints and an experiment's status 5, its report 10, "+
					"probes and pages none. What is known only after the request was read is owed. Further requests answer "+
					"429 rate_limited. 0: no limit. A client is a valid API key, otherwise an address (IPv6: a /64). Servers "+
					"with the same redis-url share the limit; while Redis is away, each has its own.",
				atLeast(0.0)),
			of(&s.RateLimitBurst, "rate-limit-burst", "20",
				"Tokens that a client can save up.",
				atLeast(1)),
			of(&s.RateLimitKeys, "rate-limit-keys", "10000",
				"Clients that are remembered. Those with the most tokens are forgotten first.",
				atLeast(1)),
			of(&s.CORSOrigins, "cors-origins", "",
				"Origins whose web pages may call the API from a browser, comma-separated, such as "+
					"https://app.example. *: all of them. Empty: none. Cookies are never allowed. A page that knows the "+
					"admin key can send it.",
				webOrigins()),
			of(&s.AllowedHosts, "allowed-hosts", "",
				"Further names of this server in the Host header of requests, comma-separated, such as api.example or "+
					"localhost:9999: those by which a proxy, a tunnel or a published port makes it known. Loopback names, the "+
					"address that a request came in on and the hosts of cors-origins are always accepted; other names answer 421 "+
					"misdirected_request, so that a web page can't reach the server under a name of its own (DNS rebinding). "+
					"Empty: only a server that listens on a loopback address checks. *: nothing is checked.",
				hostNames()),
			of(&s.TLSCert, "tls-cert", "",
				"File with the server's certificate and the chain behind it, in PEM: the server speaks TLS 1.2 or later, and "+
					"no HTTP without it. Needs tls-key. Both files are looked at every few seconds; new ones are used for new "+
					"connections, and files that can't be used leave the old certificate in place. Empty: plain HTTP."),
			of(&s.TLSKey, "tls-key", "",
				"File with the key of tls-cert, in PEM."),
		),
		group("Images",
			of(&s.MaxImageBytes, "max-image-bytes", "20MiB",
				"Largest image file.",
				atLeast[Bytes](1)),
			of(&s.MaxImagePixels, "max-image-pixels", "25000000",
				"Most pixels (width times height) of an image, checked before decoding.",
				between[int64](1, 1<<40)),
			of(&s.MaxImageScans, "max-image-scans", "30",
				"Most scans of a progressive JPEG.",
				atLeast(1)),
			of(&s.Decoders, "decoders", "auto",
				"Deprecated, without effect: one decoder for each format runs on every machine.",
				oneOf("auto", "go")),
			of(&s.Preprocess, "preprocess", "exact",
				"exact: the pixels that training saw. fast: large JPEGs are downscaled while they are decoded. A "+
					"request can ask for the other one.",
				oneOf("exact", "fast")).readBy(UseRequest),
			of(&s.DecodeMemory, "decode-memory", "1GiB",
				"Memory for decoding images: images under way, buffers kept for the next ones, and what was used but isn't "+
					"collected yet. Further images wait. An image that needs more answers 422 image_decode_too_expensive. "+
					"docs/capacity.md says how much memory the whole process needs.",
				atLeast[Bytes](1)),
		),
		group("Scoring",
			of(&s.Concurrency, "concurrency", "0",
				"Scoring requests processed at once. 0: 16 per CPU.",
				atLeast(0)),
			of(&s.Queue, "queue", "256",
				"Scoring requests that may wait in the queue. Further requests answer 503 overloaded immediately, "+
					"those of the clients that have most in it first.",
				atLeast(0)),
			of(&s.QueueWait, "queue-wait", "0s",
				"Reject a request immediately (503 overloaded) if its estimated completion time, based on recent "+
					"throughput, exceeds this. Capped at half of the request's remaining time. 0s: that half.",
				atLeast[time.Duration](0)),
			of(&s.Batching, "batching", "auto",
				"What merges the single images of concurrent requests into one call. gateway: this program merges "+
					"calls that would wait for Triton anyway. triton: Triton's dynamic batcher, to which each image is a "+
					"separate call. auto: the one that decision 13 measured to be faster.",
				oneOf("auto", "gateway", "triton")),
			of(&s.BatchMax, "batch-max", "16",
				"Most rows, a view of an image each, in one call that the gateway merges.",
				atLeast(2)),
			of(&s.BatchWait, "batch-wait", "20ms",
				"Longest time a row waits for others while two calls are in flight. With fewer calls in flight it "+
					"doesn't wait.",
				above[time.Duration](0)),
		),
		group("Triton",
			of(&s.Triton, "triton", "",
				"gRPC addresses of Triton (port 8001 by default), comma-separated; unix:///PATH for a Unix socket. "+
					"Required by serve; up starts its own Triton.",
				serverAddresses()),
			of(&s.TritonConnections, "triton-connections", "1",
				"gRPC connections to each Triton. One connection carries a hundred inferences at a time.",
				between(1, 64)),
			of(&s.TritonControlKey, "triton-control-key", "",
				"Key of a Triton that was started with --grpc-restricted-protocol=model-repository,shared-memory,trace,"+
					"logging:control-key=KEY. Whoever may load models runs code there, so a Triton that others can "+
					"reach needs it. It is sent with every call: across a network, use triton-ca too. For serve only.",
				headerKey(16, 256)),
			of(&s.TritonCA, "triton-ca", "",
				"PEM file of the authorities that sign Triton's certificate (--grpc-use-ssl), or system for those of "+
					"this machine. Turns TLS on. For serve only."),
			of(&s.TritonCert, "triton-cert", "",
				"PEM file of the client certificate for a Triton that wants one (--grpc-use-ssl-mutual), with its chain. "+
					"It is read again for every new connection. Needs triton-key and triton-ca."),
			of(&s.TritonKey, "triton-key", "",
				"PEM file of the private key of triton-cert."),
			of(&s.ModelRepository, "model-repository", AutoRepository,
				"Folder of Triton models that up serves. auto: .cache/models of the project, with the default encoder, if "+
					"make models has built it; otherwise model_repository, with a small encoder. A relative path is "+
					"resolved against the working directory."),
			of(&s.Venv, "venv", ".venv",
				"Python environment that contains the embedded tritonserver."),
		),
		group("Checkpoints",
			of(&s.Checkpoints, "checkpoints", "demo/checkpoints",
				"Folder of prompt checkpoints, one bundle per sub-folder."),
			of(&s.DefaultCheckpoint, "default-checkpoint", "",
				"Checkpoint that scores when a request names none, if it was trained on the encoder in use. Otherwise: the "+
					"one that the encoder names, the one named demo, or the only one of that encoder. A default chosen at "+
					"run time (agiqa checkpoint activate) is kept in data-dir and takes precedence."),
			of(&s.ModelUpload, "model-upload", "auto",
				"How the models of imported checkpoints reach Triton. shared: as files in a model repository that "+
					"both can read (serve: model-repository; up: its own, in data-dir). upload: with the load call, for "+
					"servers that share no disk; such checkpoints have no ensemble, so a new image costs two calls "+
					"instead of one. auto: shared for up, upload for serve.",
				oneOf("auto", "shared", "upload")),
			of(&s.MaxBundleBytes, "max-bundle-bytes", "72MiB",
				"Largest body of a checkpoint import.",
				atLeast[Bytes](1)),
			of(&s.ChangeTimeout, "change-timeout", "5m",
				"Time budget of a checkpoint import, activation or removal, and of changes and reports of "+
					"experiments. It includes the warm-up of a new head on "+
					"a GPU.",
				above[time.Duration](0)),
			of(&s.GoldenTolerance, "golden-tolerance", "0.0001",
				"Largest difference allowed between a golden score and the computed score when a checkpoint is "+
					"imported, in the unit of the score. Encoders in FP16 may need more.",
				above(0.0)),
		),
		group("Experiments",
			of(&s.ExperimentStore, "experiment-store", "",
				"Where imported checkpoints, the choice of the default, API keys, experiments and their records are stored: a "+
					"SQLite file, or postgres://user:password@host/database for several gateways, which then serve the same. "+
					"Empty: experiments.db in data-dir. none: experiments and API keys are off, and checkpoints are in data-dir.",
				storeURL()),
			of(&s.ExperimentKey, "experiment-key", "",
				"Secret that assigns units to arms and hides them in records. Gateways that share a store need the "+
					"same key; another key moves units of running experiments to other arms. Empty: one is created in "+
					"data-dir (experiment.key).",
				minLength(16)),
		),
		group("Cache",
			of(&s.RedisURL, "redis-url", "",
				"Redis for text and image embeddings, such as redis://user:password@127.0.0.1:6379/0 (rediss:// for "+
					"TLS, unix:///path for a socket). Percent-encode special characters of the password. Redis Cluster "+
					"isn't supported. Empty: memory only.",
				urlOf[Secret]("redis", "rediss", "unix")),
			of(&s.RedisCA, "redis-ca", "",
				"PEM file of the authorities that sign the certificate of a rediss:// server. Empty: those of this machine."),
			of(&s.CacheKey, "cache-key", "",
				"Secret that authenticates what is kept in Redis, so that whoever else can write to it can't choose "+
					"scores. Servers that share a Redis need the same key to share values; with different keys they "+
					"don't disturb each other. Empty: one is created in data-dir (cache.key).",
				minLength(16)),
			of(&s.CacheKeyPrevious, "cache-key-previous", "",
				"The cache-key before the current one. Values under it are still read, and written again under the "+
					"current key. Remove it after text-ttl and image-redis-ttl have passed.",
				minLength(16)),
			of(&s.TextTTL, "text-ttl", "168h",
				"How long text embeddings stay in Redis (varied by a tenth, so that they don't expire together).",
				above[time.Duration](0)),
			of(&s.ImageCacheBytes, "image-cache-bytes", "64MiB",
				"Memory for image embeddings. 0: none are kept.",
				zeroOrAtLeast[Bytes](256<<10)),
			of(&s.ImageTTL, "image-ttl", "1h",
				"How long an image embedding stays in memory.",
				above[time.Duration](0)),
			of(&s.ImageRedis, "image-redis", "true",
				"Also keep image embeddings in Redis if redis-url is set, so that servers share them and they survive "+
					"a restart. An image that isn't in memory costs one round trip."),
			of(&s.ImageRedisTTL, "image-redis-ttl", "24h",
				"How long an image embedding stays in Redis (varied by a tenth). Each takes about 2.3 kB; give Redis "+
					"a maxmemory and the policy allkeys-lfu.",
				above[time.Duration](0)),
		),
		group("Telemetry",
			of(&s.OTLPEndpoint, "otlp-endpoint", "",
				"OTLP/HTTP base URL that traces are sent to, such as http://127.0.0.1:4318; /v1/traces at its end is "+
					"accepted. Empty: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT, unless "+
					"OTEL_TRACES_EXPORTER is none or OTEL_SDK_DISABLED is true; without these, traces aren't sent.",
				otlpBase()),
			of(&s.TraceRatio, "trace-ratio", "1",
				"Share of requests whose trace is recorded, decided by the trace id. 1: all, which a collector needs "+
					"to keep every error and every slow request.",
				aboveUpTo(0.0, 1)),
			of(&s.TraceQueue, "trace-queue", "65536",
				"Spans that may wait for the collector (a request creates about twenty). Further spans are dropped "+
					"and counted in agiqa_spans_total.",
				atLeast(2048)),
			of(&s.LogLevel, "log-level", "info",
				"Lowest level that is logged.",
				oneOf("debug", "info", "warn", "error")).readBy(UseProcess),
			of(&s.LogFormat, "log-format", "auto",
				"auto: text on a terminal, JSON elsewhere.",
				oneOf("auto", "json", "text")).readBy(UseProcess),
			of(&s.Trace, "trace", "false",
				"Keep the latest traces, including Triton's spans, in data-dir for agiqa trace show. They are still "+
					"sent to otlp-endpoint."),
			of(&s.TraceBytes, "trace-bytes", "128MiB",
				"Disk space for the kept traces. The older half is deleted when it's full.",
				atLeast[Bytes](1<<20)),
		),
		group("Program",
			of(&s.DataDir, "data-dir", ".agiqa",
				"Folder that the program writes to: imported checkpoints, the chosen default, the admin key that up "+
					"creates, run files and the log of tritonserver.").readBy(UseFolder),
			of(&s.URL, "url", "http://127.0.0.1:8080",
				"Server that client commands talk to.",
				urlOf[string]("http", "https")).readBy(UseProcess),
			of(&s.APIKey, "api-key", "",
				"API key that client commands send to the server at url. Administrative commands send admin-key in its "+
					"place if that is set; nothing else sends admin-key.",
				headerKey(16, 256)).readBy(UseProcess),
			of(&s.URLCA, "url-ca", "",
				"File with the certificates, in PEM, of authorities that client commands trust for an https url, instead of "+
					"those of this machine.").readBy(UseProcess),
			of(&s.Insecure, "insecure", "false",
				"Let client commands send a key over plain HTTP to another machine, where everybody on the way can read it.").
				readBy(UseProcess),
		),
	)
}
