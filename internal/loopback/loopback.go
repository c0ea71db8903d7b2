// Package loopback tells this machine's own addresses from all others, for what is
// done on one machine only: handing out a key, sharing memory, sending load.
package loopback

import "net"

// Is reports whether a host, a name or an IP address without port, is this machine
// whatever a resolver says. No name is looked up, since what it means may change.
func Is(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
