package quality

import (
	"fmt"
	"strconv"
	"strings"
)

// maxListed bounds how many names one message lists.
const maxListed = 10

// NoCheckpoint returns the checkpoint_not_found error for name. The detail has
// the name and up to ten of the known ones, which GET /v1/checkpoints lists to
// anyone. name is a client's text: it is cut to 64 bytes and quoted as ASCII,
// so that control characters and look-alike letters are visible.
func NoCheckpoint(name string, known []string) *Error {
	if len(known) == 0 {
		return Errorf(KindCheckpointNotFound, "checkpoint %s not found; the server has none", Quote(name))
	}
	listed := strings.Join(known[:min(len(known), maxListed)], ", ")
	if more := len(known) - maxListed; more > 0 {
		listed += fmt.Sprintf(" and %d more", more)
	}
	return Errorf(KindCheckpointNotFound, "checkpoint %s not found; available: %s", Quote(name), listed)
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
