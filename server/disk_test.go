package server

import (
	"path/filepath"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/agiqa/agiqa/internal/metrics/metricstest"
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
			got := metricstest.Values(t, reader, "agiqa.disk.free")
			free, size := got[""], metricstest.Values(t, reader, "agiqa.disk.size")[""]
			if !test.shown && (len(got) != 0 || size != 0) {
				t.Errorf("reports %v free of %d for a folder that doesn't exist", got, size)
			}
			if test.shown && (size <= 0 || free < 0 || free > size) {
				t.Errorf("free %d of %d, want 0 <= free <= size", free, size)
			}
		})
	}
}
