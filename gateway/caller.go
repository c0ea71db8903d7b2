package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/access"
)

// identifyCaller finds out who a request is from, and puts the
// [access.Principal] into its context. Everything behind it goes by that. A
// request with a key that isn't valid is from its address; authorize refuses it.
func (g *Gateway) identifyCaller(c *gin.Context) {
	address := clientAddress(c.Request, g.cfg.TrustedProxies)
	p := access.Principal{Client: clientOf(address), Connection: c.Request.RemoteAddr}
	ctx := c.Request.Context()
	if address.IsValid() {
		trace.SpanFromContext(ctx).SetAttributes(attribute.String("client.address", address.String()))
	}
	if permit, _ := permitOf(c.Request.Method, c.FullPath()); permit.scope != "" {
		p, idsOf(ctx).stranger = g.guard.authenticate(c.Request, p)
	}
	idsOf(ctx).client = p.Client
	c.Request = c.Request.WithContext(access.With(ctx, p))
}

// clientOf names a caller without a key by its address; of IPv6, where one
// customer has many addresses, by the /64 network.
func clientOf(address netip.Addr) string {
	switch {
	case !address.IsValid():
		return "addr:unknown"
	case address.Is6():
		network, _ := address.Prefix(64) // fails for more bits than an address has
		return "addr:" + network.String()
	}
	return "addr:" + address.String()
}

// clientAddress is the address of the client: the connection's other end or,
// where that is a trusted proxy, the last address in X-Forwarded-For that isn't
// one. A client can write whatever it likes in front of the address that the
// proxy adds, and none of it is looked at. What a proxy wrote and isn't an
// address names nobody: then the proxy itself is the client.
func clientAddress(r *http.Request, proxies []netip.Prefix) netip.Addr {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	peer := plainAddress(remote.Addr())
	if !within(peer, proxies) {
		return peer
	}
	client := peer
	for _, line := range slices.Backward(r.Header.Values("X-Forwarded-For")) {
		for more := true; more; {
			i := strings.LastIndexByte(line, ',')
			hop, ok := forwardedAddress(strings.Trim(line[i+1:], " \t"))
			if !ok {
				return peer
			}
			if client = hop; !within(hop, proxies) {
				return client
			}
			if more = i >= 0; more {
				line = line[:i]
			}
		}
	}
	return client // a proxy that asks for itself
}

// forwardedAddress reads an element of X-Forwarded-For: an address, IPv6 also in
// brackets, with or without a port. A zone means nothing on another machine.
func forwardedAddress(s string) (netip.Addr, bool) {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s += ":0"
	}
	address, err := netip.ParseAddr(s)
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(s)
		address = withPort.Addr()
	}
	return plainAddress(address), err == nil && address.Zone() == ""
}

func plainAddress(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func within(a netip.Addr, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}
