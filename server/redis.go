package server

import (
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
// the data folder.
func cacheKeys(s config.Settings) (*cache.Keyring, error) {
	current := []byte(s.CacheKey)
	if len(current) == 0 {
		key, err := folderKey(filepath.Join(s.DataDir, "cache.key"), "remove the file, and the server creates another")
		if err != nil {
			return nil, fmt.Errorf("setting cache-key: %w", err)
		}
		current = []byte(hex.EncodeToString(key)) // the text of the file, so that it can become the setting
	}
	keys, err := cache.NewKeyring(current, []byte(s.CacheKeyPrevious))
	if err != nil {
		return nil, fmt.Errorf("settings cache-key and cache-key-previous: %w", err)
	}
	return keys, nil
}
