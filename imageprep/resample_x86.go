//go:build amd64

package imageprep

import (
	"slices"

	"golang.org/x/sys/cpu"
)

// implementations returns those that this processor can run, the fastest first.
func implementations() []implementation {
	list := []implementation{portable}
	if cpu.X86.HasAVX2 {
		list = slices.Insert(list, 0, avx2)
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VNNI {
		list = slices.Insert(list, 0, vnni)
	}
	return list
}
