package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/internal/config"
)

func TestRedisConfigNamesTheSetting(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ url, ca, want string }{
		{"redis://h", "", ""},
		{"rediss://h", "", ""},
		{"http://h", "", "setting redis-url"},
		{"rediss://h", empty + ".missing", "setting redis-ca"},
		{"rediss://h", empty, "setting redis-ca: " + empty + " has no certificate"},
	} {
		_, err := RedisConfig(config.Settings{RedisURL: config.Secret(test.url), RedisCA: test.ca})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}
