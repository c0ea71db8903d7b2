package clip

import (
	"strings"
	"sync"
)

const (
	// cachedWords is the size of one of the cache's two generations. English
	// prompts draw on a few thousand words.
	cachedWords = 4096
	// cachedWordBytes is the longest word that is kept. Longer ones are rare and
	// seldom repeat, and with this bound the cache stays below 4 MiB whatever
	// is sent.
	cachedWordBytes = 32
)

// wordCache remembers the ids of recent words. It keeps two generations: a new
// word enters the young one, and when that is full it becomes the old one and
// the old one is dropped. A word that is used again moves to the young one, so
// frequent words stay. Safe for concurrent use.
type wordCache struct {
	mu         sync.Mutex
	young, old map[string][]int32
}

func (c *wordCache) get(word string) ([]int32, bool) {
	if len(word) > cachedWordBytes {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ids, ok := c.young[word]; ok {
		return ids, true
	}
	ids, ok := c.old[word]
	if ok {
		c.addLocked(word, ids)
	}
	return ids, ok
}

// put keeps ids, which nobody may modify afterwards.
func (c *wordCache) put(word string, ids []int32) {
	if len(word) > cachedWordBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(word, ids)
}

func (c *wordCache) addLocked(word string, ids []int32) {
	if c.young == nil || len(c.young) >= cachedWords {
		c.old, c.young = c.young, make(map[string][]int32, cachedWords)
	}
	// A clone, because word is part of a text that would stay in memory with it.
	c.young[strings.Clone(word)] = ids
}
