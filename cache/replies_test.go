package cache

import (
	"strings"
	"testing"
)

// TestReplies feeds replies whole and byte by byte, each many times on one
// connection: bounds are a reply's, not a connection's.
func TestReplies(t *testing.T) {
	hello := "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n8.0.0\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:3\r\n" +
		"$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*1\r\n*2\r\n$4\r\nname\r\n$1\r\nx\r\n"
	for _, test := range []struct {
		name, reply string
		ok          bool
	}{
		{"a status", "+OK\r\n", true},
		{"an error", "-ERR unknown command\r\n", true},
		{"a number", ":-12345\r\n", true},
		{"a string", "$5\r\nhello\r\n", true},
		{"a string of line ends", "$4\r\n\r\n\r\n\r\n", true},
		{"an empty string", "$0\r\n\r\n", true},
		{"no string", "$-1\r\n", true},
		{"no array", "*-1\r\n", true},
		{"an empty array", "*0\r\n", true},
		{"HELLO", hello, true},
		{"a map", "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n", true},
		{"at the limit", "$100\r\n" + strings.Repeat("x", 100) + "\r\n", true},
		{"above it", "$101\r\n", false},
		{"leading zeros", "$00000000000000000000000000001\r\nx\r\n", true},
		{"an overflow", "$18446744073709551617\r\n", false},
		{"a plus sign", "$+9\r\n", false},
		{"a negative length", "$-2\r\n", false},
		{"a longer negative one", "$-11\r\n", false},
		{"a sign alone", "$-\r\n", false},
		{"no length", "$\r\n", false},
		{"a stream", "$?\r\n", false},
		{"a wide array", "*1025\r\n", false},
		{"a deep array", strings.Repeat("*1\r\n", 1100), false},
		{"an endless line", "+" + strings.Repeat("x", 70_000), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, step := range []int{1, 3, len(test.reply)} {
				r := &replies{maxBytes: 100}
				var err error
				for range 2000 {
					for rest := test.reply; rest != "" && err == nil; rest = rest[min(step, len(rest)):] {
						err = r.check([]byte(rest[:min(step, len(rest))]))
					}
					if err != nil {
						break
					}
				}
				if (err == nil) != test.ok {
					t.Errorf("in steps of %d bytes: error %v, want ok = %t", step, err, test.ok)
				}
				if test.ok && (r.line != 0 || r.skip != 0 || r.pending != 0) {
					t.Errorf("in steps of %d bytes: after whole replies %+v is not at the start of one", step, *r)
				}
			}
		})
	}
}
