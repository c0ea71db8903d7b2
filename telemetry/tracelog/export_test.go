package tracelog

// ParseJSON is for the fuzz target.
var ParseJSON = parseJSON
