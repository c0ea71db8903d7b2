//go:build unix

package sqlstore_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/checkpoint/desired/desiredtest"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/postgrestest"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/quality"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	t.Run("conformance", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T, clock *storetest.Clock) experiment.Store {
			c := postgresConfig(server)
			c.Clock = clock.Now
			return open(t, c)
		})
	})
	t.Run("keys", func(t *testing.T) {
		storetest.RunKeys(t, func(t *testing.T) access.Store { return open(t, postgresConfig(server)) })
	})
	t.Run("keys of gateways that share it", func(t *testing.T) { testKeysTogether(t, postgresConfig(server)) })
	t.Run("experiments that start at once at several gateways", func(t *testing.T) {
		c := postgresConfig(server)
		storetest.StartAtOnce(t, open(t, c), open(t, c), open(t, c), open(t, c))
	})
	t.Run("desired state", func(t *testing.T) {
		desiredtest.Run(t, func(t *testing.T) (a, b desired.Store) {
			c := postgresConfig(server)
			return open(t, c), open(t, c)
		})
	})
	t.Run("leases end by the database's clock", func(t *testing.T) { testExpiry(t, server) })
	t.Run("changes are told at once, and after a silence", func(t *testing.T) { testTold(t, server) })
	t.Run("a record that the database refuses fails alone", func(t *testing.T) { testRefused(t, server) })
	t.Run("gateways that start at once", func(t *testing.T) { testTogether(t, postgresConfig(server)) })
	t.Run("the password is a secret", func(t *testing.T) { testSecret(t, server) })
	t.Run("a server that comes back", func(t *testing.T) { testRestart(t, server) }) // the last: it stops the server
}

// testExpiry turns leases back by more than their time.
func testExpiry(t *testing.T, server *postgrestest.Server) {
	c := postgresConfig(server)
	a, b := open(t, c), open(t, c)
	head := quality.DigestOf([]byte("x"))
	if got, err := a.Lock(t.Context(), "a", "x"); err != nil || !got {
		t.Fatalf("Lock: %t, %v", got, err)
	}
	age := func(d time.Duration) {
		server.Exec(c.URL, fmt.Sprintf(`UPDATE agiqa_leases SET expires = expires - %d`, d.Microseconds()))
	}
	for range 2 { // the second time renews
		if err := a.Hold(t.Context(), "a", -1, []quality.Digest{head}); err != nil {
			t.Fatal(err)
		}
		age(desired.LeaseTime / 3)
		if holders, err := b.Holders(t.Context(), head); err != nil || len(holders) != 1 {
			t.Errorf("holders %v, %v, want a", holders, err)
		}
		if got, err := b.Lock(t.Context(), "b", "x"); err != nil || got {
			t.Errorf("Lock beside a's: %t, %v", got, err)
		}
	}
	age(desired.LeaseTime)
	if holders, err := b.Holders(t.Context(), head); err != nil || len(holders) != 0 {
		t.Errorf("holders %v, %v, want none any more", holders, err)
	}
	if got, err := b.Lock(t.Context(), "b", "x"); err != nil || !got {
		t.Errorf("Lock after a's: %t, %v", got, err)
	}
}

