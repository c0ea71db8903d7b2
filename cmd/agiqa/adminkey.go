package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/loopback"
)

// adminKeyFile is the key that up makes when none is set. Whoever may read it
// runs as the same user on the same machine, and could as well stop the server.
func adminKeyFile(s config.Settings) string { return filepath.Join(s.DataDir, "admin.key") }

// makeAdminKey gives the settings an admin key if they have none and the
// server listens on loopback only: the one of the data folder, which is made
// if need be. An address that others reach has a key that somebody chose, or
// none.
func makeAdminKey(s *config.Settings) error {
	host, _, err := net.SplitHostPort(s.Listen)
	if s.AdminKey != "" || err != nil || !loopback.Is(host) {
		return nil
	}
	key, err := readAdminKey(*s)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = writeAdminKey(*s)
	}
	s.AdminKey = key
	return err
}

func writeAdminKey(s config.Settings) (config.Secret, error) {
	if err := os.MkdirAll(s.DataDir, 0o755); err != nil {
		return "", err
	}
	key := rand.Text()
	f, err := os.OpenFile(adminKeyFile(s), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) { // another server was faster
		return readAdminKey(s)
	}
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(key + "\n")
	return config.Secret(key), errors.Join(err, f.Sync(), f.Close())
}

func readAdminKey(s config.Settings) (config.Secret, error) {
	raw, err := os.ReadFile(adminKeyFile(s))
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(raw))
	if len(key) < 16 {
		return "", fmt.Errorf("%s holds no key; remove it, and up makes another", adminKeyFile(s))
	}
	return config.Secret(key), nil
}

// clientKey is the admin key that a client command sends: the setting, or for a
// server on this machine the one in the data folder. A key from the folder
// goes nowhere else.
func clientKey(s config.Settings) (config.Secret, error) {
	if s.AdminKey != "" {
		return s.AdminKey, nil
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return "", err
	}
	if loopback.Is(u.Hostname()) {
		key, err := readAdminKey(s)
		if !errors.Is(err, fs.ErrNotExist) {
			return key, err
		}
	}
	return "", errors.New("setting admin-key (AGIQA_ADMIN_KEY) is empty: it opens the administrative routes of the server")
}
