package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Options bounds a run.
type Options struct {
	Connections    int           // at most so many requests are under way
	MaxOutstanding int           // under way or waiting for a connection; more are dropped
	Timeout        time.Duration // of a request, from when a connection takes it
	Drain          time.Duration // after the last one was due; then the rest is cut off
	// PID is a process whose use, and its descendants', is read before and
	// after; 0: none.
	PID int
	// Backend, where there is one, is watched meanwhile.
	Backend Backend
	// Wait sleeps until a request is due, or ctx ends; nil: by a timer of the
	// kernel, which is some ten microseconds late.
	Wait func(ctx context.Context, d time.Duration)
	// Progress, where there is one, is kept up to date.
	Progress *Progress
}

// DefaultOptions suits a server on the same machine.
func DefaultOptions() Options {
	return Options{Connections: 64, MaxOutstanding: 1 << 16, Timeout: 30 * time.Second, Drain: 30 * time.Second}
}

// Validate reports every invalid option.
func (o Options) Validate() error {
	var faults []error
	if o.Connections < 1 || o.Connections > 1<<16 {
		faults = append(faults, fmt.Errorf("connections: %d, must be 1 to %d", o.Connections, 1<<16))
	}
	if o.MaxOutstanding < o.Connections || o.MaxOutstanding > 1<<24 {
		faults = append(faults, fmt.Errorf("max-outstanding: %d, must be at least connections (%d), at most %d",
			o.MaxOutstanding, o.Connections, 1<<24))
	}
	if o.Timeout <= 0 || o.Drain < 0 {
		faults = append(faults, fmt.Errorf("timeout %s must be positive, drain %s not negative", o.Timeout, o.Drain))
	}
	return errors.Join(faults...)
}

// Progress counts while a run goes on.
type Progress struct{ Ended atomic.Int64 }

// Open runs a schedule against a target, in an open loop. It returns an error
// only if no run took place; [Run.Err] reports whether it succeeded.
//
// Memory is collected before the run, and meanwhile no more often than after
// every 256 MiB: a collection takes processor time from what is due. The
// process's GC percent is changed for that and is afterwards what it was.
func (o Options) Open(ctx context.Context, target Target, s Schedule) (Run, error) {
	g, err := newGenerator(ctx, target, o)
	if err != nil {
		return Run{}, err
	}
	g.run.Loop, g.run.Length = OpenLoop, s.Length
	g.run.Records = make([]Record, len(s.Due))
	for i, due := range s.Due {
		g.run.Records[i].Due = due
	}
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	if g.o.Wait == nil {
		alarm, err := newAlarm(ctx)
		if err != nil {
			return Run{}, err
		}
		defer alarm.close()
		g.o.Wait = alarm.wait
	}
	waiting := make(chan int, o.MaxOutstanding)
	defer collectRarely()()
	g.begin()
	done := g.lanes(ctx, func(ctx context.Context, lane Lane) { g.serve(ctx, lane, waiting) })
	g.dispatch(ctx, waiting)
	close(waiting)
	drained := time.AfterFunc(o.Drain, func() { cut(errDrained) })
	defer drained.Stop()
	<-done
	return g.finish(ctx), nil
}

// errDrained ends a run whose target did not get done in time. That is a
// figure, not a fault of the run.
var errDrained = errors.New("drain time is over")

// generator is one run under way.
type generator struct {
	o           Options
	target      Target
	run         Run
	cpu         time.Duration
	usage       Usage // of the target, before
	behind      func(context.Context) (Behind, error)
	outstanding atomic.Int64
	stages      stageTable
}

func newGenerator(ctx context.Context, target Target, o Options) (*generator, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	var usage Usage
	if o.PID != 0 {
		var err error
		if usage, err = ReadUsage(o.PID); err != nil {
			return nil, err
		}
	}
	var behind func(context.Context) (Behind, error)
	if o.Backend != nil {
		var err error
		if behind, err = o.Backend.Watch(ctx); err != nil {
			return nil, err
		}
	}
	if o.Progress == nil {
		o.Progress = &Progress{}
	}
	return &generator{o: o, target: target, usage: usage, behind: behind, run: Run{Target: target.Name()}}, nil
}

