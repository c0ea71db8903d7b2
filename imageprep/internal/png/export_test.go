package png

// Unfilter undoes the filter of a row.
var Unfilter = unfilter
