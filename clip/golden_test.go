package clip_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/agiqa/agiqa/clip"
)

// golden is one line of testdata/tokens.jsonl.gz; testdata/README.md explains it.
type golden struct {
	Kind     string  `json:"k"`
	Text     string  `json:"t"`
	IDs      []int32 `json:"i"`
	Special  []int32 `json:"s"`
	Unfixed  []int32 `json:"m"`
	Sequence []int32 `json:"q"`
}

// want is what Encode must return: CLIP's ids, without the repair of mojibake.
func (g golden) want() []int32 {
	if g.Unfixed != nil {
		return g.Unfixed
	}
	return g.IDs
}

type goldenHeader struct {
	Lines    int `json:"lines"`
	Mojibake int `json:"mojibake"`
}

func readGoldens(t testing.TB) (goldenHeader, []golden) {
	t.Helper()
	f, err := os.Open("testdata/tokens.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bufio.NewReader(zr))
	var header goldenHeader
	if err := decoder.Decode(&header); err != nil {
		t.Fatal(err)
	}
	goldens := make([]golden, header.Lines)
	for i := range goldens {
		if err := decoder.Decode(&goldens[i]); err != nil {
			t.Fatalf("line %d: %v", i+2, err)
		}
	}
	if decoder.More() {
		t.Fatalf("more than the %d lines that the header promises", header.Lines)
	}
	return header, goldens
}

// sharedTokenizer spares every test the loading of the vocabulary.
var sharedTokenizer = sync.OnceValues(clip.New)

func newTokenizer(t testing.TB) *clip.Tokenizer {
	t.Helper()
	tokenizer, err := sharedTokenizer()
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

func TestEncodeMatchesCLIP(t *testing.T) {
	tokenizer := newTokenizer(t)
	_, goldens := readGoldens(t)
	for _, g := range goldens {
		if g.Kind == "newer" {
			continue
		}
		got, err := tokenizer.Encode(g.Text)
		if err != nil {
			t.Errorf("%s %q: %v", g.Kind, g.Text, err)
			continue
		}
		if !slices.Equal(got, g.want()) {
			t.Errorf("%s %q\n got %v\nwant %v", g.Kind, g.Text, got, g.want())
		}
	}
}

func TestTokenizeMatchesCLIP(t *testing.T) {
	tokenizer := newTokenizer(t)
	_, goldens := readGoldens(t)
	cut := 0
	for _, g := range goldens {
		if g.Kind == "newer" || g.Unfixed != nil {
			continue
		}
		got, truncated, err := tokenizer.Tokenize(g.Text, clip.Options{Truncate: true})
		if err != nil {
			t.Errorf("%s %q: %v", g.Kind, g.Text, err)
			continue
		}
		want := g.Sequence
		if want == nil {
			want = sequence(g.IDs)
		} else {
			cut++
		}
		if !slices.Equal(got, want) || truncated != (g.Sequence != nil) {
			t.Errorf("%s %q, truncated %t\n got %v\nwant %v", g.Kind, g.Text, truncated, got, want)
		}
	}
	if cut < 10 {
		t.Errorf("only %d goldens are too long to fit", cut)
	}
}

// sequence puts the marks around ids that fit.
func sequence(ids []int32) []int32 {
	s := append([]int32{clip.StartToken}, ids...)
	s = append(s, clip.EndToken)
	return append(s, make([]int32, clip.SequenceLength-len(s))...)
}

func TestSpecialTokensMatchCLIP(t *testing.T) {
	tokenizer := newTokenizer(t)
	_, goldens := readGoldens(t)
	marked := 0
	for _, g := range goldens {
		if g.Special == nil {
			continue
		}
		marked++
		got, _, err := tokenizer.Tokenize(g.Text, clip.Options{SpecialTokens: true})
		if err != nil {
			t.Errorf("%q: %v", g.Text, err)
			continue
		}
		if want := sequence(g.Special); !slices.Equal(got, want) {
			t.Errorf("%q with special tokens\n got %v\nwant %v", g.Text, got, want)
		}
	}
	if marked < 10 {
		t.Errorf("only %d goldens have special tokens", marked)
	}
}

// TestMojibakeIsTheKnownDifference holds the number of texts on which agiqa
// and CLIP differ against what testdata/README.md admits.
func TestMojibakeIsTheKnownDifference(t *testing.T) {
	header, goldens := readGoldens(t)
	made, accidental := 0, 0
	for _, g := range goldens {
		switch {
		case g.Unfixed == nil:
		case slices.Equal(g.Unfixed, g.IDs):
			t.Errorf("%q is marked as mojibake, but its repair changes nothing", g.Text)
		case g.Kind == "mojibake":
			made++
		default:
			accidental++
		}
	}
	if made+accidental != header.Mojibake {
		t.Errorf("%d texts are mojibake, the header says %d", made+accidental, header.Mojibake)
	}
	readme, err := os.ReadFile("testdata/README.md")
	if err != nil {
		t.Fatal(err)
	}
	prose := strings.Join(strings.Fields(string(readme)), " ")
	for _, want := range []string{
		fmt.Sprintf("then %d,%03d texts", header.Lines/1000, header.Lines%1000),
		fmt.Sprintf("this concerns %d: %d made", made+accidental, made),
		fmt.Sprintf("and %d meaningless ones", accidental),
	} {
		if !strings.Contains(prose, want) {
			t.Errorf("testdata/README.md does not say %q", want)
		}
	}
}

// TestNewerLetters covers characters that Go's Unicode tables may not know yet.
func TestNewerLetters(t *testing.T) {
	tokenizer := newTokenizer(t)
	encode := func(s string) []int32 {
		ids, err := tokenizer.Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	_, goldens := readGoldens(t)
	checked := 0
	for _, g := range goldens {
		if g.Kind != "newer" {
			continue
		}
		checked++
		want := g.IDs
		last, size := utf8.DecodeLastRuneInString(g.Text)
		isNew := func(r rune) bool { return r > 0x7F && !unicode.IsLetter(r) && !unicode.IsNumber(r) }
		switch {
		case isNew(last), !strings.ContainsFunc(g.Text, isNew): // alone, or known to Go by now
		case g.Text[0] == '!':
			want = slices.Concat(encode(g.Text[:len(g.Text)-size]), encode(string(last)))
		default:
			want = slices.Concat(encode(g.Text[:1]), encode(g.Text[1:len(g.Text)-size]), encode(string(last)))
		}
		if got := encode(g.Text); !slices.Equal(got, want) {
			t.Errorf("%q\n got %v\nwant %v", g.Text, got, want)
		}
	}
	if checked < 30 {
		t.Errorf("only %d goldens have newer letters", checked)
	}
}
