package server

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/internal/metrics"
)

// watchDisk shows how full the file system of the data folder is: imported
// checkpoints, the choice of the default and the records of experiments are
// there, and all of them stop when it is full. Where it cannot be told, nothing
// is shown.
func watchDisk(provider metric.MeterProvider, folder string) error {
	meter := provider.Meter("github.com/agiqa/agiqa/server")
	free, err1 := metrics.DiskFree.New(meter)
	size, err2 := metrics.DiskSize.New(meter)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		if disk, err := diskOf(folder); err == nil { // the folder may not be there yet
			o.ObserveInt64(free, disk.free)
			o.ObserveInt64(size, disk.size)
		}
		return nil
	}, free, size)
	return err
}

type disk struct{ free, size int64 }
