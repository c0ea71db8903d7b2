package cache_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cache/redistest"
	"github.com/agiqa/agiqa/quality"
)

// lineCounter is a log of the driver that counts its lines.
type lineCounter struct{ n atomic.Int32 }

func (c *lineCounter) Printf(context.Context, string, ...any) { c.n.Add(1) }

func TestSilenceDriver(t *testing.T) {
	t.Cleanup(logging.Enable)
	r := newRedis(t, redistest.New(t).URL(), func(c *cache.RedisConfig) { c.BreakerFailures = 1000 })
	lines := &lineCounter{}
	redis.SetLogger(lines)
	_ = r.Check(t.Context(), quality.Encoder{})
	before := lines.n.Load()
	if before == 0 {
		t.Fatal("the driver logs no failed connection any more; SilenceDriver can go")
	}
	cache.SilenceDriver()
	_ = r.Check(t.Context(), quality.Encoder{})
	if got := lines.n.Load(); got != before {
		t.Errorf("%d lines after SilenceDriver, want none", got-before)
	}
}
