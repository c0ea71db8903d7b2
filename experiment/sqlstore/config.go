package sqlstore

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Config says where the records are. Take [DefaultConfig] and set either Path
// or URL.
type Config struct {
	Path string // a SQLite file on a local disk; it is made, its folder too
	URL  string // postgres://user:password@host/database

	Clock  func() time.Time // tells when orphans expire
	Logger *slog.Logger     // for what no caller is told

	Queue    int           // appends that may wait; more of them block
	Batch    int           // appends that share a transaction
	Gather   time.Duration // how long a busy writer waits for as many appends as it had before
	LockWait time.Duration // for another process's transaction
	Timeout  time.Duration // of a transaction or a query, without that wait
	Purge    time.Duration // between two removals of expired orphans
	Readers  int           // connections that read
}

// DefaultConfig returns what suits a gateway, without Path and URL.
func DefaultConfig() Config {
	return Config{
		Clock:  time.Now,
		Logger: slog.New(slog.DiscardHandler),
		Queue:  4096, Batch: 256, Gather: 2 * time.Millisecond,
		LockWait: 3 * time.Second, Timeout: 5 * time.Second, Purge: 10 * time.Minute, Readers: 4,
	}
}

// maxGather bounds what gathering may add to an exposure's latency.
const maxGather = 5 * time.Millisecond

// Validate reports every fault at once. It names no part of the URL, which
// holds a password.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check((c.Path == "") != (c.URL == ""), "exactly one of Path and URL must be set")
	check(c.Clock != nil, "Clock is missing")
	check(c.Logger != nil, "Logger is missing")
	check(c.Queue > 0, "Queue %d is not positive", c.Queue)
	check(c.Batch > 0 && c.Batch <= 1024, "Batch %d is not in 1..1024", c.Batch)
	check(c.Gather >= 0 && c.Gather <= maxGather, "Gather %s is not in 0..%s", c.Gather, maxGather)
	check(c.LockWait > 0, "LockWait %s is not positive", c.LockWait)
	check(c.Timeout > 0, "Timeout %s is not positive", c.Timeout)
	check(c.Purge > 0, "Purge %s is not positive", c.Purge)
	check(c.Readers > 0, "Readers %d is not positive", c.Readers)
	return errors.Join(faults...)
}
