// Package stats is the statistics of experiments with prompt checkpoints: which
// arm agrees better with people, whether a served score changes what users do,
// and whether the data can be trusted to say so.
//
// Everything here is a function of its arguments or a small value that takes one
// observation after the other. Nothing waits, opens or logs, and the same
// observations in the same order give the same bits, whatever the number of
// cores: a report computed again from the log equals the live one.
//
// Data that can't be used (a number that is not finite, too few values, values
// that don't differ) is an error that names the argument; no result is ever NaN.
//
// The parts, by the question that they answer:
//
//   - Which arm agrees better, read once: [Bootstrap.Agreement] (BCa intervals by
//     image, by image and rater), [Williams], [Steiger], [Meng], [Krasula]; [Holm]
//     over arms and figures.
//   - The same, looked at all the time: [Sequence] (asymptotic confidence
//     sequence), [Decide].
//   - Preferences: [McNemar], [Preferences] (an e-process),
//     [BradleyTerry].
//   - What users do: [DifferenceOfMeans], [RatioOfMeans], [CUPED], [TwoSampleSequence].
//   - Whether the split is the one that was ordered: [SRM], [SequentialSRM].
//   - Whether scores drift: [PSI], [KolmogorovSmirnov].
//   - How many labels it takes: [MDE], [LabelsToGo], [SequenceLabels].
//   - Slices and raters: [Shrink], [ScreenRaters].
//
// The figures themselves (SRCC, KRCC, PLCC, RMSE, logistic mappings) are those
// of package evaluation. The package stands below experiment and whatever reads
// its log; it knows no store, no clock and no request.
package stats
