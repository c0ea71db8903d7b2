package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/loopback"
)

// adminKeyFile is the key that up makes when none is set. Whoever may read it
// runs as the same user on the same machine, and could as well stop the server.
func adminKeyFile(s config.Settings) string { return filepath.Join(s.DataDir, "admin.key") }

// EnsureAdminKey gives the settings an admin key if they have none and the
// server listens on loopback only: the one of the data folder, which is made
// if need be. An address that others reach has a key that somebody chose, or
// none.
func EnsureAdminKey(s *config.Settings) error {
	host, _, err := net.SplitHostPort(s.Listen)
	if s.AdminKey != "" || err != nil || !loopback.Is(host) {
		return nil
	}
	key, err := ReadAdminKey(*s)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = createSecret(adminKeyFile(*s), rand.Text()+"\n"); err == nil {
			key, err = ReadAdminKey(*s)
		}
	}
	s.AdminKey = key
	return err
}

// ReadAdminKey reads the key that EnsureAdminKey left in the data folder.
func ReadAdminKey(s config.Settings) (config.Secret, error) {
	raw, err := os.ReadFile(adminKeyFile(s))
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(raw))
	if len(key) < 16 {
		return "", fmt.Errorf("%s has no key; remove the file, and agiqa up creates another", adminKeyFile(s))
	}
	return config.Secret(key), nil
}
