// Package evaluation says how well scores agree with people: SRCC, KRCC
// (tau-b), PLCC and RMSE, raw and after a 4- and a 5-parameter logistic, each
// with a bootstrap interval.
//
// It stands beside the flow of a request: `agiqa eval` collects scores from a
// server and hands them here. The package computes on two lists of numbers; it
// refuses lists that differ in length, hold values that are not finite, or are
// shorter than three, and it opens nothing.
//
// Every algorithm is the one of training/agiqa_train/agreement, step by step,
// so that `agiqa eval` and `agiqa-train evaluate` print the same figures to
// 1e-9 on the same scores. testdata/agreement.json, written by the Python side,
// holds both to it.
package evaluation
