package replicas

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Replica is one address, its connections and its health.
type Replica struct {
	pool  *Pool
	addr  string
	tls   *tls.Config   // nil: plain text
	links []*link       // at least one
	next  atomic.Uint64 // round robin over links

	name *name // that it comes from; nil: the address was configured

	flights     flights
	outage      outage
	health      *health
	missing     *missingModels
	outstanding atomic.Int64 // inferences under way
}

// Connection settings, and why.
const (
	// A server that was away is found again within about a second, by many
	// gateways at different moments.
	backoffBase   = 100 * time.Millisecond
	backoffMax    = time.Second
	backoffFactor = 1.6
	backoffJitter = 0.2
	dialTimeout   = 2 * time.Second

	// Triton answers pings that come more often than every 5 minutes with
	// GOAWAY too_many_pings, so these are for connections that a firewall
	// forgot. A dead peer is found by deadlines and, since grpc-go sets
	// TCP_USER_TIMEOUT to the keepalive timeout, by unacknowledged data.
	keepaliveTime    = 5*time.Minute + 10*time.Second
	keepaliveTimeout = 10 * time.Second
)

// writeBuffer holds an image's pixels and what is sent around them, so that they
// leave in few system calls. gRPC's own is 32 KiB.
const writeBuffer = 192 << 10

// dial returns a replica. authority is the host:port that its certificate must
// be for, if that isn't addr.
func (p *Pool) dial(addr, authority string) (*Replica, error) {
	r := &Replica{
		pool: p, addr: addr, tls: p.cfg.TLS,
		health: newHealth(p.cfg.Now), missing: &missingModels{now: p.cfg.Now},
	}
	if host, _, err := net.SplitHostPort(authority); err == nil && r.tls != nil {
		r.tls = r.tls.Clone()
		r.tls.ServerName = host // certificates are for the name
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(p.transport()),
		// A link is one connection at a time, which is kept up.
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"` + policy(addr) + `":{}}]}`),
		grpc.WithDisableServiceConfig(), // no TXT look-ups, and nobody else's retry policy
		grpc.WithDisableRetry(),         // what never left is sent again all the same
		grpc.WithNoProxy(),              // the environment is read in cmd only
		grpc.WithIdleTimeout(0),         // the first request after a quiet night should not pay a dial
		grpc.WithWriteBufferSize(writeBuffer),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: backoffBase, MaxDelay: backoffMax,
				Multiplier: backoffFactor, Jitter: backoffJitter,
			},
			MinConnectTimeout: dialTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: false,
		}),
		grpc.WithDefaultCallOptions(
			grpc.WaitForReady(false),
			grpc.MaxCallRecvMsgSize(p.cfg.MaxMessageBytes),
			grpc.MaxCallSendMsgSize(p.cfg.MaxMessageBytes),
		),
	}
	if authority != "" {
		opts = append(opts, grpc.WithAuthority(authority))
	}
	if p.cfg.ControlKey != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(controlKey(p.cfg.ControlKey)))
	}
	opts = append(opts, p.cfg.DialOptions...)
	for range p.cfg.Connections {
		l := &link{ask: p.calls.Identify}
		var err error
		if l.conn, err = grpc.NewClient(target(addr), append(slices.Clip(opts), grpc.WithStatsHandler(l))...); err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.links = append(r.links, l)
	}
	return r, nil
}

// policy is gRPC's choice between the addresses of a target. round_robin connects
// again by itself; a name may stand for several servers, of which a link has one.
func policy(addr string) string {
	if _, _, ok := isName(addr); ok {
		return "pick_first"
	}
	return "round_robin"
}

func (p *Pool) transport() credentials.TransportCredentials {
	if p.cfg.TLS == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(p.cfg.TLS)
}

// Addr returns the replica's address, which a name stands for or which was
// configured. It is for operators, not for clients.
func (r *Replica) Addr() string { return r.addr }

// Conn returns the next of the replica's connections, for a call that is no
// inference and says nothing of the replica's health.
func (r *Replica) Conn() *grpc.ClientConn { return r.link().conn }

// link is the next of the replica's connections.
func (r *Replica) link() *link { return r.links[r.next.Add(1)%uint64(len(r.links))] }

// begun counts the connections to the address that there have ever been.
func (r *Replica) begun() (n int64) {
	for _, l := range r.links {
		n += l.begun.Load()
	}
	return n
}

// Identity asks the replica now what it holds by the name of model. The answer of a
// server that is new since the replica was ejected brings it back: one that holds
// another encoder gets no inference that could.
func (r *Replica) Identity(ctx context.Context, model string) (string, error) {
	s, err := r.link().sight(ctx, model, time.Now())
	if err == nil {
		r.health.answered(r.begun())
	}
	return s.identity, err
}

// holdsOther reports whether the replica is known to hold something else than
// h.
func (r *Replica) holdsOther(h Holding) bool {
	if h == (Holding{}) {
		return false
	}
	var last sighting
	for _, l := range r.links {
		if s, ok := l.known(h.Model); ok && s.asked.After(last.asked) {
			last = s
		}
	}
	return !last.asked.IsZero() && last.identity != h.Identity
}

// state is that of the best connection.
func (r *Replica) state() connectivity.State {
	best := r.links[0].conn.GetState()
	for _, l := range r.links[1:] {
		if s := l.conn.GetState(); connectionRank(s) > connectionRank(best) {
			best = s
		}
	}
	return best
}

// connect starts to connect in the background.
func (r *Replica) connect() {
	for _, l := range r.links {
		l.conn.Connect()
	}
}

func (r *Replica) close() error {
	var errs []error
	for _, l := range r.links {
		errs = append(errs, l.conn.Close())
	}
	return errors.Join(errs...)
}

// Error says on which replica something went wrong. Its text holds an
// address: it is for logs and operators, not for clients.
type Error struct {
	Replica string
	Err     error
}

// ModelBroke reports whether the server ran the model and it failed, so that
// what it was given may be the reason.
func (e *Error) ModelBroke() bool { return status.Code(e.Err) == codes.Internal }

// Error returns the replica's address and the error's text.
func (e *Error) Error() string { return e.Replica + ": " + e.Err.Error() }

// Unwrap returns the error.
func (e *Error) Unwrap() error { return e.Err }
