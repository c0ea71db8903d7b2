package main

func triton() dashboard {
	return dashboard{uid: "agiqa-triton", title: "agiqa: Triton", instances: "agiqa_triton_ejected", rows: []row{
		{"As the gateways see it", []panel{
			{title: "Calls, p95", kind: graph, unit: "s", warn: 0.25, bad: 0.5, exemplars: true,
				says:    "Network, queue and computing, by sort of model. Higher than \"Compute time\" by much: look at the queue.",
				queries: one(`histogram_quantile(0.95, sum by (le, model) (rate(agiqa_triton_duration_seconds_bucket{instance=~"$instance",outcome="ok"}[$__rate_interval])))`, "{{model}}")},
			{title: "Calls by outcome", kind: graph, unit: "ops",
				says: "failed: the model. unreachable: the server or the network. late: slower than callers wait. refused: a " +
					"full queue, or a request that Triton does not take.",
				queries: one(`sum by (outcome) (rate(agiqa_triton_attempts_total{instance=~"$instance"}[$__rate_interval]))`,
					"{{outcome}}")},
			{title: "Tritons without work", kind: graph, unit: "short", warn: 1, bad: 2,
				says: "Servers that a gateway has taken out for failing. They are tried again every two seconds. Not nought " +
					"for minutes: look at that Triton's log.",
				queries: one(`max by (instance) (agiqa_triton_ejected{instance=~"$instance"})`, "{{instance}}")},
			{title: "Ejections and second attempts", kind: graph, unit: "ops",
				says: "How often a server was taken out, and how often a request went to another one. no_budget: so many fail " +
					"that second attempts would only add load.",
				queries: []query{
					{`sum by (reason) (rate(agiqa_triton_ejections_total{instance=~"$instance"}[$__rate_interval]))`,
						"ejected: {{reason}}"},
					{`sum by (outcome) (rate(agiqa_triton_retries_total{instance=~"$instance"}[$__rate_interval]))`,
						"second attempt: {{outcome}}"},
				}},
			{title: "Under way", kind: graph, unit: "short",
				says: "Calls without an answer, and of these the ones that nobody waits for. Many abandoned ones: Triton is " +
					"slower than callers' patience.",
				queries: []query{
					{`sum(agiqa_triton_inferences_active{instance=~"$instance"})`, "active"},
					{`sum(agiqa_triton_inferences_abandoned{instance=~"$instance"})`, "abandoned"},
				}},
			{title: "Images of one call, mean", kind: graph, unit: "short",
				says: "What the gateway puts together. Near 1 under load: requests come one by one, or differ in their " +
					"checkpoint.",
				queries: one(`sum by (call) (rate(agiqa_batch_size_sum{instance=~"$instance"}[$__rate_interval])) / sum by (call) (rate(agiqa_batch_size_count{instance=~"$instance"}[$__rate_interval]))`, "{{call}}")},
		}},
		{"As Triton sees it", []panel{
			{title: "Inferences a second by model", kind: graph, unit: "ops",
				says: "Images, not calls. The text encoder runs when a checkpoint is new; all the time means that the cache " +
					"of text embeddings does not work.",
				queries: one(`sum by (model) (rate(nv_inference_count[$__rate_interval]))`, "{{model}}")},
			{title: "Batch size by model", kind: graph, unit: "short",
				says: "Images of one execution. Near 1 under load with a busy GPU: raise max_queue_delay in the model's " +
					"configuration.",
				queries: one(`sum by (model) (rate(nv_inference_count[$__rate_interval])) / sum by (model) (rate(nv_inference_exec_count[$__rate_interval]))`, "{{model}}")},
			{title: "Waiting, share of the time", kind: graph, unit: "percentunit", warn: 0.5, bad: 0.7, max: 1,
				says: "The share of a request's time in Triton that it waits in its queue. Above one half: the GPU is the " +
					"bottleneck. Add a replica, or let the gateway refuse earlier (AGIQA_CONCURRENCY).",
				queries: one(`agiqa:triton_queue:ratio_rate5m`, "{{model}}")},
			{title: "Time in Triton's queue", kind: graph, unit: "µs",
				says:    "Mean wait of a request. It grows before anything fails.",
				queries: one(`sum by (model) (rate(nv_inference_queue_duration_us[$__rate_interval])) / sum by (model) (rate(nv_inference_request_success[$__rate_interval]))`, "{{model}}")},
			{title: "Compute time", kind: graph, unit: "µs",
				says: "Mean of an execution, without waiting. A jump without a change of models: another program on the GPU, " +
					"or it is throttled.",
				queries: one(`sum by (model) (rate(nv_inference_compute_infer_duration_us[$__rate_interval])) / sum by (model) (rate(nv_inference_exec_count[$__rate_interval]))`, "{{model}}")},
			{title: "Failures by model and reason", kind: graph, unit: "ops",
				says: "REJECTED: a full queue. BACKEND: a fault of the model, see Triton's log. CANCELED: callers that left.",
				queries: one(`sum by (model, reason) (rate(nv_inference_request_failure[$__rate_interval]))`,
					"{{model}} {{reason}}")},
		}},
		{"The GPU", []panel{
			{title: "Requests waiting", kind: graph, unit: "short",
				says:    "In Triton, by model. A queue that does not empty between bursts is a server that is too small.",
				queries: one(`sum by (model) (nv_inference_pending_request_count)`, "{{model}}")},
			{title: "Utilisation", kind: graph, unit: "percentunit", max: 1,
				says: "Busy at low rates: batches are small. Idle while requests wait: look at the processor and at copies " +
					"to the GPU. Empty without a GPU.",
				queries: one(`nv_gpu_utilization`, "{{gpu_uuid}}")},
			{title: "Memory", kind: graph, unit: "percentunit", warn: 0.85, bad: 0.95, max: 1,
				says:    "Full: models that are loaded next will fail. Remove checkpoints that nobody uses. Empty without a GPU.",
				queries: one(`nv_gpu_memory_used_bytes / nv_gpu_memory_total_bytes`, "{{gpu_uuid}}")},
		}},
	}}
}
