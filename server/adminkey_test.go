package server

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/agiqa/agiqa/internal/config"
)

func TestEnsureAdminKey(t *testing.T) {
	for _, test := range []struct {
		name, listen, given string
		made                bool
	}{
		{"loopback", "127.0.0.1:8080", "", true},
		{"loopback by name", "localhost:0", "", true},
		{"loopback, IPv6", "[::1]:8080", "", true},
		{"every address", "0.0.0.0:8080", "", false},
		{"every address, unsaid", ":8080", "", false},
		{"an address that others reach", "192.0.2.1:8080", "", false},
		{"a key was given", "127.0.0.1:8080", "chosen by somebody", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := config.Default()
			s.DataDir, s.Listen, s.AdminKey = filepath.Join(t.TempDir(), "data"), test.listen, config.Secret(test.given)
			if err := EnsureAdminKey(&s); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(adminKeyFile(s))
			if !test.made {
				if err == nil || string(s.AdminKey) != test.given {
					t.Errorf("a key was made: %v, %d characters", info, len(s.AdminKey))
				}
				return
			}
			if err != nil || info.Mode().Perm() != 0o600 || len(s.AdminKey) < 26 {
				t.Fatalf("file %v, %v, key of %d characters", info, err, len(s.AdminKey))
			}
			again := s
			again.AdminKey = ""
			if err := EnsureAdminKey(&again); err != nil || again.AdminKey != s.AdminKey {
				t.Errorf("the second start has another key (%v)", err)
			}
		})
	}
}
