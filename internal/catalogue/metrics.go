package catalogue

import "slices"

// All returns every metric, in the order of the page.
func All() []Metric {
	return slices.Concat(requests(), admission(), stages(), triton(), caches(), checkpoints(), experiments(), program(), libraries())
}

func requests() []Metric {
	return []Metric{
		{Name: "agiqa.request.duration", Type: Histogram, Unit: "s", Labels: []Label{
			of("method", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "_OTHER"),
			bounded("route", "the routes of the API, and `unmatched`"),
			bounded("status", "the statuses of the API, and 499 for a client that left"),
		}, Says: "Time from the end of a request's header to the end of its answer."},
		{Name: "agiqa.requests.active", Type: Gauge, Unit: "{request}", Says: "Requests being handled."},
		{Name: "agiqa.connections.unparsed", Type: Counter, Unit: "{connection}",
			Says: "Connections that sent no valid request: malformed, oversized or slow headers, or TLS."},
		{Name: "agiqa.problems", Type: Counter, Unit: "{problem}", Labels: []Label{kinds("code")},
			Says: "Requests answered with a problem, by its code."},
		{Name: "agiqa.images", Type: Counter, Unit: "{image}", Labels: []Label{
			of("format", "jpeg", "png", "webp", "gif", "unknown"), kinds("outcome", "ok"),
		}, Says: "Images by format and outcome: ok, or the code of the error."},
		{Name: "agiqa.images.coalesced", Type: Counter, Unit: "{image}",
			Says: "Images that took the embedding of an equal image in another request under way."},
	}
}

func admission() []Metric {
	return []Metric{
		{Name: "agiqa.gateway.refusals", Type: Counter, Unit: "{request}", Labels: []Label{of("reason", "rate_limit", "memory", "body_memory")},
			Says: "Scoring requests turned away without work: rate_limit, memory, body_memory."},
		{Name: "agiqa.admission.refusals", Type: Counter, Unit: "{request}", Labels: []Label{
			of("reason", "queue_full", "too_late"), of("at", "before_body", "queue", "turn"),
		}, Says: "Scoring requests that were refused at once: queue_full, or too_late to be done in their time; before their body was read, at the queue, or when their turn came."},
		{Name: "agiqa.queue.depth", Type: Gauge, Unit: "{request}", Says: "Scoring requests that wait for their turn."},
		{Name: "agiqa.queue.working", Type: Gauge, Unit: "{request}", Says: "Scoring requests that have their turn."},
		{Name: "agiqa.queue.wait", Type: Gauge, Unit: "s",
			Says: "How long a request that came now would take, at the pace of the last ones under load; 0 while nothing waits."},
		{Name: "agiqa.bodies.memory", Type: Gauge, Unit: "By", Says: "Bytes of request bodies that are in memory."},
	}
}

func stages() []Metric {
	return []Metric{
		{Name: "agiqa.stage.duration", Type: Histogram, Unit: "s", Labels: []Label{of("stage",
			"read", "sniff", "admission", "prepare", "decode", "resize", "lookup", "follow", "texts", "encode", "ensemble", "judge", "panel",
			"experiment.assign", "experiment.expose")},
			Says: "Time that a request spent in one stage of scoring."},
		{Name: "agiqa.batch.size", Type: Histogram, Unit: "{image}", Labels: []Label{of("call", "ensemble", "encoder", "head")},
			Says: "Images of one call to Triton, by what is called: ensemble, encoder or head."},
		{Name: "agiqa.batch.splits", Type: Counter, Unit: "{batch}", Labels: []Label{of("call", "ensemble", "encoder", "head")},
			Says: "Batches that failed and whose requests were sent one by one."},
	}
}

func triton() []Metric {
	outcomes := of("outcome", "ok", "failed", "unreachable", "late", "refused")
	return []Metric{
		{Name: "agiqa.triton.duration", Type: Histogram, Unit: "s", Labels: []Label{
			of("model", "image_encoder", "text_encoder", "ensemble", "head", "panel", "_other"), outcomes,
		}, Says: "Time from sending an inference to a Triton to its answer, by sort of model and outcome."},
		{Name: "agiqa.triton.attempts", Type: Counter, Unit: "{attempt}", Labels: []Label{outcomes}, Says: "Inferences sent to a Triton, by outcome; late: the deadline came first."},
		{Name: "agiqa.triton.retries", Type: Counter, Unit: "{attempt}", Labels: []Label{of("outcome", "sent", "no_budget")},
			Says: "Inferences that were, or for want of budget were not, sent to a second Triton."},
		{Name: "agiqa.triton.ejections", Type: Counter, Unit: "{ejection}", Labels: []Label{of("reason", "unreachable", "late", "errors")},
			Says: "Times that a Triton was taken out, by reason."},
		{Name: "agiqa.triton.ejected", Type: Gauge, Says: "Tritons that get no work at the moment."},
		{Name: "agiqa.triton.inferences.active", Type: Gauge, Unit: "{inference}", Says: "Inferences that no Triton has answered yet."},
		{Name: "agiqa.triton.inferences.abandoned", Type: Gauge, Unit: "{inference}",
			Says: "Inferences under way that no caller waits for any more."},
	}
}

