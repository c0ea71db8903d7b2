package cli_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/server"
)

// TestClientKey: a key from the data folder goes to this machine and nowhere
// else.
func TestClientKey(t *testing.T) {
	s := config.Default()
	s.DataDir = t.TempDir()
	if err := server.EnsureAdminKey(&s); err != nil {
		t.Fatal(err)
	}
	key := s.AdminKey
	for _, test := range []struct {
		url   string
		given config.Secret
		api   config.Secret
		want  config.Secret // "": an error
	}{
		{"http://127.0.0.1:8080", "", "", key},
		{"http://localhost:1", "", "", key},
		{"http://[::1]:1", "", "", key},
		{"http://example.com", "", "", ""},
		{"http://127.0.0.1.example.com", "", "", ""},
		{"http://127.0.0.1@example.com", "", "", ""},
		{"http://example.com", "given", "", "given"},
		{"http://127.0.0.1:8080", "given", "", "given"},
		{"http://127.0.0.1:8080", "", "another", key},
		{"http://example.com", "", "another", "another"},
		{"http://example.com", "given", "another", "given"},
	} {
		s.URL, s.AdminKey, s.APIKey = test.url, test.given, test.api
		got, err := cli.ClientKey(s)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s, setting of %d characters: a key of %d characters, %v", test.url, len(test.given), len(got), err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.DataDir, "admin.key"), []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.URL, s.AdminKey, s.APIKey = "http://127.0.0.1", "", ""
	if _, err := cli.ClientKey(s); err == nil {
		t.Error("a key of five characters was taken")
	}
}
