// Package engine runs experiments: it assigns the images of requests to arms,
// records exposures before the response is sent, accepts feedback, watches
// guardrails, widens ramps, and promotes and rolls back.
//
// Several engines can share a store. Each reads it once a second, and after each
// of its own changes. Every change is a compare-and-swap on the experiment's
// revision, so that only one of two competing engines makes it.
//
// An experiment never costs a score: if the store or an arm fails, the control
// arm answers, and the response says so. Package scoring calls it during a
// request (scoring.Director), package gateway on the experiment routes.
package engine
