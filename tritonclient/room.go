package tritonclient

import (
	"context"
	"sync"
	"time"
)

// room is where the calls with a passage are at one server. One that must be
// alone waits until the others have left, and keeps new ones out, but not for
// long: after its patience the door is open again, and it has company.
type room struct {
	mu      sync.Mutex
	inside  int
	entered uint64        // ever
	holder  *guest        // keeps the others out
	waiting int           // guests that want to be the holder
	changed chan struct{} // closed when somebody may go on; nil while nobody waits
}

// guest is one call in a room.
type guest struct {
	room  *room
	first uint64 // room.entered after it came into an empty room; 0: it was not empty
	door  *time.Timer
}

// enter waits for a place. It fails when ctx ends before.
func (r *room) enter(ctx context.Context, alone bool, patience time.Duration) (*guest, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &guest{room: r}
	if alone {
		if err := r.hold(ctx, g, patience); err != nil {
			return nil, err
		}
	} else if err := r.until(ctx, func() bool { return r.holder == nil && r.waiting == 0 }); err != nil {
		return nil, err
	}
	r.inside++
	r.entered++
	if r.inside == 1 {
		g.first = r.entered
	}
	return g, nil
}

// hold makes g the one that keeps others out, and waits until nobody is inside
// or its patience is over.
func (r *room) hold(ctx context.Context, g *guest, patience time.Duration) error {
	r.waiting++
	err := r.until(ctx, func() bool { return r.holder == nil })
	r.waiting--
	if err != nil {
		r.wake()
		return err
	}
	r.holder = g
	g.door = time.AfterFunc(patience, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.open(g)
	})
	if err := r.until(ctx, func() bool { return r.inside == 0 || r.holder != g }); err != nil {
		r.open(g)
		return err
	}
	return nil
}

// leave ends g's stay, and reports whether it was alone all the time.
func (g *guest) leave() (alone bool) {
	r := g.room
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside--
	r.open(g)
	r.wake()
	return g.first > 0 && g.first == r.entered
}

// open lets others in, if it is g that keeps them out.
func (r *room) open(g *guest) {
	if r.holder == g {
		g.door.Stop()
		r.holder = nil
		r.wake()
	}
}

// taken reports that whoever enters now has to wait.
func (r *room) taken() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.holder != nil || r.waiting > 0
}

// until waits for a condition, with the lock held at its beginning and end.
func (r *room) until(ctx context.Context, condition func() bool) error {
	for !condition() {
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		r.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// wake lets everybody who waits look again.
func (r *room) wake() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}
