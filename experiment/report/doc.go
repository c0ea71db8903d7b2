// Package report draws what experiment/analysis concluded: one page of HTML that
// needs nothing else, and one PNG of the main pictures. It computes nothing and
// asks nobody; every figure is in the [analysis.Report] that it is given.
//
// Pictures are drawn once, as plots, and come out as SVG within the page and as
// pixels in the sheet.
package report
