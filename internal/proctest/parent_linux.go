package proctest

import "syscall"

// dieWithParent has the kernel kill a child whose parent has died.
func dieWithParent(of *syscall.SysProcAttr) { of.Pdeathsig = syscall.SIGKILL }
