package config

import (
	"fmt"
	"strings"
)

// The OpenTelemetry variables that otlp-endpoint falls back to. The SDK itself
// reads OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and
// OTEL_EXPORTER_OTLP_HEADERS.
const (
	otelTracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" // with the path of traces
	otelBaseEndpoint   = "OTEL_EXPORTER_OTLP_ENDPOINT"
)

// otelEndpoint returns the name of the OpenTelemetry variable that says where
// traces go, and "" when none does.
func otelEndpoint(env map[string]string) string {
	if strings.EqualFold(env["OTEL_SDK_DISABLED"], "true") || env["OTEL_TRACES_EXPORTER"] == "none" {
		return ""
	}
	for _, name := range []string{otelTracesEndpoint, otelBaseEndpoint} {
		if strings.TrimSpace(env[name]) != "" {
			return name
		}
	}
	return ""
}

// checkOTel reports what the OpenTelemetry variable name asks for and this
// program can't do.
func checkOTel(name string, env map[string]string) error {
	for _, p := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := env[p]; protocol == "grpc" {
			return fmt.Errorf("%s is grpc, but traces are sent by http/protobuf only: "+
				"give the collector's HTTP endpoint (port 4318 by default)", p)
		} else if protocol != "" {
			break
		}
	}
	if name == otelTracesEndpoint && !strings.HasSuffix(strings.TrimRight(env[name], " /"), tracesPath) {
		return fmt.Errorf("must end in %s", tracesPath)
	}
	return nil
}