// begin is when a run starts: all of its times count from then.
func (g *generator) begin() { g.run.Started, g.cpu = time.Now(), processCPU() }

func (g *generator) now() time.Duration { return time.Since(g.run.Started) }

// lanes starts a goroutine for each connection; the channel closes when all
// have ended.
func (g *generator) lanes(ctx context.Context, work func(context.Context, Lane)) <-chan struct{} {
	var all sync.WaitGroup
	for range g.o.Connections {
		all.Go(func() {
			lane := g.target.Open(ctx)
			defer lane.Close()
			work(ctx, lane)
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	return done
}

// dispatch hands out each request when it is due. It never waits for a
// connection: requests beyond MaxOutstanding are dropped.
func (g *generator) dispatch(ctx context.Context, waiting chan<- int) {
	for i := range g.run.Records {
		rec := &g.run.Records[i]
		for ahead := rec.Due - g.now(); ahead > 0 && ctx.Err() == nil; ahead = rec.Due - g.now() {
			g.o.Wait(ctx, ahead)
		}
		if ctx.Err() != nil {
			return
		}
		if g.outstanding.Add(1) > int64(g.o.MaxOutstanding) {
			g.outstanding.Add(-1)
			rec.Outcome = Dropped
			g.o.Progress.Ended.Add(1)
			continue
		}
		waiting <- i // has room: its capacity is what is outstanding at most
	}
}

// serve sends what is waiting, one after another, on one lane.
func (g *generator) serve(ctx context.Context, lane Lane, waiting <-chan int) {
	free := time.Duration(0)
	for i := range waiting {
		if ctx.Err() != nil {
			continue // stays unsent
		}
		rec := &g.run.Records[i]
		rec.Start = g.now()
		// Before the lane was free the target kept it; since then, we did.
		rec.Own = rec.Start - max(rec.Due, free)
		g.send(lane, i, rec)
		free = rec.Done
		g.outstanding.Add(-1)
		g.o.Progress.Ended.Add(1)
	}
}

func (g *generator) send(lane Lane, i int, rec *Record) {
	a := lane.Send(i, g.run.Started.Add(rec.Start+g.o.Timeout))
	rec.Done = g.now()
	rec.Outcome, rec.Failure = Completed, a.Failure
	if a.Failure != "" {
		rec.Outcome = Failed
	}
	if !a.First.IsZero() {
		rec.First = a.First.Sub(g.run.Started)
	}
	rec.Wrote, rec.Status, rec.Bytes = a.Wrote, uint16(a.Status), int64(a.Bytes)
	rec.Stages = g.stages.row(a.Stages)
}

func (g *generator) finish(ctx context.Context) Run {
	g.run.Took = g.now()
	g.run.CPU = processCPU() - g.cpu
	g.run.Stages = g.stages.names
	if g.o.PID != 0 {
		if u, err := ReadUsage(g.o.PID); err == nil {
			g.run.Process = &ProcessUse{CPU: u.CPU - g.usage.CPU, RSSKB: u.RSSKB, FDs: u.FDs}
		} else {
			g.run.Broken = fmt.Errorf("the target has exited: %w", err)
		}
	}
	if g.behind != nil {
		// A run that was cut off is worth its statistics, too.
		if b, err := g.behind(context.WithoutCancel(ctx)); err == nil {
			g.run.Behind = &b
		} else {
			g.run.Broken = fmt.Errorf("read the statistics of the server behind the target: %w", err)
		}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errDrained) {
		g.run.Broken = fmt.Errorf("the run was cut short: %w", cause)
	}
	return g.run
}

// stageTable gives each name of a stage a column.
type stageTable struct {
	mu    sync.Mutex
	names []string
}

// maxStages bounds what a strange server can make us keep.
const maxStages = 32

func (t *stageTable) row(stages []Stage) []float32 {
	if len(stages) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	row := make([]float32, len(t.names), len(t.names)+len(stages))
	for i := range row {
		row[i] = -1
	}
	for _, s := range stages {
		column := 0
		for column < len(t.names) && t.names[column] != s.Name {
			column++
		}
		if column == len(t.names) {
			if column >= maxStages {
				continue
			}
			t.names, row = append(t.names, s.Name), append(row, -1)
		}
		row[column] = float32(s.MS)
	}
	return row
}
