package telemetry

import (
	"testing"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
)

func TestOnlyTheNetworkIsWorthCompressing(t *testing.T) {
	for endpoint, want := range map[string]otlptracehttp.Compression{
		"http://127.0.0.1:4318/v1/traces":      otlptracehttp.NoCompression,
		"http://[::1]:4318/v1/traces":          otlptracehttp.NoCompression,
		"http://localhost:4318/v1/traces":      otlptracehttp.NoCompression,
		"http://otel-collector:4318/v1/traces": otlptracehttp.GzipCompression,
		"https://10.0.0.7/v1/traces":           otlptracehttp.GzipCompression,
	} {
		if got := compression(endpoint); got != want {
			t.Errorf("%s: %v, want %v", endpoint, got, want)
		}
	}
}
