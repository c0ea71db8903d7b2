package metrics

import (
	"fmt"

	"github.com/agiqa/agiqa/internal/labels"
)

// Labels of several metrics. They come first: variables are initialized in the
// order of their declaration, and so the page is in the order of this file.
var (
	firstNames     = fmt.Sprintf("the first %d; then `%s`", labels.Most, labels.Other)
	call           = of("call", "ensemble", "encoder", "head")
	tritonOutcomes = of(outcomeLabel, OK, "failed", "unreachable", "late", "refused", "exchanged")
	cache          = of("cache", "text", "image")
	layer          = of("layer", "memory", "redis")
	experiment     = bounded("experiment", "ids of experiments, "+firstNames)
)

var (
	requests = newSection("Requests")

	// RequestDuration has buckets from a rejection (under a millisecond) to the
	// whole budget. 0.25, 0.5, 1 and 2.5 s are bounds because objectives and alerts
	// are about these: a quantile between two bounds is interpolated, a share below
	// one is exact.
	RequestDuration = requests.floatHistogram(Metric{
		Name: "agiqa.request.duration", Unit: "s",
		Help:    "Time from the end of a request's header to the end of its answer.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		Labels: []Label{
			of("method", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "_OTHER"),
			bounded("route", "the routes of the API, and `unmatched`"),
			bounded("status", "the HTTP statuses of the API, and 499 for a client that left"),
		},
	})
	RequestsActive = requests.upDownCounter(Metric{
		Name: "agiqa.requests.active", Unit: "{request}", Help: "Requests being handled.",
	})
	ConnectionsUnparsed = requests.counter(Metric{
		Name: "agiqa.connections.unparsed", Unit: "{connection}",
		Help: "Connections that sent no valid request: malformed, oversized or slow headers, or TLS.",
	})
	ConnectionsClosed = requests.counter(Metric{
		Name: "agiqa.connections.closed", Unit: "{connection}",
		Labels: []Label{of(reasonLabel, "idle", "silent", "largest", "queue")},
		Help: "Connections closed to make room for others at max-connections: idle ones, silent ones that had sent no " +
			"request, the oldest request of the client with the largest number of connections, and connections that " +
			"waited in a queue that was full.",
	})
	Problems = requests.counter(Metric{
		Name: "agiqa.problems", Unit: "{problem}", Labels: []Label{kinds(reasonLabel)},
		Help: "Requests answered with a problem, by its error code.",
	})
	AccessRefusals = requests.counter(Metric{
		Name: "agiqa.access.refusals", Unit: "{request}", Labels: []Label{of(reasonLabel, "missing", "scope", "malformed",
			"unknown", "secret", "expired", "revoked", "throttled", "unavailable")},
		Help: "Requests refused for their API key: there is none, it lacks the scope, it isn't of the right form, " +
			"nobody knows its ID, its secret is wrong, it expired, it was revoked, its client sent too many invalid " +
			"ones, or it can't be verified without the store.",
	})
	Images = requests.counter(Metric{
		Name: "agiqa.images", Unit: "{image}", Labels: []Label{
			of("format", "jpeg", "png", "webp", "gif", "unknown"), kinds(outcomeLabel, OK),
		},
		Help: "Images by format and outcome: ok, or the error code.",
	})
	ImagesCoalesced = requests.counter(Metric{
		Name: "agiqa.images.coalesced", Unit: "{image}",
		Help: "Views of images that took the embedding of the same view of an identical image in another request in " +
			"progress.",
	})
	ImagesDecoded = requests.counter(Metric{
		Name: "agiqa.images.decoded", Unit: "{image}", Labels: []Label{
			of("format", "jpeg", "png", "webp", "gif"), of("decoder", "go"),
		},
		Help: "Images that were decoded, by format and decoder.",
	})
	RowsEncoded = requests.counter(Metric{
		Name: "agiqa.rows.encoded", Unit: "{row}", Labels: []Label{of("size", "224", "448", "672", "896", "1120")},
		Help: "Rows that the image encoder embedded, a view of an image each, by the size that the image was resized to.",
	})
)

