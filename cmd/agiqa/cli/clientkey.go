package cli

import (
	"errors"
	"io/fs"
	"net/url"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/loopback"
	"github.com/agiqa/agiqa/server"
)

// clientKey returns the admin key that a client command sends: the setting, or for a
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
		key, err := server.ReadAdminKey(s)
		if !errors.Is(err, fs.ErrNotExist) {
			return key, err
		}
	}
	return "", errors.New("setting admin-key (AGIQA_ADMIN_KEY) is empty: the administrative routes of the server " +
		"require it")
}
