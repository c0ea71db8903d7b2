package fair_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/agiqa/agiqa/internal/fair"
)

func who(client, connection string) fair.Who { return fair.Who{Client: client, Connection: connection} }

// serve serves items one after the other until n are over or none waits, and
// returns their values.
func serve(q *fair.Queue[string], n int) string {
	var out []string
	for range n {
		item := q.Next()
		if item == nil {
			break
		}
		q.Serve(item)
		out = append(out, item.Value)
		q.Done(item)
	}
	return strings.Join(out, " ")
}

func TestOrder(t *testing.T) {
	type arrival struct {
		client, connection string
		cost               float64
		value              string
	}
	for _, tt := range []struct {
		name string
		come []arrival
		want string
	}{
		{"one client, one connection: first come, first served", []arrival{
			{"a", "1", 9, "x"}, {"a", "1", 1, "y"}, {"a", "1", 5, "z"},
		}, "x y z"},
		{"equals in the order of arrival", []arrival{
			{"a", "1", 1, "x"}, {"b", "1", 1, "y"}, {"c", "1", 1, "z"},
		}, "x y z"},
		{"clients in turns", []arrival{
			{"a", "1", 1, "a1"}, {"a", "1", 1, "a2"}, {"a", "1", 1, "a3"}, {"b", "1", 1, "b1"}, {"b", "1", 1, "b2"},
		}, "a1 b1 a2 b2 a3"},
		{"a client with many connections has one share", []arrival{
			{"a", "1", 1, "a1"}, {"a", "2", 1, "a2"}, {"a", "3", 1, "a3"}, {"b", "1", 1, "b1"}, {"b", "1", 1, "b2"},
		}, "a1 b1 a2 b2 a3"},
		{"connections of a client in turns", []arrival{
			{"a", "1", 1, "x1"}, {"a", "1", 1, "x2"}, {"a", "1", 1, "x3"}, {"a", "2", 1, "y1"}, {"a", "2", 1, "y2"},
		}, "x1 y1 x2 y2 x3"},
		{"what is cheap need not wait for what is expensive", []arrival{
			{"a", "1", 25, "large"}, {"b", "1", 1, "small"},
		}, "small large"},
		{"within a client as well", []arrival{
			{"a", "1", 25, "l1"}, {"a", "2", 25, "l2"}, {"a", "3", 25, "l3"}, {"a", "4", 1, "small"},
		}, "small l1 l2 l3"},
		{"many cheap ones cost as much as an expensive one", []arrival{
			{"a", "1", 3, "large"}, {"b", "1", 1, "s1"}, {"b", "1", 1, "s2"}, {"b", "1", 1, "s3"}, {"b", "1", 1, "s4"},
			{"b", "1", 1, "s5"},
		}, "s1 s2 large s3 s4 s5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var q fair.Queue[string]
			total := 0.0
			for _, a := range tt.come {
				q.Push(who(a.client, a.connection), a.cost, a.value)
				total += a.cost
			}
			if q.Len() != len(tt.come) || q.Cost() != total {
				t.Errorf("%d items of cost %g, want %d of %g", q.Len(), q.Cost(), len(tt.come), total)
			}
			if got := serve(&q, 100); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if q.Len() != 0 || q.Cost() != 0 || q.Remembered() != 0 || q.Next() != nil || q.Longest() != nil {
				t.Errorf("an empty queue has %d items of cost %g and knows %d clients", q.Len(), q.Cost(), q.Remembered())
			}
		})
	}
}

// To leave costs nothing, and to come back gains nothing.
func TestLeavingAndComingBack(t *testing.T) {
	var q fair.Queue[string]
	for range 100 {
		q.Push(who("b", "1"), 2, "b")
	}
	for range 50 {
		q.Done(q.Push(who("a", "1"), 2, "gone"))
	}
	served := map[string]int{}
	for i := range 20 { // a is away between its items
		if i%2 == 0 {
			q.Push(who("a", "1"), 2, "a")
		}
		served[serve(&q, 1)]++
		if diff := served["a"] - served["b"]; diff < -1 || diff > 1 {
			t.Fatalf("%d items of a and %d of b were served", served["a"], served["b"])
		}
	}
}

// New clients come all the time, and an old one still has its share.
func TestNewcomersDoNotStarveAnOldClient(t *testing.T) {
	var q fair.Queue[string]
	old, cost := 0, 0.0
	for i := range 3 {
		q.Push(who("old", "1"), 1, "old")
		q.Push(who(fmt.Sprint("first", i), "1"), 1, "new")
	}
	const rounds = 10_000
	for i := range rounds {
		item := q.Next()
		q.Serve(item)
		cost += item.Cost
		if item.Value == "old" {
			old++
			q.Push(who("old", "1"), 1, "old")
		} else {
			q.Push(who(fmt.Sprint("crowd", i), "1"), 1, "new")
		}
		q.Done(item)
		if n := q.Remembered(); n > 100 {
			t.Fatalf("%d clients are remembered of four that wait", n)
		}
	}
	if share := float64(old) / cost; share < 0.2 || share > 0.3 {
		t.Errorf("the old client has %.2f of what four share, want a quarter", share)
	}
}

