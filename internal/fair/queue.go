// Package fair shares what is scarce between clients, and what a client gets
// between its connections: equal shares, weighed by cost. What nobody else wants
// is anybody's.
//
// [Queue] says whose turn it is. [Pool] adds a bound on how much is under way at
// once. Neither has a lock or a clock: the caller holds one and tells the time.
package fair

import (
	"container/heap"
	"container/list"
)

// Who is what shares are counted by.
type Who struct{ Client, Connection string }

// Queue is weighted fair queueing on two levels. Every client, and every
// connection of a client, has a virtual time at which its next item starts, and
// that item's cost later it ends. The one whose item ends first is next, and then
// starts its next item at that time: what is cheap need not wait for what is
// expensive, and many cheap items cost as much as an expensive one. A share that
// has no items any more is remembered while it is ahead of the others, so that
// nobody gains by leaving and coming back.
//
// An operation takes time logarithmic in the number of items. The zero value is
// an empty queue.
type Queue[T any] struct {
	clients  level[T]
	waiting  int
	cost     float64
	arrivals uint64
}

// Item waits or is under way.
type Item[T any] struct {
	Value T
	Cost  float64

	connection *share[T]
	arrival    uint64
	place      *list.Element // while it waits
}

// share is a client, or a connection of one.
type share[T any] struct {
	name        string
	client      *share[T] // of a connection
	connections level[T]  // of a client
	queue       list.List // of a connection: its waiting *Item[T]

	start   float64 // virtual time at which its next item starts
	next    float64 // that item's cost
	arrival uint64  // and its arrival: the first of equals is next
	waiting int
	busy    int     // items that wait or are under way
	cost    float64 // of those
	at      [orders]int
}

// level is the shares of one whole.
type level[T any] struct {
	now    float64 // virtual time
	busy   int     // shares with items
	shares map[string]*share[T]
	by     [orders]order[T]
}

// The orders in which a level keeps its shares.
const (
	byEnd     = iota // those with waiting items, the next one first
	byStart          // the same, the one that could start first
	byBacklog        // the same, the one with the most first
	byDebt           // those without items, the first to be forgotten first
	orders
)

// order is a heap of shares.
type order[T any] struct {
	shares []*share[T]
	kind   int
}

// Len implements [heap.Interface], as do the others.
func (o *order[T]) Len() int { return len(o.shares) }

func (o *order[T]) Less(i, j int) bool {
	a, b := o.shares[i], o.shares[j]
	switch o.kind {
	case byEnd:
		endA, endB := a.start+a.next, b.start+b.next
		return endA < endB || endA == endB && a.arrival < b.arrival
	case byBacklog:
		return a.waiting > b.waiting || a.waiting == b.waiting && a.cost > b.cost
	}
	return a.start < b.start
}

func (o *order[T]) Swap(i, j int) {
	o.shares[i], o.shares[j] = o.shares[j], o.shares[i]
	o.shares[i].at[o.kind], o.shares[j].at[o.kind] = i, j
}

func (o *order[T]) Push(x any) {
	s := x.(*share[T])
	s.at[o.kind] = len(o.shares)
	o.shares = append(o.shares, s)
}

func (o *order[T]) Pop() any {
	last := len(o.shares) - 1
	s := o.shares[last]
	o.shares[last], o.shares = nil, o.shares[:last]
	s.at[o.kind] = -1
	return s
}

// keep has the heap hold s, in its right place, or not hold it.
func (o *order[T]) keep(s *share[T], held bool) {
	switch i := s.at[o.kind]; {
	case held && i >= 0:
		heap.Fix(o, i)
	case held:
		heap.Push(o, s)
	case i >= 0:
		heap.Remove(o, i)
	}
}

// Push adds an item at the end of what its connection has waiting.
func (q *Queue[T]) Push(who Who, cost float64, value T) *Item[T] {
	client := q.clients.share(who.Client, nil)
	connection := client.connections.share(who.Connection, client)
	q.arrivals++
	item := &Item[T]{Value: value, Cost: cost, connection: connection, arrival: q.arrivals}
	item.place = connection.queue.PushBack(item)
	q.waiting++
	q.cost += cost
	client.connections.join(connection, item)
	q.clients.join(client, item)
	return item
}

// Next returns the item that is next and leaves it in the queue; nil: none waits.
func (q *Queue[T]) Next() *Item[T] {
	client := q.clients.first(byEnd)
	if client == nil {
		return nil
	}
	return client.head()
}

// head is the next item of a client or a connection that has one.
func (s *share[T]) head() *Item[T] {
	if connection := s.connections.first(byEnd); connection != nil {
		s = connection
	}
	return s.queue.Front().Value.(*Item[T])
}

// first returns the first share in an order; nil: none.
func (l *level[T]) first(kind int) *share[T] {
	if len(l.by[kind].shares) == 0 {
		return nil
	}
	return l.by[kind].shares[0]
}

// Serve begins a waiting item, whether or not it is next. It counts until
// [Queue.Done].
func (q *Queue[T]) Serve(item *Item[T]) {
	connection := item.connection
	client := connection.client
	q.unqueue(item)
	client.connections.serve(connection, item.Cost)
	q.clients.serve(client, item.Cost)
}

