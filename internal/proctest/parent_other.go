//go:build unix && !linux

package proctest

import "syscall"

// dieWithParent does nothing: there is no such signal here, so a test process that is
// killed leaves its servers behind.
func dieWithParent(*syscall.SysProcAttr) {}
