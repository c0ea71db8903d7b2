package quality

import (
	"fmt"
	"strconv"
	"strings"
)

// maxListed bounds how many names one message lists.
const maxListed = 10

// NoCheckpoint returns the checkpoint_not_found error for names, at least one. The
// detail has up to ten of them and up to ten of the known ones, which GET
// /v1/checkpoints lists to anyone. Names are a client's text: each is cut to 64
// bytes and quoted as ASCII, so that control characters and look-alike letters are
// visible.
func NoCheckpoint(names, known []string) *Error {
	what := "checkpoint "
	if len(names) > 1 {
		what = "checkpoints "
	}
	var quoted []string
	for _, name := range names {
		quoted = append(quoted, Quote(name))
	}
	what += firstOf(quoted)
	if len(known) == 0 {
		return Errorf(KindCheckpointNotFound, "%s not found; the server has none", what)
	}
	return Errorf(KindCheckpointNotFound, "%s not found; available: %s", what, firstOf(known))
}

// firstOf lists the first names, and says how many more there are.
func firstOf(names []string) string {
	listed := strings.Join(names[:min(len(names), maxListed)], ", ")
	if more := len(names) - maxListed; more > 0 {
		listed += fmt.Sprintf(" and %d more", more)
	}
	return listed
}

// Quote makes a client's text safe to repeat in a message: quoted, in ASCII,
// and at most 64 bytes of it.
func Quote(text string) string {
	const most = 64
	if len(text) > most {
		return strconv.QuoteToASCII(strings.ToValidUTF8(text[:most], "")) + "..."
	}
	return strconv.QuoteToASCII(text)
}
