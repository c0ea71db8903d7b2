//go:build unix

package imageprep_test

import (
	"os"
	"runtime/debug"
	"syscall"
	"testing"
)

// withGuards runs f twice with memory between pages that cannot be touched:
// once it ends where the page behind it begins, once it begins where the one
// before it ends. Whoever touches these fails the test.
func withGuards(t *testing.T, f func(alloc func(n int) []byte)) {
	t.Helper()
	page := os.Getpagesize()
	for _, where := range []string{"behind", "before"} {
		var mapped [][]byte
		alloc := func(n int) []byte {
			room := (n + page - 1) / page * page
			m, err := syscall.Mmap(-1, 0, room+2*page, syscall.PROT_READ|syscall.PROT_WRITE,
				syscall.MAP_ANON|syscall.MAP_PRIVATE)
			if err != nil {
				t.Fatal(err)
			}
			mapped = append(mapped, m)
			for _, guard := range [][]byte{m[:page], m[page+room:]} {
				if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
					t.Fatal(err)
				}
			}
			if where == "before" {
				return m[page:][:n:n]
			}
			return m[page+room-n:][:n:n]
		}
		func() {
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("guard %s: %v", where, v)
				}
				for _, m := range mapped {
					if err := syscall.Munmap(m); err != nil {
						t.Error(err)
					}
				}
			}()
			f(alloc)
		}()
	}
}