// testTold wants one store to hear of another's changes within a second, also
// when the connection that listens was cut. A busy machine may be slower now and then,
// but a store that has to ask knows nothing for five.
func testTold(t *testing.T, server *postgrestest.Server) {
	c := postgresConfig(server)
	a, b := open(t, c), open(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	told := b.Changes(ctx)
	best := time.Hour
	for revision := range int64(6) {
		if revision == 3 {
			if best > time.Second {
				t.Errorf("revisions were known after %v at best", best)
			}
			best = time.Hour
			server.Exec(c.URL, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'`)
		}
		if _, err := a.Replace(t.Context(), revision, desired.Document{}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for state, err := b.Desired(ctx); state.Revision <= revision; state, err = b.Desired(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			<-told
		}
		took := time.Since(start)
		best = min(best, took)
		if took > 4*time.Second {
			t.Errorf("revision %d was known after %v", revision+1, took)
		}
	}
	if best > time.Second {
		t.Errorf("once the connection was cut, revisions were known after %v at best", best)
	}
	cancel()
}

// testRefused has a trigger refuse one record of many that share transactions.
func testRefused(t *testing.T, server *postgrestest.Server) {
	c := postgresConfig(server)
	s := open(t, c)
	server.Exec(c.URL,
		`CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN
			IF NEW.id = 'exposure-x-3' THEN RAISE EXCEPTION 'refused'; END IF; RETURN NEW; END $$ LANGUAGE plpgsql`,
		`CREATE TRIGGER refuse BEFORE INSERT ON agiqa_exposures FOR EACH ROW EXECUTE FUNCTION refuse()`)
	var group sync.WaitGroup
	for n := range 40 {
		group.Go(func() {
			err := s.AppendExposures(t.Context(), []experiment.Exposure{storetest.NewExposure("x", n)})
			if n == 3 && quality.KindOf(err) != quality.KindStoreUnavailable || n != 3 && err != nil {
				t.Errorf("append of %d: %v", n, err)
			}
		})
	}
	group.Wait()
	if found := everything(t, s, "x"); len(found) != 39 || found["exposure-x-3"] != 0 {
		t.Errorf("%d records are there, want 39", len(found))
	}
}

// testSecret looks for the password in what is said of every way to fail.
func testSecret(t *testing.T, server *postgrestest.Server) {
	good, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	wrong, down := *good, *good
	wrong.User = url.UserPassword("nobody", postgrestest.Password)
	down.Host = "127.0.0.1:1"
	for name, address := range map[string]string{
		"not a URL":       "postgres://agiqa:" + postgrestest.Password + "@127.0.0.1/postgres",
		"a wrong user":    wrong.String(),
		"nothing answers": down.String(),
	} {
		var logged bytes.Buffer
		c := sqlstore.DefaultConfig()
		c.URL, c.Logger = address, slog.New(slog.NewTextHandler(&logged, nil))
		s, err := sqlstore.Open(t.Context(), c)
		if err == nil {
			_, err = s.List(t.Context())
			s.Close()
		}
		if quality.KindOf(err) != quality.KindStoreUnavailable {
			t.Errorf("%s: %v, want store_unavailable", name, err)
		}
		if said := fmt.Sprintf("%v %+v %s", err, err, logged.String()); strings.Contains(said, "secret") {
			t.Errorf("%s: the password is in %q", name, said)
		}
	}
}

// testRestart kills the server under a store, opens another meanwhile, and
// wants both to go on by themselves with everything that was acknowledged.
func testRestart(t *testing.T, server *postgrestest.Server) {
	c := postgresConfig(server)
	s := open(t, c)
	one := func(s *sqlstore.Store, n int) error {
		return s.AppendExposures(t.Context(), []experiment.Exposure{storetest.NewExposure("x", n)})
	}
	if err := one(s, 1); err != nil {
		t.Fatal(err)
	}
	everything(t, s, "x") // leaves a reading connection
	server.Kill()
	if err := one(s, 2); quality.KindOf(err) != quality.KindStoreUnavailable {
		t.Errorf("append without the server: %v, want store_unavailable", err)
	}
	if _, err := s.List(t.Context()); quality.KindOf(err) != quality.KindStoreUnavailable {
		t.Errorf("List without the server: %v, want store_unavailable", err)
	}
	early := open(t, c)
	server.Run()
	for n, s := range map[int]*sqlstore.Store{3: s, 4: early} {
		if err := one(s, n); err != nil {
			t.Errorf("append when the server is back: %v", err)
		}
	}
	found := everything(t, s, "x")
	for n := range 4 {
		if id := storetest.NewExposure("x", n+1).ID; found[id] != 1 && n != 1 {
			t.Errorf("%s is there %d times", id, found[id])
		}
	}
	// Connections that have just lost their server are replaced at once.
	server.Exec(c.URL, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'agiqa'`)
	if err := one(s, 5); err != nil {
		t.Errorf("append after a restart that nobody noticed: %v", err)
	}
	if _, err := s.List(t.Context()); err != nil {
		t.Errorf("List after a restart that nobody noticed: %v", err)
	}
}

func postgresConfig(server *postgrestest.Server) sqlstore.Config {
	c := sqlstore.DefaultConfig()
	c.URL = server.URL()
	c.Clock = storetest.NewClock().Now
	return c
}
