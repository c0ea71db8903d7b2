// Package load asks a server for answers on a schedule that was fixed before
// the start, and records the outcome of every request.
//
// The loop is open: a request is due when the schedule says so, whatever the
// server is doing, and its latency counts from then. A request that waits for
// a free connection is waiting for the server, and the wait is in the figures.
// What the generator itself is late by is measured apart from that and printed
// beside it, so that a reader sees when the instrument, not the server, was at
// its limit. A closed loop ([Options.Closed]) is there on request and says so
// in every output.
//
// A run is data first: a [Record] of each scheduled request and a [Manifest].
// [Summarise] and everything that is drawn or printed is derived from them, at
// any time. Each scheduled request ends in one of four ways, and [Run.Check]
// holds that they add up: completed, error, dropped, unsent.
//
// [Schedule] says when, [Workload] says what, [Target] carries it, [Options]
// bounds it. On top of single runs stand [Compare] (two targets in turns),
// [FindKnee] (the highest rate within an objective), [Overload] (several times
// a rate, and the way back) and [Watcher] (what a long run does to a process).
//
// The package is a client among clients: it knows HTTP and no server package.
// It never sends a request twice.
package load
