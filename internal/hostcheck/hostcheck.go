// Package hostcheck refuses requests that name another server than this one.
//
// A web page can make its visitor's browser send requests to a server on the
// visitor's own machine or network: its name resolves to the page's server first,
// and to 127.0.0.1 later (DNS rebinding). To the browser both are one site, so the
// page may read the answers. Such a request gives itself away by its Host header,
// which has the page's name.
package hostcheck

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/agiqa/agiqa/internal/loopback"
)

// Everything among [Policy.Names] switches the check off.
const Everything = "*"

// Policy says which hosts a request may name.
type Policy struct {
	// Loopback is set for a listener on a loopback address: only this machine's own
	// names are expected there. Elsewhere nothing is checked unless there are names.
	Loopback bool
	// Names are the server's further names: host or host:port, in lower case.
	Names []string
}

// Allows reports whether a request names this server: by a loopback address or
// localhost, by the address that it came in on, or by one of the names. A request
// that names none, which HTTP/1.0 allows, comes from no browser.
func (p Policy) Allows(r *http.Request) bool {
	if !p.Loopback && len(p.Names) == 0 || slices.Contains(p.Names, Everything) || r.Host == "" {
		return true
	}
	host, port := Split(r.Host)
	return loopback.Is(host) || isLocal(r, host) || p.Has(host, port)
}

// Serves reports whether a client that believes to talk to address, host and port,
// talks to this server, as far as it can know: by the connection of the request
// that ctx is of, or because the address is one of the names. No proxy or published
// port can be told from somebody who passes on requests meant for another server.
func (p Policy) Serves(ctx context.Context, address string) bool {
	host, port := Split(address)
	if slices.Contains(p.Names, Everything) || p.Has(host, port) {
		return true
	}
	local, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	here, err := netip.ParseAddrPort(local.String())
	if err != nil || strconv.Itoa(int(here.Port())) != port {
		return false
	}
	there, err := netip.ParseAddr(host)
	return loopback.Is(host) && here.Addr().Unmap().IsLoopback() || err == nil && here.Addr().Unmap() == there.Unmap()
}

// Has reports whether a host, with this port, is one of the names.
func (p Policy) Has(host, port string) bool {
	return slices.Contains(p.Names, host) || port != "" && slices.Contains(p.Names, net.JoinHostPort(host, port))
}

// Split takes a host from its port, which may be missing: lower case, without the
// brackets of an IPv6 address and the dot at the end of a full name.
func Split(hostPort string) (host, port string) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(hostPort, "["), "]"), ""
	}
	return strings.TrimSuffix(strings.ToLower(host), "."), port
}

// isLocal reports whether host is the address of this end of the connection.
func isLocal(r *http.Request, host string) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	here, err := netip.ParseAddrPort(local.String())
	there, hostErr := netip.ParseAddr(host)
	return err == nil && hostErr == nil && here.Addr().Unmap().WithZone("") == there.Unmap().WithZone("")
}