func caches() []Metric {
	cache, layer := of("cache", "text", "image"), of("layer", "memory", "redis")
	return []Metric{
		{Name: "agiqa.cache.requests", Type: Counter, Unit: "{request}", Labels: []Label{cache, layer, of("result", "hit", "miss", "error", "invalid")},
			Says: "Reads of a cache layer by their result."},
		{Name: "agiqa.cache.errors", Type: Counter, Unit: "{error}", Labels: []Label{cache, layer, of("operation", "read", "write", "delete"),
			of("reason", "timeout", "refused", "closed", "oom", "readonly", "loading", "noauth", "moved", "wrongtype", "protocol", "size", "invalid", "unavailable", "dropped", "cancelled", "other")},
			Says: "Operations on a cache layer that went wrong, by reason."},
		{Name: "agiqa.cache.memory.entries", Type: Gauge, Unit: "{entry}", Labels: []Label{cache}, Says: "Entries in memory."},
		{Name: "agiqa.cache.memory.bytes", Type: Gauge, Unit: "By", Labels: []Label{cache}, Says: "Keys and values in memory."},
		{Name: "agiqa.cache.memory.budget", Type: Gauge, Unit: "By", Labels: []Label{cache}, Says: "What agiqa.cache.memory.bytes is held to."},
		{Name: "agiqa.cache.memory.evictions", Type: Counter, Unit: "{entry}", Labels: []Label{cache},
			Says: "Entries that went to make room or with their time."},
		{Name: "agiqa.cache.redis.available", Type: Gauge, Says: "1 while the Redis cache is being asked, 0 while its circuit breaker is open."},
	}
}

func checkpoints() []Metric {
	return []Metric{
		{Name: "agiqa.checkpoint.scores", Type: Counter, Unit: "{score}", Labels: []Label{
			bounded("checkpoint", "names of checkpoints that are there, the first 64; then `_other`"), of("outcome", "ok", "error"),
		}, Says: "Verdicts on images by checkpoint and outcome: ok, or error where the image was sound and this checkpoint gave no score."},
		{Name: "agiqa.checkpoint.changes", Type: Counter, Unit: "{change}", Labels: []Label{
			of("change", "import", "activate", "rollback", "remove"), kinds("outcome", "ok"),
		}, Says: "Changes of checkpoints that were asked for, by outcome: ok, or the code of the error."},
		{Name: "agiqa.ready", Type: Gauge, Says: "1 while /readyz says that this server can score, 0 while it does not."},
		{Name: "agiqa.readiness.failing", Type: Gauge, Unit: "{check}", Labels: []Label{
			bounded("check", "the first words of the checks that /readyz lists"), of("critical", "true", "false"),
		}, Says: "Checks of readiness that fail, by what they look at; critical ones make the server unready."},
	}
}

func experiments() []Metric {
	experiment := bounded("experiment", "ids of experiments, the first 64 to run; then `_other`")
	return []Metric{
		{Name: "agiqa.experiment.exposures", Type: Counter, Unit: "{image}", Labels: []Label{
			experiment, bounded("arm", "arms of that experiment"), kinds("status", "ok"),
		}, Says: "Images shown in an experiment and recorded, by the arm that they were assigned to and by outcome."},
		{Name: "agiqa.experiment.left", Type: Counter, Unit: "{request}", Labels: []Label{experiment, of("why", "audience", "no_unit", "coverage")},
			Says: "Requests that an experiment did not take, by why: audience, no_unit, coverage."},
		{Name: "agiqa.experiment.degraded", Type: Counter, Unit: "{image}", Labels: []Label{experiment},
			Says: "Images answered by the control because no record could be written."},
		{Name: "agiqa.feedback", Type: Counter, Unit: "{label}", Labels: []Label{
			of("kind", "mos", "pair", "thumb", "choice"), kinds("standing", "accepted", "orphan", "late", "superseded", "contradictory", "duplicate"),
		}, Says: "Feedback by kind and by what became of it."},
		{Name: "agiqa.experiment.guardrail.trips", Type: Counter, Unit: "{trip}", Labels: []Label{
			experiment,
			of("guardrail", "error_rate", "head_latency_p99", "score_drift", "saturation", "constant_output", "srm", "multiple_exposure", "no_traffic", "store_degraded"),
			of("action", "warn", "hold", "rollback"),
		}, Says: "Guardrails that were broken, by kind and action."},
		{Name: "agiqa.experiment.store.failures", Type: Counter, Unit: "{call}", Labels: []Label{of("call", "list", "exposure", "exposures", "feedback")},
			Says: "Calls of the store of experiments that failed, by what was called."},
	}
}

