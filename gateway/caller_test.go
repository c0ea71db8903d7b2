package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
)

func networks(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

func TestWhoTheClientIs(t *testing.T) {
	proxies := networks("10.0.0.0/8", "2001:db8:ffff::/48")
	for _, tt := range []struct {
		name, peer string
		forwarded  []string // lines of X-Forwarded-For
		want       string
	}{
		{"nobody in front", "192.0.2.1:1000", nil, "addr:192.0.2.1"},
		{"another port of that address", "192.0.2.1:1001", nil, "addr:192.0.2.1"},
		{"IPv6 by its network", "[2001:db8::1]:1000", nil, "addr:2001:db8::/64"},
		{"another address of that network", "[2001:db8::2:3]:1000", nil, "addr:2001:db8::/64"},
		{"another network", "[2001:db8:0:1::1]:1000", nil, "addr:2001:db8:0:1::/64"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.1]:1000", nil, "addr:192.0.2.1"},
		{"a zone of this machine", "[fe80::1%eth0]:1000", nil, "addr:fe80::/64"},
		{"no address", "pipe", []string{"192.0.2.9"}, "addr:unknown"},

		{"a stranger forwards nothing", "192.0.2.1:1000", []string{"198.51.100.1"}, "addr:192.0.2.1"},
		{"a proxy without the header", "10.0.0.1:1000", nil, "addr:10.0.0.1"},
		{"a proxy", "10.0.0.1:1000", []string{"192.0.2.1"}, "addr:192.0.2.1"},
		{"a proxy over IPv6", "[2001:db8:ffff::1]:1000", []string{"192.0.2.1"}, "addr:192.0.2.1"},
		{"a proxy over IPv4 in IPv6", "[::ffff:10.0.0.1]:1000", []string{"192.0.2.1"}, "addr:192.0.2.1"},
		{"what a client invents comes first", "10.0.0.1:1000",
			[]string{"198.51.100.1, 10.1.1.1, 192.0.2.1"}, "addr:192.0.2.1"},
		{"two proxies", "10.0.0.1:1000", []string{"198.51.100.1, 192.0.2.1, 10.0.0.2"}, "addr:192.0.2.1"},
		{"several lines", "10.0.0.1:1000", []string{"198.51.100.1", "192.0.2.1 ,\t10.0.0.3", "10.0.0.2"}, "addr:192.0.2.1"},
		{"only proxies: the one that began", "10.0.0.1:1000", []string{"10.0.0.9, 10.0.0.2"}, "addr:10.0.0.9"},
		{"with a port", "10.0.0.1:1000", []string{"192.0.2.1:54321"}, "addr:192.0.2.1"},
		{"IPv6", "10.0.0.1:1000", []string{"2001:db8::1"}, "addr:2001:db8::/64"},
		{"IPv6 in brackets", "10.0.0.1:1000", []string{"[2001:db8::1]"}, "addr:2001:db8::/64"},
		{"IPv6 with a port", "10.0.0.1:1000", []string{"[2001:db8::1]:443"}, "addr:2001:db8::/64"},
		{"IPv4 in IPv6, forwarded", "10.0.0.1:1000", []string{"::ffff:192.0.2.1"}, "addr:192.0.2.1"},
		{"a proxy as IPv4 in IPv6", "10.0.0.1:1000", []string{"192.0.2.1, ::ffff:10.0.0.2"}, "addr:192.0.2.1"},

		{"a name", "10.0.0.1:1000", []string{"192.0.2.1, unknown"}, "addr:10.0.0.1"},
		{"a zone", "10.0.0.1:1000", []string{"fe80::1%eth0"}, "addr:10.0.0.1"},
		{"IPv4 in brackets", "10.0.0.1:1000", []string{"[192.0.2.1]"}, "addr:10.0.0.1"},
		{"half a bracket", "10.0.0.1:1000", []string{"[2001:db8::1"}, "addr:10.0.0.1"},
		{"an empty element", "10.0.0.1:1000", []string{"192.0.2.1,"}, "addr:10.0.0.1"},
		{"an empty line", "10.0.0.1:1000", []string{"192.0.2.1", ""}, "addr:10.0.0.1"},
		{"leading zeros", "10.0.0.1:1000", []string{"192.0.02.1"}, "addr:10.0.0.1"},
		{"a wrong port", "10.0.0.1:1000", []string{"192.0.2.1:99999"}, "addr:10.0.0.1"},
		{"other white space", "10.0.0.1:1000", []string{"192.0.2.1\u00a0"}, "addr:10.0.0.1"},
		{"garbage that a client wrote", "10.0.0.1:1000", []string{"\x00,,%%, 192.0.2.1"}, "addr:192.0.2.1"},
		{"a long list", "10.0.0.1:1000", []string{strings.Repeat("10.0.0.2,", 4000) + "10.0.0.3"}, "addr:10.0.0.2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			req.RemoteAddr = tt.peer
			req.Header["X-Forwarded-For"] = tt.forwarded
			if got := gateway.ClientOf(req, proxies); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if got, alone := gateway.ClientOf(req,
				nil), gateway.ClientOf(&http.Request{RemoteAddr: tt.peer}, nil); got != alone {
				t.Errorf("without trusted proxies the header counts: %s, want %s", got, alone)
			}
		})
	}
}

// Logs name the client as limits count it, spans its whole address.
func TestLogsAndSpansNameTheClient(t *testing.T) {
	r := newRig(t, func(p *plan) { p.gateway.TrustedProxies = networks("192.0.2.0/24") })
	got := r.post("/v1/score", testimages.PNG(8, 8), "image/png", header("X-Forwarded-For", "2001:db8::7"))
	if got.status != http.StatusOK {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	if client := r.requests()[0]["client"]; client != "addr:2001:db8::/64" {
		t.Errorf("the log names the client %v", client)
	}
	if address := attributes(r.serverSpans()[0])["client.address"]; address != "2001:db8::7" {
		t.Errorf("client.address is %q", address)
	}
}
