package clip_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/clip"
)

func TestVocabularyIsTheOneDocumented(t *testing.T) {
	file, err := os.ReadFile("vocab/bpe_simple_vocab_16e6.txt.gz")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("vocab/README.md")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(file)
	if got := hex.EncodeToString(sum[:]); !strings.Contains(string(readme), "`"+got+"`") {
		t.Errorf("the file's SHA-256 is %s, vocab/README.md says another", got)
	}
}

func TestVocabularySize(t *testing.T) {
	if clip.VocabularySize != 49408 || clip.StartToken != 49406 || clip.EndToken != 49407 {
		t.Errorf("%d ids, start %d, end %d, want 49408, 49406, 49407", clip.VocabularySize, clip.StartToken, clip.EndToken)
	}
}
