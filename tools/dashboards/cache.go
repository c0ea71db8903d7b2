package main

func cache() dashboard {
	return dashboard{uid: "agiqa-cache", title: "agiqa: cache", instances: "agiqa_ready", rows: []row{
		{"Embeddings", []panel{
			{title: "Hits", kind: graph, unit: "percentunit", max: 1,
				says: "Of lookups, in memory or Redis. text below 0.99 after the start: embeddings do not stay; look at " +
					"evictions. image: what clients repeat, no figure is wrong.",
				queries: one(`agiqa:cache_hits:ratio_rate5m`, "{{cache}}")},
			{title: "Reads by layer and outcome", kind: graph, unit: "ops",
				says: "error: the layer did not answer. invalid: it held something else than was written, " +
					"which was not used; see \"Faults\".",
				queries: one(`sum by (cache, layer, outcome) (`+
					`rate(agiqa_cache_requests_total{instance=~"$instance"}[$__rate_interval]))`,
					"{{cache}} {{layer}} {{outcome}}")},
			{title: "Images taken from another request", kind: graph, unit: "ops",
				says:    "Equal images that came at the same time and were encoded once.",
				queries: one(`sum(rate(agiqa_images_coalesced_total{instance=~"$instance"}[$__rate_interval]))`, "images")},
		}},
		{"Memory", []panel{
			{title: "Filled", kind: graph, unit: "percentunit", warn: 0.9, bad: 0.99, max: 1,
				says:    "Of the budget. Full with many evictions and few hits: raise image-cache-bytes.",
				queries: one(`sum by (cache) (agiqa_cache_memory_bytes{instance=~"$instance"}) / sum by (cache) (agiqa_cache_memory_budget_bytes{instance=~"$instance"})`, "{{cache}}")},
			{title: "Entries", kind: graph, unit: "short",
				says:    "All gateways together; each has its own.",
				queries: one(`sum by (cache) (agiqa_cache_memory_entries{instance=~"$instance"})`, "{{cache}}")},
			{title: "Evictions", kind: graph, unit: "ops",
				says: "Entries that went to make room or with their time. text: there should be almost none.",
				queries: one(`sum by (cache) (rate(agiqa_cache_memory_evictions_total{instance=~"$instance"}[$__rate_interval]))`,
					"{{cache}}")},
		}},
		{"Redis", []panel{
			{title: "Asked", kind: graph, unit: "none", warn: 1, bad: 0.5, below: true, max: 1,
				says: "1 while a gateway asks Redis, 0 while its breaker is open. 0: scores are right, and slower for new " +
					"checkpoints. Empty without Redis.",
				queries: one(`agiqa_cache_redis_available{instance=~"$instance"}`, "{{instance}}")},
			{title: "Faults", kind: graph, unit: "ops",
				says: "By what was done and why it failed. timeout, refused, closed: Redis or the network. noauth: the " +
					"password. oom, readonly: its configuration. invalid, wrongtype: somebody else writes into it.",
				queries: one(`sum by (cache, operation, reason) (rate(agiqa_cache_errors_total{instance=~"$instance"}[$__rate_interval]))`, "{{cache}} {{operation}} {{reason}}")},
		}},
	}}
}
