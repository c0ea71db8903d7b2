//go:build unix

package sqlstore_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/postgrestest"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/experiment/storetest"
)

// BenchmarkAppend measures acknowledged records: each was committed with an
// fsync before its writer went on to the next.
func BenchmarkAppend(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) {
		benchmarkStore(b, open(b, sqliteConfig(b)))
	})
	b.Run("postgres", func(b *testing.B) {
		benchmarkStore(b, open(b, postgresConfig(postgrestest.Start(b))))
	})
}

func benchmarkStore(b *testing.B, s *sqlstore.Store) {
	var serial atomic.Int64
	for _, kind := range []struct {
		name string
		one  func(n int) error
	}{
		{"exposures", func(n int) error {
			return s.AppendExposures(b.Context(), []experiment.Exposure{storetest.NewExposure("x", n)})
		}},
		{"feedback", func(n int) error {
			_, err := s.AppendFeedback(b.Context(), storetest.NewFeedback("x", n))
			return err
		}},
	} {
		for _, writers := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%s/writers=%d", kind.name, writers), func(b *testing.B) {
				var left atomic.Int64
				left.Store(int64(b.N))
				var group sync.WaitGroup
				for range writers {
					group.Go(func() {
						for left.Add(-1) >= 0 {
							if err := kind.one(int(serial.Add(1))); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				group.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}
