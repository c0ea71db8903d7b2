package postgrestest

import "syscall"

// processAttributes puts the server into a group of its own, has the kernel
// kill it when the test process dies, and runs it as somebody else if asked to.
func processAttributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: as}
}
