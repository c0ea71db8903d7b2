package server

import (
	"context"
	"time"
)

// restartAfter is how long an embedded Triton may leave everything unanswered.
// Requests are refused long before; this is for a server that will not come
// back by itself.
const restartAfter = 6 * time.Second

// restartHung restarts an embedded Triton that hangs, until ctx ends.
func (s *Server) restartHung(ctx context.Context) {
	if s.child == nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last int // process that was restarted
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		silence, pid := s.follower.triton.Silence(), s.child.PID()
		if silence < restartAfter || pid == 0 || pid == last {
			continue
		}
		last = pid
		s.logger.WarnContext(ctx, "triton hangs, and is restarted", "silent", silence.Round(time.Millisecond), "pid", pid)
		s.child.Restart()
	}
}
