//go:build unix

package lifecycle_test

import (
	"testing"
	"time"

	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/experiment/postgrestest"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/quality"
)

// TestGatewaysOnPostgres has three gateways with a connection each to a real
// PostgreSQL: they agree within a second, go on without it, and a gateway that was
// killed holds nothing up for longer than its lease.
func TestGatewaysOnPostgres(t *testing.T) {
	server := postgrestest.Start(t)
	url := server.URL()
	connect := func() desired.Store {
		c := sqlstore.DefaultConfig()
		c.URL = url
		s, err := sqlstore.Open(t.Context(), c)
		must(t, err)
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	first := newRig(t, true)
	first.cfg.RetryInterval, first.cfg.RemovalWait = 100*time.Millisecond, 3*time.Second
	a, b, c := first.beside(connect()), first.beside(connect()), first.beside(connect())
	a.run()
	b.run()
	killed := c.run()
	one := a.mustImport("one", 1)
	within(t, patience, "one is everywhere", func() bool { return b.has("one") && c.has("one") })

	best := time.Hour
	for n := 0; n < 20 && (n < 4 || n%2 == 1 || best > time.Second); n++ { // a busy machine is slow now and then
		name := []string{"one", shippedName}[n%2]
		start := time.Now()
		_, err := a.manager.Activate(t.Context(), name, "test")
		must(t, err)
		within(t, patience, name+" is the default everywhere", func() bool {
			return b.defaultName() == name && c.defaultName() == name
		})
		best = min(best, time.Since(start))
	}
	t.Logf("an activation was everywhere after %v at best", best)
	if best > time.Second {
		t.Errorf("an activation needs %v, want a second at most", best)
	}

	set, end := b.library.Begin()
	if _, err := set.Get("one"); err != nil {
		t.Fatal(err)
	}
	change, err := a.manager.Remove(t.Context(), "one", "test")
	must(t, err)
	if change.Unloaded || a.loaded(one) != 2 {
		t.Error("unloaded while a request on another gateway uses it")
	}
	end()
	within(t, patience, "it is unloaded", func() bool { return a.loaded(one) == 0 })

	two := a.mustImport("two", 2)
	within(t, patience, "two is on c", func() bool { return c.has("two") })
	c.store.set(true, true) // from here on c can't say anything any more
	killed()
	change, err = a.manager.Remove(t.Context(), "two", "test")
	must(t, err)
	if change.Unloaded {
		t.Error("unloaded before the lease of a dead gateway ended")
	}
	within(t, 2*desired.LeaseTime+patience, "it is unloaded", func() bool { return a.loaded(two) == 0 })

	server.Kill()
	_, err = b.manager.Activate(t.Context(), shippedName, "test")
	wantKind(t, err, quality.KindStoreUnavailable)
	if b.defaultName() != shippedName || b.manager.Standing().Store == nil {
		t.Errorf("without the store: default %s, standing %+v", b.defaultName(), b.manager.Standing())
	}
	server.Run()
	within(t, patience, "b is back", func() bool { return b.manager.Standing().Store == nil })
	b.mustImport("three", 3)
	within(t, patience, "a follows again", func() bool { return a.has("three") })
}
