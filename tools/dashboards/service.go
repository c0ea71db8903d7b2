package main

const scoringRoutes = `route=~"/v1/(score|compare)",instance=~"$instance"`

func service() dashboard {
	return dashboard{uid: "agiqa-service", title: "agiqa: service", instances: "agiqa_ready", rows: []row{
		{"Health", []panel{
			{title: "Ready", kind: stat, unit: "none", warn: 1, bad: 0.5, below: true,
				help: "Share of gateways that are ready to score. Below 1: query /readyz on the missing one; it names the " +
					"failing check.",
				queries: one(`avg(agiqa_ready{instance=~"$instance"})`, "ready")},
			{title: "Requests a second", kind: stat, unit: "reqps",
				help: "All scoring requests, whatever the outcome. Unusually low without an alert: check the load balancer in " +
					"front.",
				queries: one(`agiqa:scoring_requests:rate5m`, "requests")},
			{title: "Failure ratio, 1 h", kind: stat, unit: "percentunit", warn: 0.005, bad: 0.03,
				help: "Scoring requests answered with 5xx. The objective is 0.5 %. Yellow burns the month's " +
					"error budget too fast; \"Problems by reason\" shows the kind.",
				queries: one(`agiqa:scoring_errors:ratio_rate1h`, "failing")},
			{title: "Slower than a second, 1 h", kind: stat, unit: "percentunit", warn: 0.01, bad: 0.06,
				help: "Answers of status 200 that took longer than a second. The objective is 1 %. \"Stages, p95\" shows " +
					"where the time goes.",
				queries: one(`agiqa:scoring_slow:ratio_rate1h`, "slow")},
		}},
		{"Requests", []panel{
			{title: "Requests by route and status", kind: graph, unit: "reqps",
				help:    "Traffic and responses. A rise in 4xx is usually one client; 5xx are the server's fault.",
				queries: one(`sum by (route, status) (rate(agiqa_request_duration_seconds_count{instance=~"$instance"}[$__rate_interval]))`, "{{route}} {{status}}")},
			{title: "Latency of scoring", kind: graph, unit: "s", warn: 1, bad: 2.5, exemplars: true,
				help: "Of answers of status 200. Dots are single requests; click one to open its trace. Only p99 is up: a few " +
					"images are expensive. All are up: check the queue and Triton.",
				queries: []query{
					{`histogram_quantile(0.5, sum by (le) (rate(agiqa_request_duration_seconds_bucket{` + scoringRoutes +
						`,status="200"}[$__rate_interval])))`, "p50"},
					{`histogram_quantile(0.95, sum by (le) (rate(agiqa_request_duration_seconds_bucket{` + scoringRoutes +
						`,status="200"}[$__rate_interval])))`, "p95"},
					{`histogram_quantile(0.99, sum by (le) (rate(agiqa_request_duration_seconds_bucket{` + scoringRoutes +
						`,status="200"}[$__rate_interval])))`, "p99"},
				}},
			{title: "Stages, p95", kind: graph, unit: "s", exemplars: true,
				help: "Where a request's time goes. admission: too much work, add gateways. decode: big images, add " +
					"processors. ensemble, encode, head, panel: Triton, go to its dashboard. read: the client's line.",
				queries: one(`histogram_quantile(0.95, sum by (le, stage) (rate(agiqa_stage_duration_seconds_bucket{instance=~"$instance"}[$__rate_interval])))`, "{{stage}}")},
			{title: "Problems by reason", kind: graph, unit: "reqps",
				help: "Each error code has one cause. internal is a bug: the log has the stack under the request id. " +
					"model_unavailable, deadline_exceeded: Triton. overloaded: capacity. image_*: what clients send.",
				queries: one(`sum by (reason) (rate(agiqa_problems_total{instance=~"$instance"}[$__rate_interval]))`,
					"{{reason}}")},
			{title: "Images by format and outcome", kind: graph, unit: "ops",
				help: "If one format fails more than others, suspect its decoder or one client.",
				queries: one(`sum by (format, outcome) (rate(agiqa_images_total{instance=~"$instance"}[$__rate_interval]))`,
					"{{format}} {{outcome}}")},
			{title: "Goodput and requests", kind: graph, unit: "reqps",
				help: "Answers of status 200 within a second, beside all requests. A gap that grows with load means the " +
					"service is at capacity.",
				queries: []query{{`agiqa:scoring_requests:rate5m`, "requests"},
					{`agiqa:scoring_goodput:rate5m`, "within a second"}}},
		}},
		{"Admission", []panel{
			{title: "Queue", kind: graph, unit: "short",
				help: "Requests that wait for a slot, and that hold one. Long waits with all slots taken: scale out, see " +
					"deploy/README.md, Scaling.",
				queries: []query{
					{`sum(agiqa_queue_depth{instance=~"$instance"})`, "waiting"},
					{`sum(agiqa_queue_working{instance=~"$instance"})`, "working"},
				}},
			{title: "Expected wait", kind: graph, unit: "s", warn: 1, bad: 5,
				help: "Estimated completion time of a new request. Above the caller's deadline, requests are rejected as " +
					"too_late before their body is read.",
				queries: one(`max by (instance) (agiqa_queue_wait_seconds{instance=~"$instance"})`, "{{instance}}")},
			{title: "Rejections by reason", kind: graph, unit: "reqps",
				help: "queue_full, too_late: capacity. rate_limit: a client exceeds its limit. memory, body_memory: too many " +
					"large bodies at once; give the gateway more memory, or lower max-body-bytes.",
				queries: []query{
					{`sum by (reason) (rate(agiqa_admission_refusals_total{instance=~"$instance"}[$__rate_interval]))`, "{{reason}}"},
					{`sum by (reason) (rate(agiqa_gateway_refusals_total{instance=~"$instance"}[$__rate_interval]))`, "{{reason}}"},
				}},
		}},
		{"Process", []panel{
			{title: "Memory", kind: graph, unit: "bytes",
				help: "Resident memory, and the part Go manages. Growth that never falls is a leak: take a heap profile " +
					"(deploy/README.md, Profiles).",
				queries: []query{
					{`process_resident_memory_bytes{job="gateway",instance=~"$instance"}`, "{{instance}} resident"},
					{`sum by (instance) (go_memory_used_bytes{instance=~"$instance"})`, "{{instance}} Go"},
				}},
			{title: "CPU, and waiting for it", kind: graph, unit: "s",
				help: "CPU seconds per second, and the 99th percentile of the time that goroutines wait for a CPU. " +
					"More than a few ms: the gateway has too few CPUs.",
				queries: []query{
					{`sum by (instance) (rate(process_cpu_seconds_total{job="gateway",instance=~"$instance"}[$__rate_interval]))`,
						"{{instance}} used"},
					{`histogram_quantile(0.99, sum by (le, instance) (rate(go_schedule_duration_seconds_bucket{instance=~"$instance"}[$__rate_interval])))`, "{{instance}} waiting"},
				}},
			{title: "Goroutines and open files", kind: graph, unit: "short",
				help: "Both follow the number of connections. Growth without more traffic is a leak: take a goroutine profile.",
				queries: []query{
					{`go_goroutine_count{instance=~"$instance"}`, "{{instance}} goroutines"},
					{`process_open_fds{job="gateway",instance=~"$instance"}`, "{{instance}} files"},
				}},
			{title: "Spans", kind: graph, unit: "ops",
				help: "dropped and failed should be zero. If not: is the collector up, and is it fast enough? Scoring isn't " +
					"affected.",
				queries: one(`sum by (outcome) (rate(agiqa_spans_total{instance=~"$instance"}[$__rate_interval]))`, "{{outcome}}")},
			{title: "Spans through the collector", kind: graph, unit: "ops",
				help: "Received, sent to Jaeger after sampling, and lost. Lost spans: Jaeger is down, or the collector lacks " +
					"memory.",
				queries: []query{
					{`sum(rate(otelcol_receiver_accepted_spans_total[$__rate_interval]))`, "accepted"},
					{`sum(rate(otelcol_exporter_sent_spans_total[$__rate_interval]))`, "kept"},
					{`sum(rate(otelcol_exporter_send_failed_spans_total[$__rate_interval]))`, "lost on the way out"},
					{`sum(rate(otelcol_receiver_refused_spans_total[$__rate_interval]))`, "refused"},
				}},
			{title: "Free disk, data folder", kind: graph, unit: "percentunit", warn: 0.2, bad: 0.1, below: true, max: 1,
				help: "When it's full, checkpoint imports fail and experiments stored in a file stop recording.",
				queries: one(`agiqa_disk_free_bytes{instance=~"$instance"} / agiqa_disk_size_bytes{instance=~"$instance"}`,
					"{{instance}}")},
		}},
	}}
}
