//go:build linux

package load

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// alarm is a timer of the kernel that the runtime's poller waits for, as for a
// connection. It is some ten microseconds late. A thread that slept in the
// kernel would be late by the slack of its timers (50 microseconds) and, on
// one core, would keep the scheduler's only slot from the lanes meanwhile.
type alarm struct {
	file *os.File
	raw  syscall.RawConn
	stop func() bool

	// Of the wait under way; kept here so that a wait allocates nothing.
	d       time.Duration
	refused error
	set     func(fd uintptr)
	expired [8]byte
}

// newAlarm makes an alarm whose waits end, at the latest, with ctx.
func newAlarm(ctx context.Context) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("a timer: %w", err)
	}
	a := &alarm{file: os.NewFile(uintptr(fd), "timer")}
	if a.raw, err = a.file.SyscallConn(); err != nil {
		a.file.Close()
		return nil, fmt.Errorf("a timer: %w", err)
	}
	a.set = func(fd uintptr) {
		a.refused = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(a.d))}, nil)
	}
	a.stop = context.AfterFunc(ctx, func() { a.file.Close() })
	return a, nil
}

// wait sleeps for d, which is positive, or until ctx ends. Where the kernel
// refuses it sleeps roughly.
func (a *alarm) wait(ctx context.Context, d time.Duration) {
	a.d = d
	if a.raw.Control(a.set) != nil {
		return // closed: ctx has ended
	}
	if a.refused == nil {
		_, a.refused = a.file.Read(a.expired[:])
	}
	if a.refused != nil {
		Roughly(ctx, d)
	}
}

func (a *alarm) close() {
	if a.stop() {
		a.file.Close()
	}
}

// processCPU is the processor time of this process.
func processCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// hungUp reports whether the other side has closed a connection at rest, or
// sent unsolicited bytes. It's false if that's unknown.
func hungUp(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		gone = err != unix.EAGAIN && err != unix.EINTR
		return true
	})
	return err == nil && gone
}
