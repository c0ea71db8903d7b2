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

// TestServes: a server answers for the addresses that it is at, and for no other.
func TestServes(t *testing.T) {
	on := func(local string) context.Context {
		address, err := net.ResolveTCPAddr("tcp", local)
		if err != nil {
			t.Fatal(err)
		}
		return context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(address))
	}
	named := hostcheck.Policy{Names: []string{"api.example", "localhost:9999"}}
	for _, test := range []struct {
		name, local, address string
		policy               hostcheck.Policy
		want                 bool
	}{
		{"itself", "127.0.0.1:8080", "127.0.0.1:8080", hostcheck.Policy{}, true},
		{"by name", "127.0.0.1:8080", "localhost:8080", hostcheck.Policy{}, true},
		{"IPv6", "[::1]:8080", "[::1]:8080", hostcheck.Policy{}, true},
		{"another port: somebody passes it on", "127.0.0.1:8081", "127.0.0.1:8080", hostcheck.Policy{}, false},
		{"from another machine's loopback", "192.0.2.1:8080", "127.0.0.1:8080", hostcheck.Policy{}, false},
		{"an address of its own", "192.0.2.1:8080", "192.0.2.1:8080", hostcheck.Policy{}, true},
		{"another address", "192.0.2.1:8080", "192.0.2.2:8080", hostcheck.Policy{}, false},
		{"a name that it doesn't know", "192.0.2.1:8080", "api.example:8080", hostcheck.Policy{}, false},
		{"a name", "192.0.2.1:8080", "api.example:443", named, true},
		{"a name much like it", "192.0.2.1:8080", "api.exmaple:443", named, false},
		{"a tunnel", "127.0.0.1:8080", "localhost:9999", named, true},
		{"another tunnel", "127.0.0.1:8080", "localhost:9998", named, false},
		{"no port", "127.0.0.1:8080", "127.0.0.1", hostcheck.Policy{}, false},
		{"everything", "127.0.0.1:8080", "evil.example:1", hostcheck.Policy{Names: []string{"*"}}, true},
	} {
		if got := test.policy.Serves(on(test.local), test.address); got != test.want {
			t.Errorf("%s: a server at %s answers for %s: %v, want %v", test.name, test.local, test.address, got, test.want)
		}
	}
	if (hostcheck.Policy{}).Serves(t.Context(), "127.0.0.1:8080") {
		t.Error("a request without a connection proves nothing")
	}
}
