package main

func experiments() dashboard {
	return dashboard{uid: "agiqa-experiments", title: "agiqa: experiments and checkpoints",
		instances: "agiqa_ready", rows: []row{
			{"Experiments", []panel{
				{title: "Exposures by arm", kind: graph, unit: "ops",
					help: "Images shown, by arm. The shares should match the definition; a mismatch has its own " +
						"alert. Draw conclusions from the report, never from this panel.",
					queries: one(`sum by (experiment, arm) (rate(agiqa_experiment_exposures_total{instance=~"$instance"}[$__rate_interval]))`, "{{experiment}} {{arm}}")},
				{title: "Failing exposures by arm", kind: graph, unit: "percentunit", warn: 0.01, bad: 0.05, max: 1,
					help: "Share of an arm's images. Only one arm: its checkpoint is at fault; pause the experiment. " +
						"All arms: the service is at fault; see its dashboard.",
					queries: one(`sum by (experiment, arm) (`+
						`rate(agiqa_experiment_exposures_total{instance=~"$instance",outcome!="ok"}[$__rate_interval]))`+
						` / sum by (experiment, arm) (`+
						`rate(agiqa_experiment_exposures_total{instance=~"$instance"}[$__rate_interval]))`,
						"{{experiment}} {{arm}}")},
				{title: "Not enrolled", kind: graph, unit: "reqps",
					help: "Requests outside an experiment, by reason. no_unit: callers send no unit; " +
						"the experiment learns nothing from them.",
					queries: one(`sum by (experiment, reason) (`+
						`rate(agiqa_experiment_left_total{instance=~"$instance"}[$__rate_interval]))`,
						"{{experiment}} {{reason}}")},
				{title: "Guardrail violations, 1 h", kind: graph, unit: "short", warn: 1, bad: 1,
					help:    "What was violated, and the action taken. agiqa experiment status ID shows the current state.",
					queries: one(`sum by (experiment, guardrail, action) (increase(agiqa_experiment_guardrail_trips_total{instance=~"$instance"}[1h]))`, "{{experiment}} {{guardrail}}: {{action}}")},
				{title: "Feedback by kind and outcome", kind: graph, unit: "ops",
					help: "Only accepted labels count. Many orphans: labels have ids that were never shown, " +
						"or arrive before the exposure is known. contradictory: raters who contradict themselves.",
					queries: one(`sum by (kind, outcome) (rate(agiqa_feedback_total{instance=~"$instance"}[$__rate_interval]))`,
						"{{kind}} {{outcome}}")},
				{title: "Store", kind: graph, unit: "ops", warn: 0.001, bad: 0.001,
					help: "Failed calls, and images scored by the control because nothing could be recorded. Above zero: " +
						"is PostgreSQL up, is the disk full?",
					queries: []query{
						{`sum by (call) (rate(agiqa_experiment_store_failures_total{instance=~"$instance"}[$__rate_interval]))`,
							"failed: {{call}}"},
						{`sum by (experiment) (rate(agiqa_experiment_degraded_total{instance=~"$instance"}[$__rate_interval]))`,
							"degraded: {{experiment}}"},
					}},
			}},
			{"Checkpoints", []panel{
				{title: "Scores by checkpoint", kind: graph, unit: "ops",
					help: "Usage by checkpoint. Remove one that has had none for weeks.",
					queries: one(`sum by (checkpoint) (rate(agiqa_checkpoint_scores_total{instance=~"$instance"}[$__rate_interval]))`,
						"{{checkpoint}}")},
				{title: "Failing scores by checkpoint", kind: graph, unit: "ops", warn: 0.001, bad: 0.1,
					help: "Valid images without a score. Only one checkpoint: its head isn't loaded or returns invalid numbers; " +
						"deactivate it.",
					queries: one(`sum by (checkpoint) (rate(agiqa_checkpoint_scores_total{instance=~"$instance",outcome="error"}[$__rate_interval]))`, "{{checkpoint}}")},
				{title: "Changes, 1 h", kind: graph, unit: "short",
					help: "Imports, activations, rollbacks, removals. Most sudden changes of latency or scores start " +
						"here.",
					queries: one(`sum by (change, outcome) (increase(agiqa_checkpoint_changes_total{instance=~"$instance"}[1h]))`,
						"{{change}} {{outcome}}")},
			}},
		}}
}
