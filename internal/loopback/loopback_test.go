package loopback_test

import (
	"testing"

	"github.com/agiqa/agiqa/internal/loopback"
)

func TestIs(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.8.9.10": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "128.0.0.1": false, "localhost.example.org": false,
		"127.0.0.1.example.org": false, "127.0.0.1:80": false, "LOCALHOST.": false,
	} {
		if got := loopback.Is(host); got != want {
			t.Errorf("%q: got %v", host, got)
		}
	}
}
