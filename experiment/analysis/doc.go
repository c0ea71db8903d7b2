// Package analysis draws conclusions from an experiment's records: which arm
// agrees better with people, what users did, whether the data can be trusted, and
// whether a treatment may replace the control.
//
// [State] reads the log of one phase. [State.Decide] is cheap and serves the live
// status and the controller; [Analyse] computes a full report, bootstrap included;
// [Promote] is the promotion rule; [Replay] recomputes everything from the log and
// compares it with an earlier report.
//
// The same set of records gives the same bits, in any order and with duplicates;
// [State] documents how each record counts. The statistics come from
// experiment/stats. The package knows neither HTTP nor SQL and reads no clock.
// Package experiment/report draws its [Report] as pages and pictures.
package analysis
