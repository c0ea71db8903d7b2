package gateway

import (
	"net/http"
	"net/netip"

	"github.com/gin-gonic/gin"

	"github.com/agiqa/agiqa/access"
)

// identifyCaller finds out who a request is from, and puts the
// [access.Principal] into its context. Everything behind it goes by that.
func (g *Gateway) identifyCaller(c *gin.Context) {
	p := access.Principal{Client: clientAddress(c.Request)}
	c.Request = c.Request.WithContext(access.With(c.Request.Context(), p))
}

// clientAddress names a caller without a key by its address; of IPv6, where one
// customer has many addresses, by the /64 network.
func clientAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "addr:unknown"
	}
	address := peer.Addr().Unmap().WithZone("")
	if address.Is6() {
		network, err := address.Prefix(64)
		if err != nil {
			return "addr:unknown"
		}
		return "addr:" + network.String()
	}
	return "addr:" + address.String()
}
