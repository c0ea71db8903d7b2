package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Service is how long one request takes where nothing waits.
type Service struct {
	Decode     float64 // seconds of a gateway's processor
	Spread     float64 // its standard deviation, as a share of it
	Batch, Row float64 // seconds of a Triton: for each batch, and for each image in it
	MaxBatch   int
}

// Pool is one kind of pod.
type Pool struct {
	Replicas int     // to begin with
	Max      int     // 0: as many as to begin with, no autoscaling
	Start    float64 // seconds until a new pod is ready
}

// Fleet is what is simulated.
type Fleet struct {
	Name       string
	Service    Service
	Gateways   Pool
	Processors int     // of a gateway
	QueueWait  float64 // the setting queue-wait
	CPUTarget  float64 // of the gateways' autoscaler: 0.6
	Tritons    Pool
	InFlight   float64 // inferences at each Triton that its autoscaler aims at; 0: doesn't look
	Waiting    float64 // seconds in gateways' queues from which on Tritons are added; 0: doesn't look
	Load       Load
}

// Load is a rate with a spike.
type Load struct {
	Rate, Factor      float64 // images a second, and how many times that in the spike
	Begin, Until, End float64 // seconds
}

func (l Load) at(t float64) float64 {
	if t >= l.Begin && t < l.Until {
		return l.Rate * l.Factor
	}
	return l.Rate
}

const (
	slotsPerProcessor = 16  // the setting concurrency
	queueLength       = 256 // the setting queue
	syncPeriod        = 15  // seconds between decisions of an autoscaler
	downWindow        = 300 // seconds over which the highest recommendation counts
	tolerance         = 0.1
)

type request struct {
	arrived, admitted, decoding, decoded, computing float64
	gateway                                         *gateway
}

type gateway struct {
	ready           bool
	processors      int
	busy, working   int
	waiting, decode []*request // for a slot, for a processor
	worked          float64    // processor seconds since the last look
	rate            float64    // answers a second, lately
	answered        int        // since the rate was taken
}

type triton struct {
	ready   bool
	queue   []*request
	running []*request
}

type event struct {
	at   float64
	do   func()
	turn int // the order of what happens at once
}

// simulation holds the state of one run.
type simulation struct {
	Fleet

	random   *rand.Rand
	now      float64
	events   []event // a heap
	turn     int
	gateways []*gateway
	tritons  []*triton
	result   Result

	scrapedWait   float64   // what Prometheus saw last
	scrapedFlight int       // likewise
	usage         []float64 // of processors, in the period before: what the autoscaler sees is a period old
	wanted        [2][]recommendation
	shrunk        [2]float64
}

type recommendation struct {
	at    float64
	count int
}

// Run simulates one fleet.
func Run(f Fleet, seed uint64) Result {
	s := &simulation{Fleet: f, random: rand.New(rand.NewPCG(seed, 0))}
	s.result = newResult(f)
	for range f.Gateways.Replicas {
		s.gateways = append(s.gateways, s.newGateway(true))
	}
	for range f.Tritons.Replicas {
		s.tritons = append(s.tritons, &triton{ready: true})
	}
	s.arrivals()
	s.every(1, s.second)
	s.every(10, s.scrape)
	s.every(syncPeriod, s.scale)
	for len(s.events) > 0 {
		e := s.pop()
		if e.at > f.Load.End {
			break
		}
		s.now = e.at
		e.do()
	}
	s.result.finish()
	return s.result
}

func (s *simulation) newGateway(ready bool) *gateway {
	return &gateway{ready: ready, processors: s.Processors, rate: float64(s.Processors) / s.Service.Decode}
}

func (s *simulation) after(delay float64, do func()) {
	s.turn++
	s.events = append(s.events, event{s.now + delay, do, s.turn})
	for i := len(s.events) - 1; i > 0; {
		up := (i - 1) / 2
		if !s.events[i].before(s.events[up]) {
			break
		}
		s.events[i], s.events[up] = s.events[up], s.events[i]
		i = up
	}
}

