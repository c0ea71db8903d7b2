package embedded

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keepModes makes fchmod do nothing, successfully, in the processes that the
// calling thread starts from now on. The thread itself can't go back either.
//
// The Python backend exchanges tensors in files of /dev/shm. The library that
// creates them (Boost.Interprocess) then sets their mode to 0644, whatever the
// umask is, so that every user of the machine could read what is scored. There
// is no option for it.
func keepModes() error {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	skipUnless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	result := func(value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
	}
	const number, architecture = 0, 4 // offsets in struct seccomp_data
	filter := []unix.SockFilter{
		load(architecture),
		skipUnless(unix.AUDIT_ARCH_X86_64, 3),
		load(number),
		skipUnless(unix.SYS_FCHMOD, 1),
		result(unix.SECCOMP_RET_ERRNO), // errno 0: success
		result(unix.SECCOMP_RET_ALLOW),
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", os.NewSyscallError("prctl", err))
	}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	if err != nil {
		return fmt.Errorf("seccomp filter: %w", os.NewSyscallError("prctl", err))
	}
	return nil
}