var (
	admission = newSection("Admission")

	GatewayRefusals = admission.counter(Metric{
		Name: "agiqa.gateway.refusals", Unit: "{request}",
		Labels: []Label{of(reasonLabel, "rate_limit", "memory", "body_memory")},
		Help:   "Requests rejected without work, by reason.",
	})
	AdmissionRefusals = admission.counter(Metric{
		Name: "agiqa.admission.refusals", Unit: "{request}", Labels: []Label{
			of(reasonLabel, "queue_full", "too_late"),
			of(outcomeLabel, "rejected_before_body", "rejected_after_body", "expired_in_queue", "expelled_from_queue"),
		},
		Help: "Scoring requests rejected by admission control because the queue was full or they could not meet " +
			"their deadline: before their body was read, after it, or while they were queued. expelled_from_queue: " +
			"their place in a full queue went to a client that had fewer requests there.",
	})
	QueueDepth = admission.gauge(Metric{
		Name: "agiqa.queue.depth", Unit: "{request}", Help: "Scoring requests in the queue.",
	})
	QueueWorking = admission.gauge(Metric{
		Name: "agiqa.queue.working", Unit: "{request}", Help: "Scoring requests being worked on.",
	})
	QueueWait = admission.floatGauge(Metric{
		Name: "agiqa.queue.wait", Unit: "s",
		Help: "Estimated completion time of a request that arrives now, from the throughput under load; " +
			"0 while the queue is empty.",
	})
	BodiesMemory = admission.gauge(Metric{
		Name: "agiqa.bodies.memory", Unit: "By", Help: "Bytes of request bodies in memory.",
	})
)

var (
	stages = newSection("Stages and batches")

	// StageDuration has buckets from a cache hit (tens of microseconds) to a
	// request that nearly used up its budget.
	StageDuration = stages.floatHistogram(Metric{
		Name: "agiqa.stage.duration", Unit: "s",
		Labels: []Label{of("stage", "read", "inspect", "admission", "prepare", "decode", "resize", "lookup", "follow",
			"texts", "encode", "ensemble", "head", "panel", "experiment.assign", "experiment.expose")},
		Buckets: []float64{
			.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30,
		},
		Help: "Time that a request spent in one stage of scoring.",
	})
	BatchSize = stages.histogram(Metric{
		Name: "agiqa.batch.size", Unit: "{row}", Labels: []Label{call},
		Buckets: []float64{1, 2, 4, 8, 16, 32, 64},
		Help:    "Rows of one call to Triton, a view of an image each, by what is called.",
	})
	BatchSplits = stages.counter(Metric{
		Name: "agiqa.batch.splits", Unit: "{batch}", Labels: []Label{call},
		Help: "Batches that failed and whose requests were sent one by one.",
	})
)

var (
	triton = newSection("Triton")

	// TritonDuration has buckets from a head on an idle machine (under a
	// millisecond) over a batch on a busy one to the whole budget of a request. They
	// are densest from 1 to 100 ms, where a GPU's answers lie and where an alert has
	// to distinguish slow from usual.
	TritonDuration = triton.floatHistogram(Metric{
		Name: "agiqa.triton.duration", Unit: "s", Labels: []Label{
			of("model", "image_encoder", "text_encoder", "ensemble", "head", "panel", "_other"), tritonOutcomes,
		},
		Buckets: []float64{
			.0005, .001, .002, .004, .006, .01, .015, .025, .04, .06, .1, .15, .25, .5, 1, 2.5, 5, 10, 30,
		},
		Help: "Time from sending an inference to a Triton to its answer, by model type and outcome.",
	})
	TritonAttempts = triton.counter(Metric{
		Name: "agiqa.triton.attempts", Unit: "{attempt}", Labels: []Label{tritonOutcomes},
		Help: "Inferences sent to a Triton, by outcome; late: the deadline came first; exchanged: answered, but not " +
			"proven to be of the encoder that the request began with.",
	})
	TritonRetries = triton.counter(Metric{
		Name: "agiqa.triton.retries", Unit: "{attempt}", Labels: []Label{of(outcomeLabel, "sent", "no_budget")},
		Help: "Failed inferences that were retried on another Triton, or were not because the retry budget was used up.",
	})
	TritonEncoders = triton.gauge(Metric{
		Name: "agiqa.triton.encoders", Unit: "{encoder}",
		Help: "Different encoders that the Tritons hold. Above 1, those with the one in use get all the work.",
	})
	TritonEjections = triton.counter(Metric{
		Name: "agiqa.triton.ejections", Unit: "{ejection}",
		Labels: []Label{of(reasonLabel, "unreachable", "late", "errors")},
		Help:   "Times that a Triton was ejected, by reason.",
	})
	TritonEjected = triton.gauge(Metric{Name: "agiqa.triton.ejected", Help: "Tritons that are ejected."})

	TritonInferencesActive = triton.gauge(Metric{
		Name: "agiqa.triton.inferences.active", Unit: "{inference}", Help: "Inferences in flight.",
	})
	TritonInferencesAbandoned = triton.gauge(Metric{
		Name: "agiqa.triton.inferences.abandoned", Unit: "{inference}",
		Help: "Inferences in flight whose caller has left.",
	})
)

