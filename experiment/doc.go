// Package experiment is A/B testing of prompt checkpoints: what an experiment
// is, who is shown which arm, and what is written down about it.
//
// Every arm judges every image, because one embedding serves all of them; so
// an experiment answers two questions that are kept apart. Which checkpoint
// agrees better with people? Labels on images answer it, pairwise over the
// arms. Does the score that is shown change what users do? Only assignment at
// random answers that.
//
// The core is functions of their arguments: assignment, the machine of states,
// guardrails. It refuses to know HTTP, gRPC, SQL or how scores come about.
// Stores stand at its edge behind [Store] (experiment/sqlstore); statistics
// are in experiment/stats, what is concluded from the records in
// experiment/analysis. scoring asks it for an assignment and tells it what was
// exposed; gateway and cmd show it to people.
package experiment
