package server

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/internal/config"
)

// TestOpenScoring: by default images are scored without a key where only this
// machine reaches the server, and nobody is told that who isn't concerned.
func TestOpenScoring(t *testing.T) {
	proxy := config.Networks{netip.MustParsePrefix("127.0.0.0/8")}
	for _, test := range []struct {
		name, listen, access, key string
		proxies                   config.Networks
		open                      bool
		warns                     []string
	}{
		{name: "loopback", listen: "127.0.0.1:0", access: "auto", open: true},
		{name: "loopback, by key", listen: "127.0.0.1:0", access: "key"},
		{name: "loopback behind a proxy", listen: "127.0.0.1:0", access: "auto", proxies: proxy},
		{name: "loopback behind a proxy, open", listen: "127.0.0.1:0", access: "open", proxies: proxy, open: true},
		{name: "everywhere", listen: "0.0.0.0:0", access: "auto", key: "k", warns: []string{"other machines"}},
		{name: "everywhere, IPv4 and IPv6", listen: ":0", access: "auto", key: "k", warns: []string{"other machines"}},
		{name: "everywhere, nobody has a key", listen: "0.0.0.0:0", access: "key",
			warns: []string{"other machines", "admin-key isn't set"}},
		{name: "everywhere, open", listen: "0.0.0.0:0", access: "open", open: true,
			warns: []string{"other machines", "scoring-access is open"}},
	} {
		listener, err := net.Listen("tcp", test.listen)
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{listener: listener}
		s.settings.ScoringAccess, s.settings.TrustedProxies = test.access, test.proxies
		s.settings.AdminKey = config.Secret(test.key)
		if got := s.OpenScoring(); got != test.open {
			t.Errorf("%s: open %v, want %v", test.name, got, test.open)
		}
		if got := s.Access(); strings.Contains(got, "agiqa key create") == test.open {
			t.Errorf("%s: says %q", test.name, got)
		}
		warnings := s.AccessWarnings()
		for i, w := range warnings {
			if i >= len(test.warns) || !strings.Contains(w, test.warns[i]) {
				t.Errorf("%s: warns %q, want %q", test.name, warnings, test.warns)
			}
		}
		if len(warnings) != len(test.warns) {
			t.Errorf("%s: warns %q, want %q", test.name, warnings, test.warns)
		}
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
}
