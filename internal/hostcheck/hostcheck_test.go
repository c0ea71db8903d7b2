package hostcheck_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/agiqa/agiqa/internal/hostcheck"
)

func TestAllows(t *testing.T) {
	own := hostcheck.Policy{Loopback: true}
	named := hostcheck.Policy{Names: []string{"api.example", "10.0.0.9", "tunnel.example:9999"}}
	both := hostcheck.Policy{Loopback: true, Names: []string{"api.example"}}
	for _, test := range []struct {
		name, host string
		policy     hostcheck.Policy
		want       bool
	}{
		{"loopback address", "127.0.0.1:8080", own, true},
		{"another loopback address", "127.8.9.10", own, true},
		{"IPv6", "[::1]:8080", own, true},
		{"IPv6 without port", "[::1]", own, true},
		{"localhost", "localhost:8080", own, true},
		{"localhost, written otherwise", "LocalHost.:1", own, true},
		{"HTTP/1.0", "", own, true},
		{"the connection's own address", "192.0.2.7:8080", own, true},
		{"a page's name", "evil.example", own, false},
		{"a page's name and our port", "evil.example:8080", own, false},
		{"a name that begins with an address", "127.0.0.1.evil.example", own, false},
		{"a name that begins with localhost", "localhost.evil.example:8080", own, false},
		{"another address", "192.0.2.8:8080", own, false},
		{"every address", "0.0.0.0:8080", own, false},
		{"an address as a number", "2130706433", own, false},
		{"user and host", "localhost@evil.example", own, false},
		{"nonsense", "[::1", own, true}, // names loopback, and no resolver could lead elsewhere
		{"nothing is set", "evil.example", hostcheck.Policy{}, true},
		{"a name", "api.example", named, true},
		{"a name, in capitals, with a port", "API.example:443", named, true},
		{"an address", "10.0.0.9:1", named, true},
		{"a name with its port", "tunnel.example:9999", named, true},
		{"a name with another port", "tunnel.example:9998", named, false},
		{"a name without its port", "tunnel.example", named, false},
		{"names, and this machine", "localhost", named, true},
		{"names, and another", "evil.example", named, false},
		{"below a name", "evil.api.example", named, false},
		{"a name on loopback", "api.example", both, true},
		{"another on loopback", "evil.example", both, false},
		{"everything", "evil.example", hostcheck.Policy{Loopback: true, Names: []string{"*"}}, true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = test.host
		local := &net.TCPAddr{IP: net.ParseIP("192.0.2.7"), Port: 8080}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
		if got := test.policy.Allows(r); got != test.want {
			t.Errorf("%s: Host %q is allowed: %v, want %v", test.name, test.host, got, test.want)
		}
	}
}
