package main

func experiments() dashboard {
	return dashboard{uid: "agiqa-experiments", title: "agiqa: experiments and checkpoints",
		instances: "agiqa_ready", rows: []row{
			{"Experiments", []panel{
				{title: "Exposures by arm", kind: graph, unit: "ops",
					says: "Images shown, by arm. The shares should be those of the definition; a mismatch has an alert of its " +
						"own. Conclusions are drawn from the log, never from this panel.",
					queries: one(`sum by (experiment, arm) (rate(agiqa_experiment_exposures_total{instance=~"$instance"}[$__rate_interval]))`, "{{experiment}} {{arm}}")},
				{title: "Failing exposures by arm", kind: graph, unit: "percentunit", warn: 0.01, bad: 0.05, max: 1,
					says: "Of an arm's images. One arm alone: its checkpoint; pause the experiment. " +
						"All arms: the service, go to its dashboard.",
					queries: one(`sum by (experiment, arm) (`+
						`rate(agiqa_experiment_exposures_total{instance=~"$instance",outcome!="ok"}[$__rate_interval]))`+
						` / sum by (experiment, arm) (`+
						`rate(agiqa_experiment_exposures_total{instance=~"$instance"}[$__rate_interval]))`,
						"{{experiment}} {{arm}}")},
				{title: "Not taken", kind: graph, unit: "reqps",
					says: "Requests outside an experiment, by reason. no_unit: callers send no unit; " +
						"the experiment learns nothing from them.",
					queries: one(`sum by (experiment, reason) (`+
						`rate(agiqa_experiment_left_total{instance=~"$instance"}[$__rate_interval]))`,
						"{{experiment}} {{reason}}")},
				{title: "Guardrails broken, of the hour", kind: graph, unit: "short", warn: 1, bad: 1,
					says:    "What was broken, and what was done. agiqa experiment status ID shows how it is doing.",
					queries: one(`sum by (experiment, guardrail, action) (increase(agiqa_experiment_guardrail_trips_total{instance=~"$instance"}[1h]))`, "{{experiment}} {{guardrail}}: {{action}}")},
				{title: "Feedback by kind and outcome", kind: graph, unit: "ops",
					says: "accepted is what counts. Many orphans: labels come with ids that were never shown, " +
						"or before the exposure is known. contradictory: raters who say both.",
					queries: one(`sum by (kind, outcome) (rate(agiqa_feedback_total{instance=~"$instance"}[$__rate_interval]))`,
						"{{kind}} {{outcome}}")},
				{title: "Store", kind: graph, unit: "ops", warn: 0.001, bad: 0.001,
					says: "Calls that failed, and images that the control answered because nothing could be recorded. Not nought: " +
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
					says: "Who uses what. A checkpoint without any for weeks may be removed.",
					queries: one(`sum by (checkpoint) (rate(agiqa_checkpoint_scores_total{instance=~"$instance"}[$__rate_interval]))`,
						"{{checkpoint}}")},
				{title: "Failing scores by checkpoint", kind: graph, unit: "ops", warn: 0.001, bad: 0.1,
					says: "A sound image and no score. One checkpoint alone: its head is not loaded or gives nonsense; " +
						"deactivate it.",
					queries: one(`sum by (checkpoint) (rate(agiqa_checkpoint_scores_total{instance=~"$instance",outcome="error"}[$__rate_interval]))`, "{{checkpoint}}")},
				{title: "Changes, of the hour", kind: graph, unit: "short",
					says: "Imports, activations, rollbacks, removals. A step in a latency or a score begins here more often than " +
						"anywhere else.",
					queries: one(`sum by (change, outcome) (increase(agiqa_checkpoint_changes_total{instance=~"$instance"}[1h]))`,
						"{{change}} {{outcome}}")},
			}},
		}}
}