var (
	caches = newSection("Caches")

	CacheRequests = caches.counter(Metric{
		Name: "agiqa.cache.requests", Unit: "{request}",
		Labels: []Label{cache, layer, of(outcomeLabel, "hit", "miss", "error", "invalid")},
		Help:   "Reads of a cache layer, by outcome.",
	})
	CacheErrors = caches.counter(Metric{
		Name: "agiqa.cache.errors", Unit: "{error}", Labels: []Label{
			cache, layer, of("operation", "read", "write", "delete"),
			of(reasonLabel, "timeout", "refused", "closed", "oom", "readonly", "loading", "noauth", "moved", "wrongtype", "mac",
				"protocol", "size", "invalid", "unavailable", "dropped", "cancelled", "other"),
		},
		Help: "Failed operations on a cache layer, by reason.",
	})
	CacheMemoryEntries = caches.gauge(Metric{
		Name: "agiqa.cache.memory.entries", Unit: "{entry}", Labels: []Label{cache}, Help: "Entries in memory.",
	})
	CacheMemoryBytes = caches.gauge(Metric{
		Name: "agiqa.cache.memory.bytes", Unit: "By", Labels: []Label{cache}, Help: "Keys and values in memory.",
	})
	CacheMemoryBudget = caches.gauge(Metric{
		Name: "agiqa.cache.memory.budget", Unit: "By", Labels: []Label{cache}, Help: "Limit of agiqa.cache.memory.bytes.",
	})
	CacheMemoryEvictions = caches.observedCounter(Metric{
		Name: "agiqa.cache.memory.evictions", Unit: "{entry}", Labels: []Label{cache},
		Help: "Entries that were evicted to make room or expired.",
	})
	CacheRedisAvailable = caches.gauge(Metric{
		Name: "agiqa.cache.redis.available",
		Help: "1 while the Redis cache is used, 0 while its circuit breaker is open.",
	})
)

var (
	checkpoints = newSection("Checkpoints and readiness")

	CheckpointScores = checkpoints.counter(Metric{
		Name: "agiqa.checkpoint.scores", Unit: "{score}", Labels: []Label{
			bounded("checkpoint", "names of checkpoints that exist, "+firstNames), of(outcomeLabel, OK, "error"),
		},
		Help: "Images scored by each checkpoint: ok, or error where the image was valid and this checkpoint " +
			"returned no score.",
	})
	CheckpointChanges = checkpoints.counter(Metric{
		Name: "agiqa.checkpoint.changes", Unit: "{change}", Labels: []Label{
			of("change", "import", "activate", "rollback", "remove", "encoder"), kinds(outcomeLabel, OK),
		},
		Help: "Requested changes of checkpoints and of the encoder, by outcome: ok, or the error code.",
	})
	StateRevision = checkpoints.gauge(Metric{
		Name: "agiqa.state.revision", Unit: "{revision}", Labels: []Label{of("which", "served", "wanted")},
		Help: "Revision of the desired state of checkpoints that this gateway serves, and the latest that it has seen in " +
			"the store. They differ while checkpoints are loaded.",
	})
	StateStore = checkpoints.gauge(Metric{
		Name: "agiqa.state.store", Help: "1 while the store of the desired state answers, 0 while it can't be reached " +
			"and this gateway serves what it knows.",
	})
	Ready = checkpoints.gauge(Metric{
		Name: "agiqa.ready", Help: "1 while /readyz reports that this server can score, 0 while it can't.",
	})
	ReadinessFailing = checkpoints.gauge(Metric{
		Name: "agiqa.readiness.failing", Unit: "{check}", Labels: []Label{
			bounded("check", "the first words of the checks that /readyz lists"), of("critical", "true", "false"),
		},
		Help: "Failing readiness checks, by what they check; critical ones make the server unready.",
	})
)

