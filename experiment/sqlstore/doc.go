// Package sqlstore keeps experiments and their records in SQLite, one file on
// this machine, or in PostgreSQL, for several gateways. It is the
// experiment.Store of the server.
//
// What it has acknowledged was committed with an fsync. Concurrent appends
// share a transaction: one goroutine writes, takes whatever waits while it
// commits, and tells every caller its own outcome. An append whose caller
// leaves may be written all the same.
//
// Whatever the disk or the database does becomes store_unavailable, and the
// next call tries again. It refuses to guess: nothing is acknowledged that was
// not committed, and no record is changed after it was written, except that an
// orphan is joined when its exposure appears. Whether a label supersedes or
// contradicts an earlier one is for the analysis to say, from the log in the
// order of time.
package sqlstore
