//go:build unix && !linux

package postgrestest

import "syscall"

// processAttributes puts the server into a group of its own, and runs it as
// somebody else if asked to. There is no parent-death signal here, so a test
// process that is killed leaves it behind.
func processAttributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: as}
}
