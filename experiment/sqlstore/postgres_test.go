//go:build unix

package sqlstore_test

import (
	"testing"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/postgrestest"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/experiment/storetest"
)

func TestPostgres(t *testing.T) {
	server := postgrestest.Start(t)
	storetest.Run(t, func(t *testing.T, clock *storetest.Clock) experiment.Store {
		c := postgresConfig(server)
		c.Clock = clock.Now
		return open(t, c)
	})
}

func postgresConfig(server *postgrestest.Server) sqlstore.Config {
	c := sqlstore.DefaultConfig()
	c.URL = server.URL()
	c.Clock = storetest.NewClock().Now
	return c
}
