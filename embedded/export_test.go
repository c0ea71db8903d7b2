package embedded

import "context"

// Internals that the external tests use.
type (
	Machine = machine
)

var (
	ChildrenOf    = childrenOf
	Requirements  = requirements
	DistInfoNames = func(lock, python string) ([]string, error) {
		pins, err := parseLock(lock, python)
		var names []string
		for _, p := range pins {
			names = append(names, p.distInfo())
		}
		return names, err
	}
	PreflightOn = func(ctx context.Context, cfg Config, m Machine) []Finding {
		_, findings := preflight(ctx, cfg, m)
		return findings
	}
	MachineOf = func(platform, shm, tmp string, glibc, bash func() (string, error)) Machine {
		return machine{
			platform: platform, shm: shm, tmp: tmp, bash: bash,
			glibc: func(context.Context) (string, error) { return glibc() },
		}
	}
)

// PID returns the process ID.
func (p process) PID() int { return p.pid }
