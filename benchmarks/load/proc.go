package load

import (
	"strconv"
	"strings"
)

// kilobytes reads "123 kB".
func kilobytes(text string) int64 {
	number, _, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
