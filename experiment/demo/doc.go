// Package demo makes what an experiment needs and a demonstration has not:
// images, by cropping, mirroring and blurring a few, and people who rate them,
// whose true opinion of each image is told.
//
// The truth is a function of the scores of both arms, which whoever demonstrates
// chooses and says. The server that runs the experiment never learns it: it sees
// images and labels. The spread of single ratings is that of AGIQA-3K, by package
// simulate. Everything is seeded; the package opens nothing.
package demo
