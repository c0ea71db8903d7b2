// Package shell writes text for a POSIX shell.
package shell

import (
	"regexp"
	"strings"
)

var plain = regexp.MustCompile(`^[A-Za-z0-9_./+@%:,=-]+$`)

// Quote returns word as a person can paste it: a shell reads it as that one
// word, whatever it holds, and runs none of it. A word of plain characters
// stays as it is.
func Quote(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
