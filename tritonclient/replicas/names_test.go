package replicas_test

import (
	"slices"
	"testing"

	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// TestFamily: a name with addresses of both families stands for each server once,
// and one server that is down doesn't move the others.
func TestFamily(t *testing.T) {
	v4, v6 := []string{"10.0.0.1", "10.0.0.2"}, []string{"fd00::1", "fd00::2"}
	both := slices.Concat(v6, v4)
	for _, test := range []struct {
		name    string
		ips     []string
		failing map[string]bool
		want    []string
	}{
		{"at first", both, nil, v4},
		{"IPv6 only", v6, nil, v6},
		{"IPv4 only", v4, nil, v4},
		{"no address", []string{"x"}, nil, nil},
		{"one of two is down", both, map[string]bool{"10.0.0.1": true, "10.0.0.2": false}, v4},
		{"all of IPv4 fail", both, map[string]bool{"10.0.0.1": true, "10.0.0.2": true}, v6},
		{"all fail, and there are no others", v4, map[string]bool{"10.0.0.1": true, "10.0.0.2": true}, v4},
		{"IPv6 is in use and works", both, map[string]bool{"fd00::1": true, "fd00::2": false}, v6},
		{"IPv6 is in use and fails", both, map[string]bool{"fd00::1": true, "fd00::2": true}, v4},
		{"the family in use is gone", v4, map[string]bool{"fd00::1": false}, v4},
		{"one is written otherwise", []string{"FD00:0::1"}, nil, []string{"fd00::1"}},
	} {
		if got := replicas.Family(test.ips, test.failing); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
