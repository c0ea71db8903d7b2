package cli

// Exported for tests.
var (
	ClientKey      = clientKey
	CheckEffective = checkEffective
)
