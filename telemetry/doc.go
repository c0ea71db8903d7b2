// Package telemetry sets OpenTelemetry up: the tracer and meter providers that
// cmd hands to everything else, the Prometheus endpoint, and a shutdown that is
// bounded in time.
//
// Every span of a sampled trace is queued; the queue is large, what it cannot
// take is counted, and the books add up at every moment (agiqa.spans, by
// outcome), because the SDK's own processor loses spans in silence. No
// collector, a slow one or a dead one never holds a request up.
//
// It refuses to know any other package of this project. It stands beside cmd.
package telemetry
