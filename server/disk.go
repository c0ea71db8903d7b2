package server

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/metric"
)

// watchDisk shows how full the file system of the data folder is: imported
// checkpoints, the choice of the default and the records of experiments are
// there, and all of them stop when it is full. Where it cannot be told, nothing
// is shown.
func watchDisk(provider metric.MeterProvider, folder string) error {
	meter := provider.Meter("github.com/agiqa/agiqa/cmd/agiqa")
	free, err := meter.Int64ObservableGauge("agiqa.disk.free", metric.WithUnit("By"),
		metric.WithDescription("Bytes that this program may still write to the file system of data-dir."))
	if err != nil {
		return fmt.Errorf("instrument agiqa.disk.free: %w", err)
	}
	size, err := meter.Int64ObservableGauge("agiqa.disk.size", metric.WithUnit("By"),
		metric.WithDescription("Size of the file system of data-dir."))
	if err != nil {
		return fmt.Errorf("instrument agiqa.disk.size: %w", err)
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		if disk, err := diskOf(folder); err == nil { // the folder may not be there yet
			o.ObserveInt64(free, disk.free)
			o.ObserveInt64(size, disk.size)
		}
		return nil
	}, free, size)
	return err
}

type disk struct{ free, size int64 }
