package server

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agiqa/agiqa/internal/config"
)

// TestFolderKeyIsOne: servers that start at the same time get the same key, and
// nothing else is left behind.
func TestFolderKeyIsOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "cache.key")
	keys := make([][]byte, 16)
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			var err error
			if keys[i], err = folderKey(path, ""); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, key := range keys {
		if len(key) != 32 || !bytes.Equal(key, keys[0]) {
			t.Fatalf("keys %x and %x", key, keys[0])
		}
	}
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v; want the key alone", files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestFolderKeyThatIsNone(t *testing.T) {
	for _, content := range []string{"", "\n", "no hexadecimal digits", strings.Repeat("a", 62), "abc"} {
		path := filepath.Join(t.TempDir(), "cache.key")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := folderKey(path, "do something about it")
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "do something about it") {
			t.Errorf("content %q: error %v, want one that names the file and the fix", content, err)
		}
	}
}

func TestCacheKeys(t *testing.T) {
	dir := t.TempDir()
	id := func(s config.Settings) string {
		t.Helper()
		s.DataDir = dir
		keys, err := (&Server{settings: s}).cacheKeys()
		if err != nil {
			t.Fatal(err)
		}
		return keys.ID()
	}
	generated := id(config.Settings{})
	if again := id(config.Settings{}); again != generated {
		t.Errorf("two starts have the keys %s and %s", generated, again)
	}
	text, err := os.ReadFile(filepath.Join(dir, "cache.key"))
	if err != nil {
		t.Fatal(err)
	}
	if set := id(config.Settings{CacheKey: config.Secret(strings.TrimSpace(string(text)))}); set != generated {
		t.Error("the text of cache.key, as the setting, is another key")
	}
	if set := id(config.Settings{CacheKey: "0123456789abcdef"}); set == generated {
		t.Error("the setting has no effect")
	}
	for _, s := range []config.Settings{
		{CacheKey: "0123456789abcdef", CacheKeyPrevious: "0123456789abcdef"},
		{CacheKey: "0123456789abcdef", CacheKeyPrevious: "short"},
		{CacheKey: "short"},
	} {
		if _, err := (&Server{settings: s}).cacheKeys(); err == nil || !strings.Contains(err.Error(), "cache-key-previous") {
			t.Errorf("%+v: error %v, want one that names the settings", s, err)
		}
	}
}
