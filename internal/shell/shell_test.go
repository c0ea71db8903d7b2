package shell_test

import (
	"os/exec"
	"testing"

	"github.com/agiqa/agiqa/internal/shell"
)

func TestQuote(t *testing.T) {
	for _, word := range []string{
		"", "plain/path-1.2_3+4@5", "a b", "$(exit 3)", "`exit 3`", "it's", `"`, `\`, "a;b&c|d", "*", "~", "#",
		"é", "\xe9", "a\nb", "-n",
	} {
		out, err := exec.Command("sh", "-c", "printf '%s|' "+shell.Quote(word)).Output()
		if err != nil || string(out) != word+"|" {
			t.Errorf("%q is read as %q (%v)", word, out, err)
		}
	}
	if got := shell.Quote("/a/b-1.jpg"); got != "/a/b-1.jpg" {
		t.Errorf("a plain path becomes %s", got)
	}
}
