package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/otlptest"
	"github.com/agiqa/agiqa/internal/proctest"
)

// TestDoctorAsksTheCollector: a port that takes connections is not yet a
// collector, and the endpoint is the one that the server would use.
func TestDoctorAsksTheCollector(t *testing.T) {
	answering := func(status int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(s.Close)
		return s.URL
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gRPC := grpc.NewServer()
	go func() { _ = gRPC.Serve(listener) }()
	t.Cleanup(gRPC.Stop)
	closed := proctest.Loopback(proctest.FreePort(t))
	collector := otlptest.Start(t).URL()
	for _, tc := range []struct {
		name, variable, value string
		ok                    bool
		says                  string
	}{
		{"a collector", "AGIQA_OTLP_ENDPOINT", collector, true, "takes traces"},
		{"with the path", "AGIQA_OTLP_ENDPOINT", collector + "/v1/traces", true, "takes traces"},
		{"the standard variable", "OTEL_EXPORTER_OTLP_ENDPOINT", collector, true, "takes traces"},
		{"of traces", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector + "/v1/traces", true, "takes traces"},
		{"credentials", "AGIQA_OTLP_ENDPOINT", answering(http.StatusUnauthorized), true, "OTEL_EXPORTER_OTLP_HEADERS"},
		{"another server", "AGIQA_OTLP_ENDPOINT", answering(http.StatusNotFound), false, "404"},
		{"the gRPC port", "AGIQA_OTLP_ENDPOINT", "http://" + listener.Addr().String(), false, "4318 by default"},
		{"nobody", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://" + closed, false, "no connection"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := config.Load(config.Sources{Environ: []string{tc.variable + "=" + tc.value}})
			if err != nil {
				t.Fatal(err)
			}
			f := lookAtCollector(t.Context(), s)
			if f.OK != tc.ok || !strings.Contains(f.Detail+" "+f.Fix, tc.says) || f.OK == (f.Fix != "") {
				t.Errorf("got %+v, want ok %t and %q", f, tc.ok, tc.says)
			}
		})
	}
}
