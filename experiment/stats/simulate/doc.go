// Package simulate draws images with opinions, arms that score them and raters
// who label them, to see what the methods of package stats do where the truth is
// known: how often they are wrong when nothing differs, and how many labels they
// take when something does.
//
// The population is that of AGIQA-3K (Li et al. 2023, arXiv 2306.04717; 2,982
// images, MIT): by default a synthetic one with its quantiles, or the real one read
// with [ReadAGIQA3K]. Arms follow a simple model: the mean opinion, an error that
// both arms share (they see the same embedding), and an error of their own.
//
// Everything is seeded: the same arguments give the same figures, whatever the
// number of workers. The package opens nothing.
package simulate
