package replicas

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc/connectivity"
)

// Bounds of looking names up, and why.
const (
	// lookupEvery is how soon a new server gets work, at the latest.
	lookupEvery = 5 * time.Second
	// lookupPause is the least time between two looks that failures ask for.
	lookupPause   = 500 * time.Millisecond
	lookupTimeout = 2 * time.Second
	// retireWithin bounds how long a server that a name no longer stands for
	// keeps its connections for what is under way.
	retireWithin = time.Minute
)

// name is a configured address with a host name. Each address that the name
// stands for is a replica of its own; until it stands for any, the name itself
// is one, which says why nobody is reached.
type name struct {
	addr, host, port string
	again            chan struct{} // one place: look now
	looked           chan struct{} // closed after the first look
}

// isName reports whether the host of addr has to be looked up.
func isName(addr string) (host, port string, ok bool) {
	if _, isSocket := socketPath(addr); isSocket {
		return "", "", false
	}
	host, port, err := net.SplitHostPort(addr)
	return host, port, err == nil && net.ParseIP(host) == nil
}

// follow keeps the replicas of a name until ctx ends.
func (p *Pool) follow(ctx context.Context, n *name) {
	for first := true; ctx.Err() == nil; first = false {
		look, cancel := context.WithTimeout(ctx, lookupTimeout)
		ips, err := p.cfg.Lookup(look, n.host)
		cancel()
		switch {
		case ctx.Err() != nil:
		case err != nil:
			// What is known goes on: a name server that is away takes no server away.
			p.cfg.Logger.Debug("host name of triton doesn't resolve", "address", n.addr, "error", err)
		default:
			p.settle(ctx, n, ips)
		}
		if first {
			close(n.looked)
		}
		rest := lookupEvery - time.Duration(rand.Float64()*float64(lookupEvery)/5)
		if !pause(ctx, lookupPause, nil) || !pause(ctx, rest-lookupPause, n.again) {
			return
		}
	}
}

// pause waits for d or early, and reports false if ctx ended before.
func pause(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-ctx.Done():
		return false
	}
	return true
}

// awaitNames waits until every name was looked up once.
func (p *Pool) awaitNames(ctx context.Context) {
	for _, n := range p.names {
		select {
		case <-n.looked:
		case <-ctx.Done():
			return
		}
	}
}

// lookAgain has the name that r comes from looked up soon.
func (p *Pool) lookAgain(r *Replica) {
	if r.name == nil {
		return
	}
	select {
	case r.name.again <- struct{}{}:
	default:
	}
}

// settle makes the replicas of a name those at ips.
func (p *Pool) settle(ctx context.Context, n *name, ips []string) {
	p.changing.Lock()
	defer p.changing.Unlock()
	now := p.all()
	failing := map[string]bool{}
	for _, r := range now {
		if host, _, _ := net.SplitHostPort(r.addr); r.name == n && net.ParseIP(host) != nil {
			failing[host] = r.state() == connectivity.TransientFailure
		}
	}
	ips = family(ips, failing)
	if len(ips) == 0 {
		return
	}
	var next, gone []*Replica
	kept := map[string]bool{}
	for _, r := range now {
		host, _, _ := net.SplitHostPort(r.addr)
		if r.name == n && !slices.Contains(ips, host) {
			gone = append(gone, r)
			continue
		}
		next, kept[r.addr] = append(next, r), true
	}
	for _, ip := range ips {
		addr := net.JoinHostPort(ip, n.port)
		if kept[addr] {
			continue
		}
		r, err := p.dial(addr, n.addr)
		if err != nil {
			p.cfg.Logger.Error("triton can't be dialled", "address", addr, "error", err)
			continue
		}
		r.name = n
		next, kept[addr] = append(next, r), true
		p.begin(ctx, r)
		if len(gone) == 0 || gone[0].addr != n.addr {
			p.cfg.Logger.Info("triton has a new address", "name", n.addr, "address", addr)
		}
	}
	p.set.Store(&next)
	for _, r := range gone {
		if r.addr != n.addr {
			p.cfg.Logger.Info("triton has an address less", "name", n.addr, "address", r.addr)
		}
		p.leaving = append(p.leaving, r)
		p.watching.Go(func() { p.retire(ctx, r) })
	}
}

// family returns the addresses of one family, since a server with one of each is
// one server: IPv4 at first, then the one in use until all its addresses fail.
// failing has the addresses in use, and whether they can't be reached.
func family(ips []string, failing map[string]bool) []string {
	is4 := func(ip string) bool { return net.ParseIP(ip).To4() != nil }
	of := map[bool][]string{} // by whether they are IPv4
	for _, s := range ips {
		if ip := net.ParseIP(s); ip != nil {
			of[is4(s)] = append(of[is4(s)], ip.String())
		}
	}
	use4, works := true, len(failing) == 0
	for ip, fails := range failing {
		use4, works = is4(ip), works || !fails
	}
	if !works {
		use4 = !use4
	}
	if len(of[use4]) == 0 {
		use4 = !use4
	}
	return of[use4]
}

// retire closes a replica that gets no more work when what is under way on it
// is over.
func (p *Pool) retire(ctx context.Context, r *Replica) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for end := time.Now().Add(retireWithin); r.outstanding.Load() > 0 && time.Now().Before(end); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return // Close does the rest
		}
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	p.leaving = slices.DeleteFunc(p.leaving, func(other *Replica) bool { return other == r })
	_ = r.close() // nothing is in flight on it
}
