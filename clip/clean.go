package clip

import (
	"strings"
	"unicode"
)

// cleanText does to a text what CLIP does before it splits it into words:
// ftfy's fixes, HTML unescaped twice, white space collapsed, lower case.
func cleanText(text string) (string, error) {
	fixed, err := fixText(text)
	if err != nil {
		return "", err
	}
	return lower(collapseSpace(unescapeHTML(unescapeHTML(fixed)))), nil
}

// collapseSpace joins the words of s with single spaces, as Python's
// " ".join(s.split()) does.
func collapseSpace(s string) string {
	return strings.Join(strings.FieldsFunc(s, isPythonSpace), " ")
}

// isPythonSpace is Python's str.isspace: Unicode's white space and the four
// ASCII separators.
func isPythonSpace(r rune) bool {
	return unicode.IsSpace(r) || 0x1C <= r && r <= 0x1F
}
