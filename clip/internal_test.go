package clip

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	if _, err := zw.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLoadVocabularyRefuses(t *testing.T) {
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"not gzip", []byte("#version: 0.2\ni n\n"), "gzip: invalid header"},
		{"cut short", vocabularyFile[:20], "0 merges, want 48894: unexpected EOF"},
		{"too few merges", gzipped(t, "#version\ni n\n"), "1 merges, want 48894: unexpected EOF"},
		{"one symbol", gzipped(t, "#version\nin\n"), "merge 0: \"in\" is not two symbols"},
		{"unknown symbol", gzipped(t, "#version\ni nn\n"), "no earlier line made"},
		{"made twice", gzipped(t, "#version\ni n\nin g\nn g\ni ng\n"), "an earlier line made"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadVocabulary(tt.file)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestWordCacheIsBounded(t *testing.T) {
	var c wordCache
	c.put("often", []int32{1})
	for i := range 5 * cachedWords {
		c.put(fmt.Sprint(i), []int32{int32(i)})
		if _, ok := c.get("often"); !ok {
			t.Fatalf("a word that is used all the time is gone after %d others", i)
		}
		if n := len(c.young) + len(c.old); n > 2*cachedWords {
			t.Fatalf("%d words after %d, want at most %d", n, i, 2*cachedWords)
		}
	}
	if _, ok := c.get("0"); ok {
		t.Error("the oldest word is still there")
	}
	long := strings.Repeat("a", cachedWordBytes+1)
	c.put(long, []int32{1})
	if _, ok := c.get(long); ok {
		t.Errorf("a word of %d bytes is kept", len(long))
	}
}

// FuzzNFC compares our normal form with the library's wherever its stream-safe
// format does not come between.
func FuzzNFC(f *testing.F) {
	for _, s := range []string{"", "café", "cafe\u0301", "o\u0323\u0302", "o\u0302\u0323", "\u1112\u1161\u11ab",
		"가\u11a8", "\u0344", "\u212b", "か\u3099", "\u0f71\u0f72", "\u09c7\u09be"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "")
		want := norm.NFC.String(s)
		got := nfc(s)
		if strings.Count(want, norm.GraphemeJoiner) > strings.Count(s, norm.GraphemeJoiner) {
			return
		}
		if got != want {
			t.Errorf("nfc(%+q) = %+q, want %+q", s, got, want)
		}
	})
}
