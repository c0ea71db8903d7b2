//go:build unix && !linux

package redistest

import "syscall"

// processAttributes puts the server into a group of its own. There is no
// parent-death signal here, so a test process that is killed leaves it behind.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