func TestAhead(t *testing.T) {
	var q fair.Queue[string]
	check := func(name string, w fair.Who, cost, want float64) {
		t.Helper()
		if got := q.Ahead(w, cost); got != want {
			t.Errorf("%s: %g, want %g", name, got, want)
		}
	}
	check("alone", who("a", "1"), 5, 5)
	for i := range 10 {
		q.Push(who("a", fmt.Sprint(i)), 25, "")
	}
	check("another client's backlog counts as far as one's own", who("b", "1"), 1, 2)
	check("and no further than it reaches", who("b", "1"), 1000, 1250)
	check("a new connection of the same client", who("a", "new"), 1, 11)
	check("a connection that waits already", who("a", "3"), 25, 275)
	served := q.Next()
	q.Serve(served)
	check("what is under way counts", who("a", "3"), 25, 275)
	q.Done(served)
	check("what is over does not", who("a", "3"), 25, 250)
}

func TestLongest(t *testing.T) {
	var q fair.Queue[string]
	for i := range 3 {
		q.Push(who("a", "1"), 1, fmt.Sprint("a1", i))
	}
	q.Push(who("a", "2"), 100, "a2")
	q.Push(who("b", "1"), 1, "b1")
	longest := q.Longest()
	if longest.Value != "a12" {
		t.Fatalf("the longest ends with %s, want a12", longest.Value)
	}
	for _, tt := range []struct {
		who  fair.Who
		cost float64
		want bool
	}{
		{who("c", "1"), 100, true},
		{who("b", "1"), 100, true},
		{who("a", "3"), 100, true},
		{who("a", "1"), 1, false},
	} {
		if got := q.Shorter(tt.who, tt.cost, longest); got != tt.want {
			t.Errorf("%v has less waiting: %v", tt.who, got)
		}
	}
	q.Done(longest)
	q.Done(q.Longest())
	if got := q.Longest().Value; got != "a2" { // as many as the others of a, and costs more
		t.Errorf("the longest ends with %s, want a2", got)
	}
}

// Random arrivals from random clients. Nobody who has work waiting all the time
// gets less than anybody else, by more than two of the largest items: one that
// the other was ahead with, and one that could not be interrupted. The same
// holds between the connections of a client.
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		largest := rapid.SampledFrom([]float64{1, 5, 25}).Draw(t, "largest")
		costs := rapid.Float64Range(0.1, largest)
		names := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		units := rapid.IntRange(1, 3).Draw(t, "units")
		var q fair.Queue[fair.Who]
		var under []*fair.Item[fair.Who]
		waiting := map[fair.Who]int{}
		clients, connections := newLedger(), newLedger()
		for range rapid.IntRange(50, 400).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0: // somebody comes
				w := who(names.Draw(t, "client"), names.Draw(t, "connection"))
				q.Push(w, costs.Draw(t, "cost"), w)
				waiting[w]++
			case 1: // something ends
				if len(under) > 0 {
					i := rapid.IntRange(0, len(under)-1).Draw(t, "ends")
					q.Done(under[i])
					under = slices.Delete(under, i, i+1)
				}
			}
			for len(under) < units && q.Next() != nil {
				item := q.Next()
				q.Serve(item)
				under = append(under, item)
				w := item.Value
				bound := 2*largest + 1e-6
				ofClient := func(c string) bool {
					return slices.ContainsFunc(everybody, func(k string) bool { return waiting[who(c, k)] > 0 })
				}
				if name, lag := clients.serve(w.Client, item.Cost, ofClient); lag > bound {
					t.Fatalf("client %s, which waits, is %g behind %s; largest item %g", name, lag, w.Client, largest)
				}
				key := func(k string) bool { return waiting[who(w.Client, k)] > 0 }
				if units == 1 {
					if name, lag := connections.of(w.Client).serve(w.Connection, item.Cost, key); lag > bound {
						t.Fatalf("connection %s of %s, which waits, is %g behind %s", name, w.Client, lag, w.Connection)
					}
				}
				if waiting[w]--; !ofClient(w.Client) {
					clients.rests(w.Client)
				}
				if waiting[w] == 0 {
					connections.of(w.Client).rests(w.Connection)
				}
			}
		}
	})
}

// ledger tells how far shares that wait fall behind the one that is served.
type ledger struct {
	lag    map[[2]string]float64 // what the second had more than the first while the first waited
	levels map[string]*ledger
}

func newLedger() *ledger { return &ledger{lag: map[[2]string]float64{}, levels: map[string]*ledger{}} }

func (l *ledger) of(client string) *ledger {
	if l.levels[client] == nil {
		l.levels[client] = newLedger()
	}
	return l.levels[client]
}

var everybody = []string{"a", "b", "c", "d"}

// rests is for a share that has nothing waiting any more.
func (l *ledger) rests(name string) {
	for _, other := range everybody {
		delete(l.lag, [2]string{name, other})
	}
}

// serve returns who is furthest behind the one that is served.
func (l *ledger) serve(served string, cost float64, waits func(string) bool) (furthest string, lag float64) {
	for _, name := range everybody {
		if name == served {
			continue
		}
		ahead, behind := [2]string{name, served}, [2]string{served, name}
		if waits(name) {
			l.lag[ahead] += cost
		}
		l.lag[behind] = max(0, l.lag[behind]-cost)
		if l.lag[ahead] > lag {
			furthest, lag = name, l.lag[ahead]
		}
	}
	return furthest, lag
}

func BenchmarkQueue(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("%d connections wait", n), func(b *testing.B) {
			var q fair.Queue[int]
			for i := range n {
				q.Push(who(fmt.Sprint(i%100), fmt.Sprint(i)), 1+float64(i%7), i)
			}
			b.ReportAllocs()
			for b.Loop() {
				item := q.Next()
				q.Serve(item)
				q.Push(who(fmt.Sprint(item.Value%100), fmt.Sprint(item.Value)), item.Cost, item.Value)
				q.Done(item)
			}
		})
	}
}
