package main

const scoringRoutes = `route=~"/v1/(score|compare)",instance=~"$instance"`

func service() dashboard {
	return dashboard{uid: "agiqa-service", title: "agiqa: service", instances: "agiqa_ready", rows: []row{
		{"Is it well?", []panel{
			{title: "Ready", kind: stat, unit: "none", warn: 1, bad: 0.5, below: true,
				says: "The share of gateways that can score. Below 1: ask /readyz of the one that is missing; it names the " +
					"check.",
				queries: one(`avg(agiqa_ready{instance=~"$instance"})`, "ready")},
			{title: "Requests a second", kind: stat, unit: "reqps",
				says: "Scoring requests, whatever came of them. Much less than usual with no alert: look at what stands in " +
					"front.",
				queries: one(`agiqa:scoring_requests:rate5m`, "requests")},
			{title: "Failing, of the hour", kind: stat, unit: "percentunit", warn: 0.005, bad: 0.03,
				says: "Scoring requests answered with 5xx. The objective is 0.5 %. Yellow uses the month's budget up " +
					"faster than it comes; \"Problems by reason\" says which kind.",
				queries: one(`agiqa:scoring_errors:ratio_rate1h`, "failing")},
			{title: "Slower than a second, of the hour", kind: stat, unit: "percentunit", warn: 0.01, bad: 0.06,
				says: "Answers of status 200 that took longer than a second. The objective is 1 %. \"Stages, p95\" says " +
					"where the time goes.",
				queries: one(`agiqa:scoring_slow:ratio_rate1h`, "slow")},
		}},
		{"Requests", []panel{
			{title: "Requests by route and status", kind: graph, unit: "reqps",
				says:    "What is asked and what is answered. 4xx that rise with one client's arrival are its doing; 5xx are ours.",
				queries: one(`sum by (route, status) (rate(agiqa_request_duration_seconds_count{instance=~"$instance"}[$__rate_interval]))`, "{{route}} {{status}}")},
			{title: "Latency of scoring", kind: graph, unit: "s", warn: 1, bad: 2.5, exemplars: true,
				says: "Of answers of status 200. Dots are single requests: a click leads to the trace. p99 up and p50 not: a " +
					"few images are expensive. All up: look at the queue and at Triton.",
				queries: []query{
					{`histogram_quantile(0.5, sum by (le) (rate(agiqa_request_duration_seconds_bucket{` + scoringRoutes +
						`,status="200"}[$__rate_interval])))`, "p50"},
					{`histogram_quantile(0.95, sum by (le) (rate(agiqa_request_duration_seconds_bucket{` + scoringRoutes +
						`,status="200"}[$__rate_interval])))`, "p95"},
					{`histogram_quantile(0.99, sum by (le) (rate(agiqa_request_duration_seconds_bucket{` + scoringRoutes +
						`,status="200"}[$__rate_interval])))`, "p99"},
				}},
			{title: "Stages, p95", kind: graph, unit: "s", exemplars: true,
				says: "Where a request's time goes. admission: too much work, add gateways. decode: big images, add " +
					"processors. ensemble, encode, head, panel: Triton, go to its dashboard. read: the client's line.",
				queries: one(`histogram_quantile(0.95, sum by (le, stage) (rate(agiqa_stage_duration_seconds_bucket{instance=~"$instance"}[$__rate_interval])))`, "{{stage}}")},
			{title: "Problems by reason", kind: graph, unit: "reqps",
				says: "Each error code is one cause. internal is a bug: the log has the stack under the request id. " +
					"model_unavailable, deadline_exceeded: Triton. overloaded: capacity. image_*: what clients send.",
				queries: one(`sum by (reason) (rate(agiqa_problems_total{instance=~"$instance"}[$__rate_interval]))`,
					"{{reason}}")},
			{title: "Images by format and outcome", kind: graph, unit: "ops",
				says: "A format that fails where others don't points at its decoder, or at one client.",
				queries: one(`sum by (format, outcome) (rate(agiqa_images_total{instance=~"$instance"}[$__rate_interval]))`,
					"{{format}} {{outcome}}")},
			{title: "Goodput and requests", kind: graph, unit: "reqps",
				says: "Answers of status 200 within a second, beside all requests. A gap that grows with the load is the end " +
					"of the capacity.",
				queries: []query{{`agiqa:scoring_requests:rate5m`, "requests"},
					{`agiqa:scoring_goodput:rate5m`, "within a second"}}},
		}},
		{"Admission", []panel{
			{title: "Queue", kind: graph, unit: "short",
				says: "Waiting for a turn, and having one. Waiting for long at full turns: add gateways or Tritons, see " +
					"deploy/README.md, Scaling.",
				queries: []query{
					{`sum(agiqa_queue_depth{instance=~"$instance"})`, "waiting"},
					{`sum(agiqa_queue_working{instance=~"$instance"})`, "working"},
				}},
			{title: "Expected wait", kind: graph, unit: "s", warn: 1, bad: 5,
				says: "What a request that came now would take. Above what callers allow, requests are refused as too_late " +
					"before their body is read.",
				queries: one(`max by (instance) (agiqa_queue_wait_seconds{instance=~"$instance"})`, "{{instance}}")},
			{title: "Refusals by reason", kind: graph, unit: "reqps",
				says: "queue_full, too_late: capacity. rate_limit: one client above its limit. memory, body_memory: too many " +
					"large bodies at once; give the gateway more memory, or lower max-body-bytes.",
				queries: []query{
					{`sum by (reason) (rate(agiqa_admission_refusals_total{instance=~"$instance"}[$__rate_interval]))`, "{{reason}}"},
					{`sum by (reason) (rate(agiqa_gateway_refusals_total{instance=~"$instance"}[$__rate_interval]))`, "{{reason}}"},
				}},
		}},
		{"The program", []panel{
			{title: "Memory", kind: graph, unit: "bytes",
				says: "Resident, and what Go holds. A gap that grows is memory of decoders in C; a climb that never falls is a " +
					"leak: take a heap profile (deploy/README.md, Profiles).",
				queries: []query{
					{`process_resident_memory_bytes{job="gateway",instance=~"$instance"}`, "{{instance}} resident"},
					{`sum by (instance) (go_memory_used_bytes{instance=~"$instance"})`, "{{instance}} Go"},
				}},
			{title: "Processor, and waiting for it", kind: graph, unit: "s",
				says: "Processor seconds a second, and the 99th percentile of the time that goroutines wait for a processor. " +
					"More than some ms of waiting: the gateway has too few processors.",
				queries: []query{
					{`sum by (instance) (rate(process_cpu_seconds_total{job="gateway",instance=~"$instance"}[$__rate_interval]))`,
						"{{instance}} used"},
					{`histogram_quantile(0.99, sum by (le, instance) (rate(go_schedule_duration_seconds_bucket{instance=~"$instance"}[$__rate_interval])))`, "{{instance}} waiting"},
				}},
			{title: "Goroutines and open files", kind: graph, unit: "short",
				says: "Both follow the number of connections. A climb without more traffic is a leak: take a goroutine profile.",
				queries: []query{
					{`go_goroutine_count{instance=~"$instance"}`, "{{instance}} goroutines"},
					{`process_open_fds{job="gateway",instance=~"$instance"}`, "{{instance}} files"},
				}},
			{title: "Spans", kind: graph, unit: "ops",
				says: "dropped and failed should be nought. If not: is the collector up, and is it fast enough? Scoring does " +
					"not suffer.",
				queries: one(`sum by (outcome) (rate(agiqa_spans_total{instance=~"$instance"}[$__rate_interval]))`, "{{outcome}}")},
			{title: "Spans through the collector", kind: graph, unit: "ops",
				says: "Taken in, sent to Jaeger after sampling, and lost. Lost spans: Jaeger is down or the collector short of " +
					"memory.",
				queries: []query{
					{`sum(rate(otelcol_receiver_accepted_spans_total[$__rate_interval]))`, "accepted"},
					{`sum(rate(otelcol_exporter_sent_spans_total[$__rate_interval]))`, "kept"},
					{`sum(rate(otelcol_exporter_send_failed_spans_total[$__rate_interval]))`, "lost on the way out"},
					{`sum(rate(otelcol_receiver_refused_spans_total[$__rate_interval]))`, "refused"},
				}},
			{title: "Free disk, data folder", kind: graph, unit: "percentunit", warn: 0.2, bad: 0.1, below: true, max: 1,
				says: "When it is full, imports of checkpoints fail and experiments that are kept in a file stop recording.",
				queries: one(`agiqa_disk_free_bytes{instance=~"$instance"} / agiqa_disk_size_bytes{instance=~"$instance"}`,
					"{{instance}}")},
		}},
	}}
}
