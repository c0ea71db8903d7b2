package cli

// Exported for tests.
var (
	ClientKey      = clientKey
	CheckEffective = checkEffective
)

// CheckKeyTravel refuses to send a key so that others on the network can read it.
var CheckKeyTravel = checkKeyTravel
