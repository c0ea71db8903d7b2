package sqlstore

import (
	"log/slog"
	"time"
)

// Config says where the records are. Start from [DefaultConfig] and set either
// Path or URL.
type Config struct {
	Path string // a SQLite file on a local disk; it's created, with its folder
	URL  string // postgres://user:password@host/database

	// Fault, if it's set, is why the store must not be used: every call is
	// store_unavailable.
	Fault error

	// Clock is the store's; nil: PostgreSQL's own, or the system's.
	Clock func() time.Time
	// Steady is the time that has passed since some moment, whatever is done to clocks;
	// nil: by differences of Clock, or the system's monotonic clock.
	Steady func() time.Duration
	Logger *slog.Logger // for failures that no caller gets to see
}

// DefaultConfig has the clocks that there are, and no log.
func DefaultConfig() Config { return Config{Logger: slog.New(slog.DiscardHandler)} }

const (
	queueSize     = 4096                 // appends that may wait; more of them block
	batchSize     = 256                  // appends that share a transaction
	gatherTime    = 2 * time.Millisecond // how long a busy writer waits for as many appends as it had before
	lockWait      = 3 * time.Second      // for another process's transaction
	timeout       = 5 * time.Second      // of a transaction or a query, without lockWait
	purgeInterval = 10 * time.Minute     // between two removals of expired orphans
	readers       = 4                    // connections that read
)
