package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	connectTimeout = 5 * time.Second
	// idleConnection is after how long an unused connection is closed: before
	// a firewall forgets it.
	idleConnection = 4 * time.Minute
)

// openPostgres prepares the pools of a database. Nothing is connected yet.
func openPostgres(c Config) (dialect, error) {
	config, err := pgx.ParseConfig(c.URL)
	if err != nil {
		// What the parser says may quote a password that it took for a port.
		return dialect{}, errors.New("the database's URL is not of the form postgres://user:password@host:port/database")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	// A transaction whose gateway froze must not hold the log for ever.
	for name, value := range map[string]string{
		"synchronous_commit":                  "on",
		"lock_timeout":                        milliseconds(lockWait),
		"statement_timeout":                   milliseconds(lockWait + timeout),
		"idle_in_transaction_session_timeout": milliseconds(lockWait + timeout),
		"application_name":                    "agiqa",
	} {
		if _, set := config.RuntimeParams[name]; !set {
			config.RuntimeParams[name] = value
		}
	}
	pool := func(size int) *sql.DB {
		db := stdlib.OpenDB(*config)
		db.SetMaxOpenConns(size)
		db.SetMaxIdleConns(size)
		db.SetConnMaxIdleTime(idleConnection)
		return db
	}
	return dialect{
		name:       "postgresql",
		types:      strings.NewReplacer("{seq}", "BIGINT PRIMARY KEY", "{int}", "BIGINT", "{bytes}", "BYTEA"),
		numbered:   true,
		lockSchema: `SELECT pg_advisory_xact_lock(7020941)`, // any number that all gateways share
		nowMicros:  `(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT`,
		lockLog:    `SELECT last FROM agiqa_log WHERE id = 1 FOR UPDATE`,
		warns:      true,
		shared:     true,
		clock:      `(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT`,
		lockState:  `SELECT revision FROM agiqa_state WHERE id = 1 FOR UPDATE`,
		notify:     `SELECT pg_notify('` + channel + `', '')`,
		listen:     func(ctx context.Context, told func()) error { return listen(ctx, config, told) },
		write:      pool(1), read: pool(readers),
		fault: postgresFault,
		why:   func(error) string { return "" }, // may hold addresses and names
	}, nil
}

// channel is what gateways listen on. Another schema of the same database has the
// same: being told too often does no harm.
const channel = "agiqa_state"

// listenCheck is how often a connection that only listens is tried, so that one
// that a firewall forgot is found.
const listenCheck = 5 * time.Second

// listen calls told once it listens, and with every notification.
func listen(ctx context.Context, config *pgx.ConnConfig, told func()) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	told()
	for {
		waiting, cancel := context.WithTimeout(ctx, listenCheck)
		_, err := conn.WaitForNotification(waiting)
		quiet := waiting.Err() != nil
		cancel()
		switch {
		case err == nil:
			told()
		case ctx.Err() != nil:
			return ctx.Err()
		case !quiet:
			return err
		}
		if err != nil {
			checking, cancel := context.WithTimeout(ctx, listenCheck)
			err = conn.Ping(checking)
			cancel()
			if err != nil {
				return err
			}
		}
	}
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }

// postgresFault sorts the classes of SQLSTATE. An error without one is of the
// network.
func postgresFault(err error) fault {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return ofLink
	}
	switch class := e.Code[:min(2, len(e.Code))]; {
	case e.Code == "55P03", e.Code == "57014": // lock_timeout, statement_timeout
		return ofLock
	case class == "28", class == "3D":
		return ofSetup
	case class == "08", class == "25", class == "40", class == "53", class == "57", class == "58",
		class == "XX", class == "42":
		return ofLink
	}
	return ofRecord
}

// warnOfServer logs what of the server's settings undoes the promise of
// durability.
func (s *Store) warnOfServer(ctx context.Context) {
	for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		var value string
		if err := s.dialect.read.QueryRowContext(ctx, "SHOW "+name).Scan(&value); err == nil && value == "off" {
			s.config.Logger.WarnContext(ctx, "the database server may lose acknowledged records: a durability setting is off",
				"setting", name)
		}
	}
}
