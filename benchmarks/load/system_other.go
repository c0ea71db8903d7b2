//go:build !linux

package load

import (
	"context"
	"net"
	"time"
)

// alarm is a runtime timer.
type alarm struct{}

func newAlarm(context.Context) (*alarm, error) { return &alarm{}, nil }

func (*alarm) wait(ctx context.Context, d time.Duration) { Roughly(ctx, d) }

func (*alarm) close() {}

func processCPU() time.Duration { return 0 }

func hungUp(net.Conn) bool { return false }
