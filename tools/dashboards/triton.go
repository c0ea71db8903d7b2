package main

func triton() dashboard {
	return dashboard{uid: "agiqa-triton", title: "agiqa: Triton", instances: "agiqa_triton_ejected", rows: []row{
		{"Gateway view", []panel{
			{title: "Calls, p95", kind: graph, unit: "s", warn: 0.25, bad: 0.5, exemplars: true,
				help:    "Network, queue and compute, by model type. Much higher than \"Compute time\": check the queue.",
				queries: one(`histogram_quantile(0.95, sum by (le, model) (rate(agiqa_triton_duration_seconds_bucket{instance=~"$instance",outcome="ok"}[$__rate_interval])))`, "{{model}}")},
			{title: "Calls by outcome", kind: graph, unit: "ops",
				help: "failed: the model. unreachable: the server or the network. late: slower than callers wait. refused: a " +
					"full queue, or a request that Triton rejects.",
				queries: one(`sum by (outcome) (rate(agiqa_triton_attempts_total{instance=~"$instance"}[$__rate_interval]))`,
					"{{outcome}}")},
			{title: "Ejected Tritons", kind: graph, unit: "short", warn: 1, bad: 2,
				help: "Servers that a gateway has ejected for failing. It retries them every two seconds. Above zero " +
					"for minutes: check that Triton's log.",
				queries: one(`max by (instance) (agiqa_triton_ejected{instance=~"$instance"})`, "{{instance}}")},
			{title: "Ejections and retries", kind: graph, unit: "ops",
				help: "How often a server was ejected, and how often a request was retried on another. no_budget: so many fail " +
					"that retries would only add load.",
				queries: []query{
					{`sum by (reason) (rate(agiqa_triton_ejections_total{instance=~"$instance"}[$__rate_interval]))`,
						"ejected: {{reason}}"},
					{`sum by (outcome) (rate(agiqa_triton_retries_total{instance=~"$instance"}[$__rate_interval]))`,
						"retry: {{outcome}}"},
				}},
			{title: "In-flight calls", kind: graph, unit: "short",
				help: "Calls in flight, and those whose caller has left. Many abandoned ones: Triton is " +
					"slower than callers wait.",
				queries: []query{
					{`sum(agiqa_triton_inferences_active{instance=~"$instance"})`, "active"},
					{`sum(agiqa_triton_inferences_abandoned{instance=~"$instance"})`, "abandoned"},
				}},
			{title: "Images per call, mean", kind: graph, unit: "short",
				help: "What the gateway batches. Near 1 under load: requests arrive one by one, or differ in their " +
					"checkpoint.",
				queries: one(`sum by (call) (rate(agiqa_batch_size_sum{instance=~"$instance"}[$__rate_interval])) / sum by (call) (rate(agiqa_batch_size_count{instance=~"$instance"}[$__rate_interval]))`, "{{call}}")},
		}},
		{"Triton view", []panel{
			{title: "Inferences a second by model", kind: graph, unit: "ops",
				help: "Images, not calls. The text encoder runs for new checkpoints only; if it runs all the time, the cache " +
					"of text embeddings isn't working.",
				queries: one(`sum by (model) (rate(nv_inference_count[$__rate_interval]))`, "{{model}}")},
			{title: "Batch size by model", kind: graph, unit: "short",
				help: "Images of one execution. Near 1 under load with a busy GPU: raise max_queue_delay in the model's " +
					"configuration.",
				queries: one(`sum by (model) (rate(nv_inference_count[$__rate_interval])) / sum by (model) (rate(nv_inference_exec_count[$__rate_interval]))`, "{{model}}")},
			{title: "Waiting, share of the time", kind: graph, unit: "percentunit", warn: 0.5, bad: 0.7, max: 1,
				help: "The share of a request's time in Triton that it waits in its queue. Above one half: the GPU is the " +
					"bottleneck. Add a replica, or let the gateway reject earlier (AGIQA_CONCURRENCY).",
				queries: one(`agiqa:triton_queue:ratio_rate5m`, "{{model}}")},
			{title: "Time in Triton's queue", kind: graph, unit: "µs",
				help:    "Mean wait of a request. It grows before anything fails.",
				queries: one(`sum by (model) (rate(nv_inference_queue_duration_us[$__rate_interval])) / sum by (model) (rate(nv_inference_request_success[$__rate_interval]))`, "{{model}}")},
			{title: "Compute time", kind: graph, unit: "µs",
				help: "Mean of an execution, without waiting. A jump without a model change: another program uses the GPU, " +
					"or it's throttled.",
				queries: one(`sum by (model) (rate(nv_inference_compute_infer_duration_us[$__rate_interval])) / sum by (model) (rate(nv_inference_exec_count[$__rate_interval]))`, "{{model}}")},
			{title: "Failures by model and reason", kind: graph, unit: "ops",
				help: "REJECTED: a full queue. BACKEND: a fault of the model, see Triton's log. CANCELED: callers that left.",
				queries: one(`sum by (model, reason) (rate(nv_inference_request_failure[$__rate_interval]))`,
					"{{model}} {{reason}}")},
		}},
		{"GPU", []panel{
			{title: "Requests waiting", kind: graph, unit: "short",
				help:    "In Triton, by model. A queue that doesn't drain between bursts means the server is too small.",
				queries: one(`sum by (model) (nv_inference_pending_request_count)`, "{{model}}")},
			{title: "Utilisation", kind: graph, unit: "percentunit", max: 1,
				help: "Busy at low rates: batches are small. Idle while requests wait: check the CPU and copies " +
					"to the GPU. Empty without a GPU.",
				queries: one(`nv_gpu_utilization`, "{{gpu_uuid}}")},
			{title: "Memory", kind: graph, unit: "percentunit", warn: 0.85, bad: 0.95, max: 1,
				help:    "Full: loading more models will fail. Remove unused checkpoints. Empty without a GPU.",
				queries: one(`nv_gpu_memory_used_bytes / nv_gpu_memory_total_bytes`, "{{gpu_uuid}}")},
		}},
	}}
}
