// Package telemetry sets up OpenTelemetry: the tracer and meter providers that
// package server passes to the other packages, the Prometheus endpoint, and a
// shutdown that is bounded in time.
//
// Every span of a sampled trace is queued, and every span is accounted for
// (agiqa.spans, by outcome): exported, failed, dropped or still queued. The SDK's
// own processor drops spans silently. A missing, slow or dead collector never
// delays a request.
//
// It imports no other domain package of this project.
package telemetry
