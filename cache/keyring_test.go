package cache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cache/cachetest"
	"github.com/agiqa/agiqa/cache/redistest"
	"github.com/agiqa/agiqa/quality"
)

func TestKeyringRefuses(t *testing.T) {
	const long = "0123456789abcdef"
	for _, test := range []struct {
		name, current, previous string
		want                    string
	}{
		{"none", "", "", "too short"},
		{"short", long[1:], "", "too short"},
		{"short before", long, long[1:], "the previous one"},
		{"the same twice", long, long, "the previous one is the current one"},
		{"good", long, "", ""},
		{"good twice", long, long + "0", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := cache.NewKeyring([]byte(test.current), []byte(test.previous))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
		})
	}
}

func TestKeyringIDHidesTheSecret(t *testing.T) {
	const secret = "a secret of this deployment"
	k := keyring(t, secret, "")
	if sum := sha256.Sum256([]byte(secret)); strings.Contains(fmt.Sprintf("%x", sum), k.ID()) || len(k.ID()) != 8 {
		t.Errorf("ID = %q, want 8 digits that are no part of the secret's plain hash", k.ID())
	}
	if again := keyring(t, secret, "some other secret"); again.ID() != k.ID() {
		t.Errorf("ID = %q and %q of one secret", k.ID(), again.ID())
	}
}

// shared is a remote store whose content a test can see and change, as whoever
// may write to Redis can.
type shared struct {
	mu     sync.Mutex
	values map[string][]byte
}

func newShared() *shared { return &shared{values: map[string][]byte{}} }

func (s *shared) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values[key]
	if !ok {
		return nil, cache.ErrNotFound
	}
	return v, nil
}

func (s *shared) Set(_ context.Context, key string, value []byte, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = bytes.Clone(value)
	return nil
}

func (s *shared) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, key)
	return nil
}

func (s *shared) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.values))
}