func program() []Metric {
	return []Metric{
		{Name: "agiqa.spans", Type: Counter, Unit: "{span}", Labels: []Label{of("outcome", "ended", "exported", "failed", "dropped")},
			Says: "Spans by what became of them: ended (all of them), exported, failed (their export was given up) or dropped (the queue was full). What ended and is none of the others is queued."},
		{Name: "agiqa.spans.queued", Type: Gauge, Unit: "{span}", Says: "Spans that wait for export or are being exported."},
		{Name: "agiqa.disk.free", Type: Gauge, Unit: "By", Says: "Bytes that this program may still write to the file system of data-dir."},
		{Name: "agiqa.disk.size", Type: Gauge, Unit: "By", Says: "Size of the file system of data-dir."},
	}
}

// libraries are metrics that libraries make.
func libraries() []Metric {
	const grpc, golang, process = "OpenTelemetry's instrumentation of gRPC", "OpenTelemetry's instrumentation of Go's runtime", "Prometheus' client"
	return []Metric{
		{Name: "rpc_client_call_duration_seconds", Type: Histogram, Unit: "s", From: grpc, Labels: []Label{
			bounded("rpc_method", "methods of the protocol"), bounded("rpc_response_status_code", "codes of gRPC"), of("rpc_system_name", "grpc"),
			bounded("server_address", "the configured Tritons"), bounded("server_port", "the configured Tritons"), bounded("error_type", "codes of gRPC"),
		}, Says: "Calls of Triton, those of readiness and model control included."},
		{Name: "go_goroutine_count", Type: Gauge, Unit: "{goroutine}", From: golang, Says: "Goroutines."},
		{Name: "go_schedule_duration_seconds", Type: Histogram, Unit: "s", From: golang, Says: "How long goroutines waited for a processor: when it grows, the machine is the bottleneck."},
		{Name: "go_memory_used_bytes", Type: Gauge, Unit: "By", From: golang, Labels: []Label{of("go_memory_type", "stack", "other")}, Says: "Memory of the runtime."},
		{Name: "go_memory_limit_bytes", Type: Gauge, Unit: "By", From: golang, Says: "GOMEMLIMIT, or the container's limit less a tenth; absent without one."},
		{Name: "go_memory_allocated_bytes", Type: Counter, Unit: "By", From: golang, Says: "Memory that was allocated."},
		{Name: "go_memory_allocations", Type: Counter, Unit: "{allocation}", From: golang, Says: "Allocations."},
		{Name: "go_memory_gc_goal_bytes", Type: Gauge, Unit: "By", From: golang, Says: "Size of the heap at which the next collection ends."},
		{Name: "go_config_gogc_percent", Type: Gauge, Unit: "%", From: golang, Says: "GOGC."},
		{Name: "go_processor_limit", Type: Gauge, Unit: "{thread}", From: golang, Says: "GOMAXPROCS."},
		{Name: "process_cpu_seconds", Type: Counter, Unit: "s", From: process, Says: "Processor time."},
		{Name: "process_resident_memory_bytes", Type: Gauge, Unit: "By", From: process, Says: "Memory as the system counts it, C libraries included."},
		{Name: "process_virtual_memory_bytes", Type: Gauge, Unit: "By", From: process, Says: "Address space."},
		{Name: "process_virtual_memory_max_bytes", Type: Gauge, Unit: "By", From: process, Says: "Limit of the address space."},
		{Name: "process_open_fds", Type: Gauge, From: process, Says: "Open files and connections."},
		{Name: "process_max_fds", Type: Gauge, From: process, Says: "Limit of open files and connections."},
		{Name: "process_start_time_seconds", Type: Gauge, Unit: "s", From: process, Says: "When the program started, since 1970."},
		{Name: "process_network_receive_bytes", Type: Counter, Unit: "By", From: process, Says: "Bytes that the network name space received."},
		{Name: "process_network_transmit_bytes", Type: Counter, Unit: "By", From: process, Says: "Bytes that it sent."},
		{Name: "promhttp_metric_handler_errors", Type: Counter, From: process, Labels: []Label{of("cause", "encoding", "gathering")}, Says: "Scrapes that failed."},
		{Name: "target_info", Type: Gauge, From: "OpenTelemetry's exporter", Labels: []Label{
			of("service_name", "agiqa"), bounded("service_version", "one at a time"),
		}, Says: "Always 1: its labels say which version runs."},
	}
}
