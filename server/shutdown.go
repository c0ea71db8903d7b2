package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/tritonclient"
)

// mark is a moment of a shutdown, as a share of the time that all of it has. Each
// step ends by its mark, whatever hangs, so that those after it have their time. A
// step that ends early leaves the rest to the others.
type mark float64

// The marks, in the order of the steps. With the default of 24 seconds, requests
// have 14 of them, drain-delay included.
const (
	interruptMark mark = 0.60 // requests under way are cancelled, and answered so
	cutMark       mark = 0.66 // connections are closed
	stopMark      mark = 0.72 // background work has ended; caches and connections are closed
	tritonMark    mark = 0.80 // an embedded Triton is killed
	storeMark     mark = 0.82 // the store is closed
	flushMark     mark = 0.90 // spans were sent
	endMark       mark = 0.94
	overrun       mark = 0.06 // for a step to notice that its time is over, before it is left behind
)

// maxDelay is the largest share that drain-delay may have: requests need time after
// it.
const maxDelay = interruptMark / 2

// checkShutdown refuses a drain-delay that leaves requests no time.
func checkShutdown(s config.Settings) error {
	if limit := time.Duration(float64(s.DrainTimeout) * float64(maxDelay)); s.DrainDelay > limit {
		return fmt.Errorf("setting drain-delay: %s is too long for a drain-timeout of %s, at most %s; raise drain-timeout "+
			"(%s)",
			s.DrainDelay, s.DrainTimeout, limit, config.EnvName("drain-timeout"))
	}
	return nil
}

// DefaultDrainDelay is drain-delay for a server behind load balancers where it isn't
// set: probes every second or two have failed a few times by then.
func DefaultDrainDelay(s config.Settings) time.Duration {
	return min(5*time.Second, time.Duration(float64(s.DrainTimeout)*float64(maxDelay)))
}

// shutdown is one under way.
type shutdown struct {
	began  time.Time
	budget time.Duration
}

func (s *Server) beginShutdown() shutdown {
	return shutdown{began: time.Now(), budget: s.settings.DrainTimeout}
}

// at is when a mark is reached.
func (d shutdown) at(m mark) time.Time {
	return d.began.Add(time.Duration(float64(d.budget) * float64(m)))
}

// within runs a step whose context ends at a mark. One that doesn't heed it is left
// behind: the process ends soon.
func (d shutdown) within(until mark, name string, step func(ctx context.Context) error) error {
	ctx, cancel := context.WithDeadline(context.Background(), d.at(until))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- step(ctx) }()
	late := time.NewTimer(time.Until(d.at(until + overrun)))
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return fmt.Errorf("shutdown: %s did not end in time", name)
	}
}

// closer is what a server has to close.
type closer struct {
	name  string
	until mark
	close func(ctx context.Context) error
}

func (s *Server) onClose(name string, until mark, f func(ctx context.Context) error) {
	s.closers = append(s.closers, closer{name, until, f})
}

// Close releases everything in reverse order of its making, within drain-timeout.
// Run does it by itself.
func (s *Server) Close() error { return s.close(s.beginShutdown()) }

func (s *Server) close(d shutdown) error {
	var faults []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		c := s.closers[i]
		faults = append(faults, d.within(c.until, c.name, c.close))
	}
	s.closers = nil
	return errors.Join(faults...)
}

// drain lets load balancers notice that /readyz is red, and answers what they send
// meanwhile. Then it takes no new work, and answers what it has accepted: with a
// score, or at the mark with the advice to try another server.
func (s *Server) drain(d shutdown) error {
	s.logger.Info("shutting down", "at most", d.budget, "drain-delay", s.settings.DrainDelay)
	s.gateway.Leave()
	time.Sleep(s.settings.DrainDelay)
	s.gateway.Drain()
	interrupt := time.AfterFunc(time.Until(d.at(interruptMark)), func() {
		s.logger.Warn("requests that are still under way are answered 503 draining")
		s.gateway.Interrupt()
	})
	defer interrupt.Stop()
	ctx, cancel := context.WithDeadline(context.Background(), d.at(cutMark))
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(errors.New("shutdown: requests that did not end in time were cut off"), s.http.Close())
	}
	return nil
}

// hangUp closes the connections to Triton. gRPC says goodbye first, and waits five
// seconds for a server that doesn't listen; nobody needs to.
func hangUp(client *tritonclient.Client) error {
	closed := make(chan error, 1)
	go func() { closed <- client.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(250 * time.Millisecond):
		return nil
	}
}
