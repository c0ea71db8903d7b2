// Package tracelog is a collector for one machine: it takes spans over
// OTLP/HTTP, from this program and from the Triton beside it, keeps the latest
// of them in a file of bounded size, and draws a trace for a terminal.
//
// The file holds OTLP's JSON form, one export a line, which other tools read
// too. What it receives it can send on to a real collector, whose answer is
// then the answer. It refuses to be one itself: no sampling, no search, no
// guarantee beyond a write to a file. Nothing of the project is known here; it
// stands beside package telemetry, which sends.
package tracelog
