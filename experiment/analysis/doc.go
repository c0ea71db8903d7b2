// Package analysis is what is concluded from an experiment's records: which arm
// agrees better with people, what users did, whether the data can be trusted, and
// whether a treatment may take the control's place.
//
// [State] reads the log of one phase. [State.Decide] is cheap and serves the live
// status and the controller; [Analyse] adds everything that a report tells,
// bootstrap included; [Promote] is the rule of promotion; [Replay] computes
// everything again from the log and compares it with what was said before.
//
// The same set of records gives the same bits, in whatever order and however often
// they came; what a record is taken for is written at [State]. The package takes
// statistics from experiment/stats and makes none; it knows no HTTP, no SQL and no
// clock. Pictures and pages are made of its [Report] in experiment/report.
package analysis