// Done takes an item out: one that is over, or one that does not want its turn
// any more. It costs its client nothing if it was never served.
func (q *Queue[T]) Done(item *Item[T]) {
	if item.place != nil {
		q.unqueue(item)
	}
	connection := item.connection
	client := connection.client
	q.cost -= item.Cost
	client.connections.leave(connection, item)
	if q.clients.leave(client, item); q.clients.busy == 0 {
		q.cost = 0 // what rounding left
	}
}

func (q *Queue[T]) unqueue(item *Item[T]) {
	item.connection.queue.Remove(item.place)
	item.place = nil
	item.connection.waiting--
	item.connection.client.waiting--
	q.waiting--
}

// Len is the number of waiting items.
func (q *Queue[T]) Len() int { return q.waiting }

// Cost is that of all items.
func (q *Queue[T]) Cost() float64 { return q.cost }

// Longest returns the last item of the connection that has most waiting, of the
// client that has most waiting; by cost among equals. nil: none waits.
func (q *Queue[T]) Longest() *Item[T] {
	client := q.clients.first(byBacklog)
	if client == nil {
		return nil
	}
	return client.connections.first(byBacklog).queue.Back().Value.(*Item[T])
}

// Shorter reports whether who, with an item of this cost more, would still have
// less waiting than the owner of the other item.
func (q *Queue[T]) Shorter(who Who, cost float64, other *Item[T]) bool {
	its := other.connection
	client := q.clients.shares[who.Client]
	if client != its.client {
		return client == nil || client.waiting == 0 || client.waiting+1 < its.client.waiting
	}
	waiting, total := 1, cost
	if mine := client.connections.shares[who.Connection]; mine != nil {
		waiting, total = mine.waiting+1, mine.cost+cost
	}
	return waiting < its.waiting || waiting == its.waiting && total < its.cost
}

// Ahead is how much is done before another item of this cost is, that one
// included, while everybody goes on as now: what its connection has, as much for
// each of the client's other connections, and as much again for each other
// client; no more than there is.
func (q *Queue[T]) Ahead(who Who, cost float64) float64 {
	clients := q.clients.busy
	connections, ofConnection, ofClient := 0, cost, cost
	client := q.clients.shares[who.Client]
	if client == nil || client.busy == 0 {
		clients++
	}
	if client != nil {
		connections, ofClient = client.connections.busy, client.cost+cost
	}
	if client == nil || client.connections.shares[who.Connection] == nil ||
		client.connections.shares[who.Connection].busy == 0 {
		connections++
	} else {
		ofConnection = client.connections.shares[who.Connection].cost + cost
	}
	ofClient = min(ofClient, float64(connections)*ofConnection)
	return min(q.cost+cost, float64(clients)*ofClient)
}

// share finds or makes a share.
func (l *level[T]) share(name string, client *share[T]) *share[T] {
	s := l.shares[name]
	if s == nil {
		s = &share[T]{name: name, client: client, start: l.now}
		for kind := range orders {
			s.at[kind], l.by[kind].kind = -1, kind
		}
		if l.shares == nil {
			l.shares = map[string]*share[T]{}
		}
		l.shares[name] = s
	}
	return s
}

// join counts an item of s that waits.
func (l *level[T]) join(s *share[T], item *Item[T]) {
	if s.busy++; s.busy == 1 {
		l.busy++
		l.by[byDebt].keep(s, false)
	}
	s.cost += item.Cost
	if s.waiting++; s.waiting == 1 {
		s.start = max(s.start, l.now)
	}
	l.settle(s)
}

// serve charges s for an item that no longer waits. Virtual time goes on as it
// would if all busy shares were served at once, at an equal rate: also while new
// shares come all the time. It's never behind all that wait.
func (l *level[T]) serve(s *share[T], cost float64) {
	earliest := l.first(byStart).start // s is still in its old place
	l.now = max(l.now+cost/float64(l.busy), earliest)
	s.start += cost
	l.settle(s)
	for s := l.first(byDebt); s != nil && s.start <= l.now; s = l.first(byDebt) {
		l.forget(s)
	}
}

// leave counts an item of s no longer.
func (l *level[T]) leave(s *share[T], item *Item[T]) {
	s.cost -= item.Cost
	if s.busy--; s.busy > 0 {
		l.settle(s)
		return
	}
	s.cost = 0
	l.settle(s)
	if l.busy--; l.busy == 0 { // nobody is ahead of anybody
		*l = level[T]{}
		return
	}
	if s.start <= l.now {
		l.forget(s)
		return
	}
	l.by[byDebt].keep(s, true)
	if len(l.shares) > l.busy+maxDebts {
		l.forget(l.first(byDebt))
	}
}

// maxDebts bounds the shares that are remembered without items. The one that is
// forgotten first is the one that owes least.
const maxDebts = 4096

// settle puts s in its places after its items changed.
func (l *level[T]) settle(s *share[T]) {
	waits := s.waiting > 0
	if waits {
		head := s.head()
		s.next, s.arrival = head.Cost, head.arrival
	}
	for _, kind := range []int{byEnd, byStart, byBacklog} {
		l.by[kind].keep(s, waits)
	}
}

func (l *level[T]) forget(s *share[T]) {
	for kind := range orders {
		l.by[kind].keep(s, false)
	}
	delete(l.shares, s.name)
}