func TestSealedIsAStore(t *testing.T) {
	for _, previous := range []string{"", "the secret before it"} {
		cachetest.Run(t, func(t *testing.T) cache.Store {
			const macLen = 16
			m, err := cache.NewMemory(cache.MemoryConfig{
				BudgetBytes: 4 << 20, MaxValueBytes: cachetest.MaxValueBytes + macLen,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { m.Close() })
			return cache.NewSealed(m, keyring(t, "the deployment's secret", previous), nil)
		})
	}
}

// TestSealedFindsEveryChange flips each bit and cuts at each byte.
func TestSealedFindsEveryChange(t *testing.T) {
	store := newShared()
	s := cache.NewSealed(store, keyring(t, "the deployment's secret", ""), nil)
	id := textIdentity()
	good := encoded(t, id)
	if err := s.Set(t.Context(), "key", good, time.Hour); err != nil {
		t.Fatal(err)
	}
	name := store.keys()[0]
	sealed := bytes.Clone(store.values[name])
	refused := func(what string, value []byte) {
		t.Helper()
		store.values[name] = value
		got, err := s.Get(t.Context(), "key")
		if cache.ReasonOf(err) != cache.ReasonMAC || got != nil {
			t.Fatalf("%s: Get = %d bytes, %v; want reason %s", what, len(got), err, cache.ReasonMAC)
		}
	}
	for bit := range len(sealed) * 8 {
		value := bytes.Clone(sealed)
		value[bit/8] ^= 1 << (bit % 8)
		refused(fmt.Sprintf("bit %d of byte %d flipped", bit%8, bit/8), value)
	}
	for n := range len(sealed) {
		refused(fmt.Sprintf("cut to %d bytes", n), sealed[:n])
	}
	refused("one byte more", append(bytes.Clone(sealed), 0))
	store.values[name] = sealed
	if got, err := s.Get(t.Context(), "key"); err != nil || !bytes.Equal(got, good) {
		t.Errorf("Get of the untouched value = %d bytes, %v", len(got), err)
	}
}

// TestServersOfTwoDeploymentsShareAStore holds that neither sees, deletes or
// replaces the values of the other.
func TestServersOfTwoDeploymentsShareAStore(t *testing.T) {
	store, c := newShared(), checkpointNamed("a")
	serve := func(secret string, wantCached bool) map[string]int64 {
		t.Helper()
		m := newMetrics(t)
		texts := newTexts(t, &fakeSource{}, func(config *cache.TextsConfig) {
			config.Remote, config.Keys, config.Meter = store, keyring(t, secret, ""), m.provider
		})
		wantText(t, texts, c, wantCached)
		closeTexts(t, texts)
		return m.values(t, "agiqa.cache.errors")
	}
	for _, wantCached := range []bool{false, true, true} {
		for _, secret := range []string{"the first secret", "the second secret"} {
			if faults := serve(secret, wantCached); len(faults) != 0 {
				t.Errorf("%s: faults %v, want none", secret, faults)
			}
		}
	}
	if got := len(store.keys()); got != 2 {
		t.Errorf("%d keys, want one of each deployment: %q", got, store.keys())
	}
}

// TestSecretsRotate goes the way of an operator: servers of the old secret, then
// some of each, then of the new one only, then without the old one.
func TestSecretsRotate(t *testing.T) {
	const before, after = "the secret before", "the secret after"
	store, c := newShared(), checkpointNamed("a")
	ask := func(step, current, previous string, wantCached bool) {
		t.Helper()
		m, source := newMetrics(t), &fakeSource{}
		texts := newTexts(t, source, func(config *cache.TextsConfig) {
			config.Remote, config.Keys, config.Meter = store, keyring(t, current, previous), m.provider
		})
		wantText(t, texts, c, wantCached)
		closeTexts(t, texts) // writes are done
		want := map[string]int64{"cache=text,layer=memory,outcome=miss": 1, "cache=text,layer=redis,outcome=hit": 1}
		if !wantCached {
			want = map[string]int64{"cache=text,layer=memory,outcome=miss": 1, "cache=text,layer=redis,outcome=miss": 1}
		}
		if diff := cmp.Diff(want, m.values(t, "agiqa.cache.requests")); diff != "" {
			t.Errorf("%s: agiqa.cache.requests (-want +got):\n%s", step, diff)
		}
	}
	ask("old secret, empty store", before, "", false)
	ask("new secret that knows the old one", after, before, true)
	if got := len(store.keys()); got != 2 {
		t.Errorf("keys %q, want the value under both secrets", store.keys())
	}
	ask("a server that has not changed yet", before, "", true)
	for _, name := range store.keys() { // what the old secret had expires
		if strings.HasSuffix(name, ":"+keyring(t, before, "").ID()) {
			delete(store.values, name)
		}
	}
	ask("new secret only", after, "", true)
	ask("the old secret alone finds nothing", before, "", false)
}

// TestPreviousSecretIsNoBackDoor: a value under the previous secret is verified
// too, and what fails is deleted and computed again.
func TestPreviousSecretIsNoBackDoor(t *testing.T) {
	const before, after = "the secret before", "the secret after"
	store, c := newShared(), checkpointNamed("a")
	use := func(current, previous string) *cache.Texts {
		return newTexts(t, &fakeSource{}, func(config *cache.TextsConfig) {
			config.Remote, config.Keys = store, keyring(t, current, previous)
		})
	}
	first := use(before, "")
	wantText(t, first, c, false)
	closeTexts(t, first)
	name := store.keys()[0]
	store.values[name][200] ^= 1
	second := use(after, before)
	wantText(t, second, c, false) // and checks the numbers
	closeTexts(t, second)
	for _, key := range store.keys() {
		if key == name {
			t.Errorf("the changed value is still there: %q", key)
		}
	}
}

// TestRedisCannotForge is what whoever may write to Redis can do without the
// secret: every value that a server reads from it, changed in every way, leads to
// the same answer as an empty Redis.
func TestRedisCannotForge(t *testing.T) {
	server := redistest.Start(t)
	const prompt = "a red fox"
	const others = 2 // values of other keys, to be swapped in

	// ask is one gateway: it answers with a text, an image and a prompt
	// embedding, computed where its caches have none.
	type answers struct {
		text   quality.TextEmbeddings
		image  quality.Embedding
		prompt quality.Embedding
	}
	ask := func(t *testing.T, m *metrics) answers {
		t.Helper()
		redis := newRedis(t, server.URL(), func(c *cache.RedisConfig) { c.MaxValueBytes = 256 << 10 })
		keys := keyring(t, "the deployment's secret", "")
		texts := newTexts(t, &fakeSource{}, func(c *cache.TextsConfig) {
			c.Remote, c.Keys, c.Meter = redis, keys, m.provider
		})
		images := newImages(t, func(c *cache.ImagesConfig) {
			c.Remote, c.Keys, c.Meter, c.WriteTimeout = redis, keys, m.provider, patience
		})
		var got answers
		var err error
		for i := range others + 1 { // the first one last, so that it's what is returned
			suffix := strings.Repeat("'", others-i)
			if got.text, _, err = texts.TextEmbeddings(t.Context(), checkpointNamed("a"+suffix)); err != nil {
				t.Fatal(err)
			}
			if got.prompt, _, err = texts.PromptEmbedding(t.Context(), prompt+suffix); err != nil {
				t.Fatal(err)
			}
			key := imageKey("a" + suffix)
			found, ok := images.Lookup(t.Context(), key)
			if !ok {
				found = unit(testDim, uint64(i)+1)
				images.Store(t.Context(), key, found)
			}
			got.image = found
		}
		closeTexts(t, texts)
		if err := images.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		return got
	}
	floats := func(value []byte, change func([]float32)) []byte {
		body := bytes.Clone(value[:len(value)-16])
		numbers := make([]float32, (len(body)-112)/4)
		for i := range numbers {
			numbers[i] = math.Float32frombits(binary.LittleEndian.Uint32(body[112+4*i:]))
		}
		change(numbers)
		for i, v := range numbers {
			binary.LittleEndian.PutUint32(body[112+4*i:], math.Float32bits(v))
		}
		return body
	}
	north := func(numbers []float32) { // unit vectors that the codec itself finds nothing wrong with
		for i := range numbers {
			numbers[i] = 0
			if i%testDim == 0 {
				numbers[i] = 1
			}
		}
	}
	crc := func(b []byte) []byte {
		return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	for _, test := range []struct {
		name   string
		change func(key string, value []byte, all map[string][]byte)
		reason cache.Reason // "": none, the value is used
	}{
		{"untouched", func(string, []byte, map[string][]byte) {}, ""},
		{"forged, without a MAC", func(key string, value []byte, _ map[string][]byte) {
			server.Do("SET", key, floats(value, north))
		}, cache.ReasonMAC},
		{"forged, with the old MAC", func(key string, value []byte, _ map[string][]byte) {
			server.Do("SET", key, append(floats(value, north), value[len(value)-16:]...))
		}, cache.ReasonMAC},
		{"forged, with a checksum", func(key string, value []byte, _ map[string][]byte) {
			server.Do("SET", key, crc(append(floats(value, north), make([]byte, 12)...)))
		}, cache.ReasonMAC},
		{"another key's value", func(key string, value []byte, all map[string][]byte) {
			for other, v := range all {
				if other != key && len(v) == len(value) && other[:20] == key[:20] {
					server.Do("SET", key, v)
					return
				}
			}
			t.Errorf("no other value like %s", key)
		}, cache.ReasonMAC},
		{"not numbers", func(key string, value []byte, _ map[string][]byte) {
			server.Do("SET", key, append(floats(value, func(n []float32) { n[0] = float32(math.NaN()) }),
				value[len(value)-16:]...))
		}, cache.ReasonMAC},
		{"empty", func(key string, _ []byte, _ map[string][]byte) { server.Do("SET", key, "") }, ""},
		{"a list", func(key string, _ []byte, _ map[string][]byte) {
			server.Do("DEL", key)
			server.Do("LPUSH", key, "x")
		}, cache.ReasonWrongType},
		{"far too large", func(key string, _ []byte, _ map[string][]byte) {
			server.Do("SETRANGE", key, 8<<20, "x")
		}, cache.ReasonSize},
	} {
		t.Run(test.name, func(t *testing.T) {
			server.Do("FLUSHALL")
			want := ask(t, newMetrics(t))
			all := map[string][]byte{}
			for _, key := range server.Keys() {
				all[key] = []byte(server.Do("GET", key).(string))
			}
			if len(all) != 3*(others+1) {
				t.Fatalf("%d keys, want %d", len(all), 3*(others+1))
			}
			for key, value := range all {
				test.change(key, value, all)
			}
			m := newMetrics(t)
			got := ask(t, m)
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(answers{})); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			faults := map[string]int64{}
			if test.reason != "" {
				faults["cache=image,layer=redis,operation=read,reason="+string(test.reason)] = others + 1
				faults["cache=text,layer=redis,operation=read,reason="+string(test.reason)] = 2 * (others + 1)
			}
			if diff := cmp.Diff(faults, m.values(t, "agiqa.cache.errors")); diff != "" {
				t.Errorf("agiqa.cache.errors (-want +got):\n%s", diff)
			}
			// The good values are back.
			for key, value := range all {
				if now := server.Do("GET", key); now != string(value) {
					t.Errorf("%s was not repaired", key)
				}
			}
		})
	}
}

func BenchmarkSealed(b *testing.B) {
	for _, size := range []int{112 + 512*4, 112 + 6*512*4} {
		store := newShared()
		s := cache.NewSealed(store, keyring(b, "the deployment's secret", ""), nil)
		value := make([]byte, size)
		key := "agiqa:v1:image:{0123456789abcdef}:" + strings.Repeat("0", 64)
		b.Run(fmt.Sprintf("seal %d bytes", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Set(b.Context(), key, value, time.Hour); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("open %d bytes", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Get(b.Context(), key); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("CRC-32C of %d bytes", size), func(b *testing.B) {
			for b.Loop() {
				crc32.Checksum(value, crc32.MakeTable(crc32.Castagnoli))
			}
		})
	}
}
