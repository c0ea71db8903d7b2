package main

func cache() dashboard {
	return dashboard{uid: "agiqa-cache", title: "agiqa: cache", instances: "agiqa_ready", rows: []row{
		{"Embeddings", []panel{
			{title: "Hits", kind: graph, unit: "percentunit", max: 1,
				help: "Of lookups, in memory or Redis. text below 0.99 after startup: embeddings are evicted; see " +
					"\"Evictions\". image: depends on how often clients repeat images; any value is fine.",
				queries: one(`agiqa:cache_hits:ratio_rate5m`, "{{cache}}")},
			{title: "Reads by layer and outcome", kind: graph, unit: "ops",
				help: "error: the layer didn't answer. invalid: it held something other than what was written, " +
					"which was discarded; see \"Errors\".",
				queries: one(`sum by (cache, layer, outcome) (`+
					`rate(agiqa_cache_requests_total{instance=~"$instance"}[$__rate_interval]))`,
					"{{cache}} {{layer}} {{outcome}}")},
			{title: "Coalesced images", kind: graph, unit: "ops",
				help:    "Views of identical images that arrived at the same time and were encoded once.",
				queries: one(`sum(rate(agiqa_images_coalesced_total{instance=~"$instance"}[$__rate_interval]))`, "rows")},
			{title: "Encoded rows by view size", kind: graph, unit: "ops",
				help:    "Views of images that the image encoder embedded: what neither a cache nor another request had.",
				queries: one(`sum by (size) (rate(agiqa_rows_encoded_total{instance=~"$instance"}[$__rate_interval]))`, "{{size}}")},
		}},
		{"Memory", []panel{
			{title: "Memory used", kind: graph, unit: "percentunit", warn: 0.9, bad: 0.99, max: 1,
				help:    "Share of the budget. Full, with many evictions and few hits: raise image-cache-bytes.",
				queries: one(`sum by (cache) (agiqa_cache_memory_bytes{instance=~"$instance"}) / sum by (cache) (agiqa_cache_memory_budget_bytes{instance=~"$instance"})`, "{{cache}}")},
			{title: "Entries", kind: graph, unit: "short",
				help:    "Sum over all gateways; each has its own cache.",
				queries: one(`sum by (cache) (agiqa_cache_memory_entries{instance=~"$instance"})`, "{{cache}}")},
			{title: "Evictions", kind: graph, unit: "ops",
				help: "Entries evicted for space or because they expired. text: there should be almost none.",
				queries: one(`sum by (cache) (rate(agiqa_cache_memory_evictions_total{instance=~"$instance"}[$__rate_interval]))`,
					"{{cache}}")},
		}},
		{"Redis", []panel{
			{title: "Redis available", kind: graph, unit: "none", warn: 1, bad: 0.5, below: true, max: 1,
				help: "1 while a gateway uses Redis, 0 while its circuit breaker is open. 0: scores are correct, but slower for " +
					"new checkpoints. Empty without Redis.",
				queries: one(`agiqa_cache_redis_available{instance=~"$instance"}`, "{{instance}}")},
			{title: "Errors", kind: graph, unit: "ops",
				help: "By operation and reason. timeout, refused, closed: Redis or the network. noauth: the " +
					"password. oom, readonly: its configuration. invalid, wrongtype: another program writes to it.",
				queries: one(`sum by (cache, operation, reason) (rate(agiqa_cache_errors_total{instance=~"$instance"}[$__rate_interval]))`, "{{cache}} {{operation}} {{reason}}")},
		}},
	}}
}