var (
	experiments = newSection("Experiments")

	ExperimentExposures = experiments.counter(Metric{
		Name: "agiqa.experiment.exposures", Unit: "{image}", Labels: []Label{
			experiment, bounded("arm", "arms of that experiment"), kinds(outcomeLabel, OK),
		},
		Help: "Images shown in an experiment and recorded, by assigned arm and outcome: ok, or the error code.",
	})
	ExperimentLeft = experiments.counter(Metric{
		Name: "agiqa.experiment.left", Unit: "{request}",
		Labels: []Label{experiment, of(reasonLabel, "audience", "no_unit", "coverage")},
		Help:   "Requests that an experiment did not enrol, by reason.",
	})
	ExperimentDegraded = experiments.counter(Metric{
		Name: "agiqa.experiment.degraded", Unit: "{image}", Labels: []Label{experiment},
		Help: "Images answered by the control because no record could be written.",
	})
	Feedback = experiments.counter(Metric{
		Name: "agiqa.feedback", Unit: "{label}", Labels: []Label{
			of("kind", "mos", "pair", "thumb", "choice"),
			kinds(outcomeLabel, "accepted", "orphan", "late", "superseded", "contradictory", "duplicate"),
		},
		Help: "Feedback, by kind and outcome.",
	})
	FeedbackOrphansRefused = experiments.counter(Metric{
		Name: "agiqa.feedback.orphans.refused", Unit: "{label}", Labels: []Label{of("limit", "key", "total")},
		Help: "Feedback that was refused because too much of it waits for its exposure, of one key's or in total.",
	})
	ExperimentTasks = experiments.counter(Metric{
		Name: "agiqa.experiment.tasks", Unit: "{task}", Labels: []Label{experiment},
		Help: "Labelling tasks that were issued.",
	})
	ExperimentImages = experiments.gauge(Metric{
		Name: "agiqa.experiment.images", Unit: "{image}",
		Help: "Images of experiments that have not ended, as far as they are remembered: at most 1,000,000. Beyond that, " +
			"each scored image is looked up in the experiment store.",
	})
	ExperimentGuardrailTrips = experiments.counter(Metric{
		Name: "agiqa.experiment.guardrail.trips", Unit: "{trip}", Labels: []Label{
			experiment,
			of("guardrail", "error_rate", "head_latency_p99", "score_drift", "saturation", "constant_output", "srm",
				"multiple_exposure", "no_traffic", "store_degraded"),
			of("action", "warn", "hold", "rollback"),
		},
		Help: "Guardrails that tripped, by kind and action.",
	})
	ExperimentStoreFailures = experiments.counter(Metric{
		Name: "agiqa.experiment.store.failures", Unit: "{call}",
		Labels: []Label{of("call", "list", "exposure", "exposures", "feedback", "sightings")},
		Help:   "Failed calls of the experiment store, by call.",
	})
)

var (
	process = newSection("Spans, disk and certificate")

	Spans = process.observedCounter(Metric{
		Name: "agiqa.spans", Unit: "{span}",
		Labels: []Label{of(outcomeLabel, "ended", "exported", "failed", "dropped")},
		Help: "Spans: ended (all of them), exported, failed (their export was abandoned) or dropped (the queue was " +
			"full). Those that ended and are none of the others are queued.",
	})
	SpansQueued = process.gauge(Metric{
		Name: "agiqa.spans.queued", Unit: "{span}", Help: "Spans that wait for export or are being exported.",
	})
	TLSExpiry = process.gauge(Metric{
		Name: "agiqa.tls.expiry", Unit: "s",
		Help: "Unix time at which the certificate of the server (tls-cert) expires. Absent without TLS.",
	})
	TLSReloads = process.counter(Metric{
		Name: "agiqa.tls.reloads", Unit: "{reload}", Labels: []Label{of(outcomeLabel, OK, "failed")},
		Help: "Changes of the files of tls-cert and tls-key: ok (the new certificate is used) or failed (the old one stays " +
			"in use; the log says why).",
	})
	DiskFree = process.gauge(Metric{
		Name: "agiqa.disk.free", Unit: "By",
		Help: "Bytes that this program may still write to the file system of data-dir.",
	})
	DiskSize = process.gauge(Metric{
		Name: "agiqa.disk.size", Unit: "By", Help: "Size of the file system of data-dir.",
	})
)

