package cli

import (
	"errors"
	"io/fs"
	"net/url"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/loopback"
	"github.com/agiqa/agiqa/server"
)

// clientKey returns the key that an administrative command sends: the setting
// admin-key, for a server on this machine the one in the data folder, or the
// setting api-key. A key from the folder goes nowhere else.
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
	if s.APIKey != "" {
		return s.APIKey, nil
	}
	return "", errors.New("settings admin-key (AGIQA_ADMIN_KEY) and api-key (AGIQA_API_KEY) are empty: the server " +
		"requires a key for this")
}