func (e event) before(other event) bool {
	return e.at < other.at || e.at == other.at && e.turn < other.turn
}

func (s *simulation) pop() event {
	first, last := s.events[0], len(s.events)-1
	s.events[0] = s.events[last]
	s.events[last] = event{}
	s.events = s.events[:last]
	for i := 0; ; {
		least := i
		for _, child := range []int{2*i + 1, 2*i + 2} {
			if child < last && s.events[child].before(s.events[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		s.events[i], s.events[least] = s.events[least], s.events[i]
		i = least
	}
}

func (s *simulation) every(period float64, do func()) {
	s.after(period, func() { do(); s.every(period, do) })
}

// arrivals draws them by thinning: at the highest rate, of which only the
// current share counts.
func (s *simulation) arrivals() {
	highest := s.Load.Rate * max(1, s.Load.Factor)
	s.after(s.random.ExpFloat64()/highest, func() {
		if s.random.Float64()*highest < s.Load.at(s.now) {
			s.arrive()
		}
		s.arrivals()
	})
}

func (s *simulation) arrive() {
	r := &request{arrived: s.now}
	for _, g := range s.gateways {
		if g.ready && (r.gateway == nil || g.holds() < r.gateway.holds()) {
			r.gateway = g
		}
	}
	s.result.offered(s.now)
	switch g := r.gateway; {
	case g.working < slotsPerProcessor*g.processors:
		s.admit(r)
	case len(g.waiting) < queueLength && g.completion() <= s.QueueWait:
		g.waiting = append(g.waiting, r)
	default:
		s.result.refused(s.now)
	}
}

func (g *gateway) holds() int { return g.working + len(g.waiting) }

// completion is the estimate of when a request would be done that came now.
func (g *gateway) completion() float64 { return float64(g.holds()+1) / max(g.rate, 1) }

func (s *simulation) admit(r *request) {
	r.admitted = s.now
	r.gateway.working++
	r.gateway.decode = append(r.gateway.decode, r)
	s.decodeNext(r.gateway)
}

func (s *simulation) decodeNext(g *gateway) {
	if g.busy == g.processors || len(g.decode) == 0 {
		return
	}
	r := g.decode[0]
	g.decode = g.decode[1:]
	r.decoding = s.now
	g.busy++
	took := s.Service.decode(s.random)
	s.after(took, func() {
		r.decoded = s.now
		g.busy--
		g.worked += took
		s.decodeNext(g)
		s.infer(r)
	})
}

// decode draws a time from a log-normal distribution.
func (v Service) decode(random *rand.Rand) float64 {
	variance := math.Log(1 + v.Spread*v.Spread)
	return v.Decode * math.Exp(math.Sqrt(variance)*random.NormFloat64()-variance/2)
}

func (s *simulation) infer(r *request) {
	var least *triton
	for _, t := range s.tritons {
		if t.ready && (least == nil || t.holds() < least.holds()) {
			least = t
		}
	}
	least.queue = append(least.queue, r)
	s.computeNext(least)
}

func (t *triton) holds() int { return len(t.queue) + len(t.running) }

func (s *simulation) computeNext(t *triton) {
	if len(t.running) > 0 || len(t.queue) == 0 {
		return
	}
	n := min(len(t.queue), s.Service.MaxBatch)
	t.running, t.queue = t.queue[:n:n], t.queue[n:]
	for _, r := range t.running {
		r.computing = s.now
	}
	s.after(s.Service.Batch+float64(n)*s.Service.Row, func() {
		done := t.running
		t.running = nil
		s.computeNext(t)
		for _, r := range done {
			s.answer(r)
		}
	})
}

func (s *simulation) answer(r *request) {
	g := r.gateway
	s.result.answered(s.now, r)
	g.answered++
	g.working--
	if len(g.waiting) > 0 {
		next := g.waiting[0]
		g.waiting = g.waiting[1:]
		s.admit(next)
	}
}

// second is what gateways do each second: they look at their throughput, which
// counts while there is a queue.
func (s *simulation) second() {
	for _, g := range s.gateways {
		if len(g.waiting) > 0 || g.working >= slotsPerProcessor*g.processors {
			g.rate = 0.5*g.rate + 0.5*float64(g.answered)
		}
		g.answered = 0
	}
	s.result.replicas(s.now, count(s.gateways, s.tritons))
}

func count(gateways []*gateway, tritons []*triton) (all [2]int) {
	for _, g := range gateways {
		if g.ready {
			all[0]++
		}
	}
	for _, t := range tritons {
		if t.ready {
			all[1]++
		}
	}
	return all
}

// scrape is Prometheus' look at the gauges of gateways.
func (s *simulation) scrape() {
	s.scrapedWait, s.scrapedFlight = 0, 0
	for _, g := range s.gateways {
		if len(g.waiting) > 0 {
			s.scrapedWait = max(s.scrapedWait, g.completion())
		}
	}
	for _, t := range s.tritons {
		s.scrapedFlight += t.holds()
	}
}

// scale is what both autoscalers do.
func (s *simulation) scale() {
	seen := s.usage // a period old, as the metrics server serves it
	s.usage = nil
	for _, g := range s.gateways {
		if g.ready {
			s.usage = append(s.usage, g.worked/(syncPeriod*float64(g.processors)))
		}
		g.worked = 0
	}
	sum := 0.0
	for _, u := range seen {
		sum += u
	}
	if s.Gateways.Max > 0 && len(seen) > 0 {
		// Pods without a figure count as idle while replicas are added.
		want := desired(len(s.gateways), sum/float64(len(s.gateways))/s.CPUTarget)
		s.resize(0, s.Gateways, len(s.gateways), want, func() {
			g := s.newGateway(false)
			s.gateways = append(s.gateways, g)
			s.after(s.Gateways.Start, func() { g.ready = true })
		}, func() { s.gateways = without(s.gateways, func(g *gateway) bool { return g.ready && g.holds() == 0 }) })
	}
	if s.Tritons.Max > 0 {
		n := len(s.tritons)
		want := 1
		if s.InFlight > 0 {
			want = desired(n, float64(s.scrapedFlight)/float64(n)/s.InFlight)
		}
		if s.Waiting > 0 {
			want = max(want, desired(n, s.scrapedWait/s.Waiting))
		}
		s.resize(1, s.Tritons, n, want, func() {
			t := &triton{}
			s.tritons = append(s.tritons, t)
			s.after(s.Tritons.Start, func() { t.ready = true })
		}, func() { s.tritons = without(s.tritons, func(t *triton) bool { return t.ready && t.holds() == 0 }) })
	}
}

// desired is Kubernetes' formula.
func desired(replicas int, ratio float64) int {
	if math.Abs(ratio-1) <= tolerance {
		return replicas
	}
	return int(math.Ceil(float64(replicas) * ratio))
}

// resize applies the chart's behavior: up by a hundred percent or four pods in 15
// seconds, down by a fifth in a minute, to the highest recommendation of five.
func (s *simulation) resize(kind int, pool Pool, have, want int, add, remove func()) {
	want = min(max(want, pool.Replicas), pool.Max)
	s.wanted[kind] = append(s.wanted[kind], recommendation{s.now, want})
	s.wanted[kind] = slices.DeleteFunc(s.wanted[kind], func(r recommendation) bool { return r.at < s.now-downWindow })
	for range min(want, max(2*have, have+4)) - have {
		add()
	}
	highest := 0
	for _, r := range s.wanted[kind] {
		highest = max(highest, r.count)
	}
	if highest < have && s.now-s.shrunk[kind] >= 60 {
		s.shrunk[kind] = s.now
		for range min(have-highest, max(1, have/5)) {
			remove()
		}
	}
}

// without takes out the last that may go.
func without[T any](all []T, may func(T) bool) []T {
	for i := len(all) - 1; i >= 0; i-- {
		if may(all[i]) {
			return slices.Delete(all, i, i+1)
		}
	}
	return all
}