// Libraries that make metrics.
const (
	grpcMetrics      = "OpenTelemetry's instrumentation of gRPC"
	goMetrics        = "OpenTelemetry's instrumentation of Go's runtime"
	prometheusClient = "Prometheus' client"
)

var _ = newSection("Made by libraries", []Metric{
	{Name: "rpc_client_call_duration_seconds", Type: Histogram, Unit: "s", From: grpcMetrics, Labels: []Label{
		bounded("rpc_method", "methods of the protocol"), bounded("rpc_response_status_code", "codes of gRPC"),
		of("rpc_system_name", "grpc"), bounded("server_address", "the configured Tritons"),
		bounded("server_port", "the configured Tritons"), bounded("error_type", "codes of gRPC"),
	}, Help: "Calls of Triton, those of readiness and model control included."},
	{Name: "go_goroutine_count", Type: Gauge, Unit: "{goroutine}", From: goMetrics, Help: "Goroutines."},
	{Name: "go_schedule_duration_seconds", Type: Histogram, Unit: "s", From: goMetrics,
		Help: "How long goroutines waited for a processor: when it grows, the machine is the bottleneck."},
	{Name: "go_memory_used_bytes", Type: Gauge, Unit: "By", From: goMetrics,
		Labels: []Label{of("go_memory_type", "stack", "other")}, Help: "Memory of the runtime."},
	{Name: "go_memory_limit_bytes", Type: Gauge, Unit: "By", From: goMetrics,
		Help: "GOMEMLIMIT; without it the sum of what the settings allow, or the container's limit less a tenth if that " +
			"is less."},
	{Name: "go_memory_allocated_bytes", Type: Counter, Unit: "By", From: goMetrics,
		Help: "Memory that was allocated."},
	{Name: "go_memory_allocations", Type: Counter, Unit: "{allocation}", From: goMetrics, Help: "Allocations."},
	{Name: "go_memory_gc_goal_bytes", Type: Gauge, Unit: "By", From: goMetrics,
		Help: "Size of the heap at which the next collection ends."},
	{Name: "go_config_gogc_percent", Type: Gauge, Unit: "%", From: goMetrics, Help: "GOGC."},
	{Name: "go_processor_limit", Type: Gauge, Unit: "{thread}", From: goMetrics, Help: "GOMAXPROCS."},
	{Name: "process_cpu_seconds", Type: Counter, Unit: "s", From: prometheusClient, Help: "Processor time."},
	{Name: "process_resident_memory_bytes", Type: Gauge, Unit: "By", From: prometheusClient,
		Help: "Memory as the system counts it, C libraries included."},
	{Name: "process_virtual_memory_bytes", Type: Gauge, Unit: "By", From: prometheusClient,
		Help: "Address space."},
	{Name: "process_virtual_memory_max_bytes", Type: Gauge, Unit: "By", From: prometheusClient,
		Help: "Limit of the address space."},
	{Name: "process_open_fds", Type: Gauge, From: prometheusClient, Help: "Open files and connections."},
	{Name: "process_max_fds", Type: Gauge, From: prometheusClient, Help: "Limit of open files and connections."},
	{Name: "process_start_time_seconds", Type: Gauge, Unit: "s", From: prometheusClient,
		Help: "When the program started, since 1970."},
	{Name: "process_network_receive_bytes", Type: Counter, Unit: "By", From: prometheusClient,
		Help: "Bytes that the network name space received."},
	{Name: "process_network_transmit_bytes", Type: Counter, Unit: "By", From: prometheusClient,
		Help: "Bytes that it sent."},
	{Name: "promhttp_metric_handler_errors", Type: Counter, From: prometheusClient,
		Labels: []Label{of("cause", "encoding", "gathering")}, Help: "Scrapes that failed."},
	{Name: "target_info", Type: Gauge, From: "OpenTelemetry's exporter", Labels: []Label{
		of("service_name", "agiqa"), bounded("service_version", "one at a time"),
	}, Help: "Always 1: its labels say which version runs."},
}...)
