package server

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/tlsfiles"
)

// RedisConfig is how the settings say to reach Redis. An error names the setting.
func RedisConfig(s config.Settings) (cache.RedisConfig, error) {
	cfg := cache.DefaultRedisConfig()
	cfg.URL = string(s.RedisURL)
	if s.RedisCA != "" {
		var err error
		if cfg.Authorities, err = tlsfiles.Authorities(s.RedisCA); err != nil {
			return cfg, fmt.Errorf("setting redis-ca: %w", err)
		}
	}
	if err := cfg.Validate(); err != nil {
		return cfg, fmt.Errorf("setting redis-url: %w", err)
	}
	return cfg, nil
}

// cacheKeys are what values in Redis are sealed with: the setting, or the key of
// the data folder. Without a file of it the server has a key of its own until it
// ends, by which nobody else reads what it writes.
func (s *Server) cacheKeys() (*cache.Keyring, error) {
	current := []byte(s.settings.CacheKey)
	if len(current) == 0 {
		file := filepath.Join(s.settings.DataDir, "cache.key")
		key, err := folderKey(file, "remove the file, and the server creates another")
		if err != nil {
			s.degrade(startFault{check: "cache-key", detail: inDataFolder(file) + " can't be used: this server shares no " +
				"values in Redis with others, nor with its next start"}, err)
			key = make([]byte, 32)
			_, _ = rand.Read(key) // never fails
		}
		current = []byte(hex.EncodeToString(key)) // the text of the file, so that it can become the setting
	}
	keys, err := cache.NewKeyring(current, []byte(s.settings.CacheKeyPrevious))
	if err != nil {
		return nil, fmt.Errorf("settings cache-key and cache-key-previous: %w", err)
	}
	return keys, nil
}
