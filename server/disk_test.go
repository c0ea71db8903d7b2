package server

import (
	"path/filepath"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

func TestDiskIsWatched(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		folder string
		shown  bool
	}{
		{"a folder", t.TempDir(), true},
		{"none", filepath.Join(t.TempDir(), "missing"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			reader := sdkmetric.NewManualReader()
			if err := watchDisk(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), test.folder); err != nil {
				t.Fatal(err)
			}
			var all metricdata.ResourceMetrics
			if err := reader.Collect(t.Context(), &all); err != nil {
				t.Fatal(err)
			}
			got := map[string]int64{}
			for _, scope := range all.ScopeMetrics {
				for _, m := range scope.Metrics {
					for _, p := range m.Data.(metricdata.Gauge[int64]).DataPoints {
						got[m.Name] = p.Value
					}
				}
			}
			free, size := got["agiqa.disk.free"], got["agiqa.disk.size"]
			if !test.shown && len(got) != 0 {
				t.Errorf("shows %v of a folder that is not there", got)
			}
			if test.shown && (size <= 0 || free < 0 || free > size) {
				t.Errorf("free %d of %d, want 0 <= free <= size", free, size)
			}
		})
	}
}
