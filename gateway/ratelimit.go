package gateway

// RateLimit bounds the scoring requests of each client. The key that a client
// sends is not verified here: whoever must not invent keys has to be stopped in
// front.
type RateLimit struct {
	PerSecond float64 // 0: no limits
	Burst     int     // requests at once
	Header    string  // holds the client's key; without it Authorization, then the address count
	Keys      int     // clients that are remembered; the one not seen for longest goes first
}
