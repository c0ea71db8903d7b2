package redistest

import "syscall"

// processAttributes puts the server into a group of its own and has the kernel
// kill it when the test process dies.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
