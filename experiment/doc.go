// Package experiment defines A/B tests of prompt checkpoints: the definition of
// an experiment, the assignment of units to arms, and the records.
//
// Every arm judges every image, since one embedding serves all of them. So an
// experiment answers two separate questions. Which checkpoint agrees better with
// people? Labels on images answer it, paired across the arms. Does the shown
// score change what users do? Only random assignment answers that.
//
// The core is pure functions: assignment, the state machine, guardrails. The
// package doesn't know HTTP, gRPC or SQL. [Store] is implemented in
// experiment/sqlstore; experiment/stats has the statistics, experiment/analysis
// draws conclusions from the records, and experiment/engine runs it all.
package experiment
