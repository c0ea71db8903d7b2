package embedded

import "context"

// What the external tests need of the inside.
type (
	Mark      = mark
	Machine   = machine
	HeldPorts = heldPorts
	Process   = process
)

var (
	HoldPorts     = holdPorts
	ThisMachine   = thisMachine
	NewMark       = newMark
	OrphanMark    = orphanMark
	ReadProcess   = readProcess
	Processes     = processes
	ChildrenOf    = childrenOf
	AwaitPidfd    = awaitPidfd
	RemoveTraces  = removeTraces
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
	StartHolding = func(ctx context.Context, cfg Config, hold func(Ports) (HeldPorts, error)) (*Server, error) {
		return start(ctx, cfg, thisMachine(), hold)
	}
	MachineOf = func(platform, shm, tmp string, glibc, bash func() (string, error)) Machine {
		return machine{
			platform: platform, shm: shm, tmp: tmp, bash: bash,
			glibc: func(context.Context) (string, error) { return glibc() },
		}
	}
)

// Parent, PID and Dead show the fields of a process.
func (p process) Parent() int { return p.parent }
func (p process) PID() int    { return p.pid }
func (p process) Group() int  { return p.group }
func (p process) Dead() bool  { return p.dead }
