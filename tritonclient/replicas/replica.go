package replicas

import (
	"context"
	"crypto/tls"
	"errors"
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

// Replica is one configured address, its connections and its health.
type Replica struct {
	pool  *Pool
	addr  string
	tls   *tls.Config        // nil: plain text
	links []*grpc.ClientConn // at least one
	next  atomic.Uint64      // round robin over links

	outage      outage
	health      *health
	missing     *missingModels
	outstanding atomic.Int64 // inferences under way

	// verifiedAt is the value of conns.begun for which what is behind this
	// address passed Calls.Verify, and -1 before that. Whatever answers on a new
	// connection may hold other weights.
	conns      *connections
	verifiedAt atomic.Int64
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

// dial returns a replica. authority is the host:port that its certificate must
// be for, if that isn't addr.
func (p *Pool) dial(addr, authority string) (*Replica, error) {
	r := &Replica{
		pool: p, addr: addr, tls: p.cfg.TLS, conns: &connections{},
		health: newHealth(p.cfg.Now), missing: &missingModels{now: p.cfg.Now},
	}
	r.Recheck()
	opts := []grpc.DialOption{
		grpc.WithStatsHandler(r.conns),
		grpc.WithTransportCredentials(p.transport()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithDisableServiceConfig(), // no TXT look-ups, and nobody else's retry policy
		grpc.WithDisableRetry(),         // what never left is sent again all the same
		grpc.WithNoProxy(),              // the environment is read in cmd only
		grpc.WithIdleTimeout(0),         // the first request after a quiet night should not pay a dial
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
	for range p.cfg.Connections {
		conn, err := grpc.NewClient(target(addr), append(opts, p.cfg.DialOptions...)...)
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.links = append(r.links, conn)
	}
	return r, nil
}

func (p *Pool) transport() credentials.TransportCredentials {
	if p.cfg.TLS == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(p.cfg.TLS)
}

// Addr returns the replica's address, as configured. It is for operators, not
// for clients.
func (r *Replica) Addr() string { return r.addr }

// Conn returns the next of the replica's connections, for a call that is no
// inference and says nothing of the replica's health.
func (r *Replica) Conn() *grpc.ClientConn {
	return r.links[r.next.Add(1)%uint64(len(r.links))]
}

// state is that of the best connection.
func (r *Replica) state() connectivity.State {
	best := r.links[0].GetState()
	for _, conn := range r.links[1:] {
		if s := conn.GetState(); connectionRank(s) > connectionRank(best) {
			best = s
		}
	}
	return best
}

// connect starts to connect in the background.
func (r *Replica) connect() {
	for _, conn := range r.links {
		conn.Connect()
	}
}

func (r *Replica) close() error {
	var errs []error
	for _, conn := range r.links {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// Recheck has the replica verified again before its next inference.
func (r *Replica) Recheck() { r.verifiedAt.Store(-1) }

// verify makes sure, once after every new connection, that r holds what the
// caller expects. A name that stands for several servers is asked once for
// each connection to it.
func (r *Replica) verify(ctx context.Context) error {
	begun := r.conns.begun.Load()
	if r.verifiedAt.Load() == begun {
		return nil
	}
	for range max(1, r.conns.open.Load()) {
		if err := r.pool.calls.Verify(ctx, r); err != nil {
			return err
		}
	}
	r.verifiedAt.Store(begun)
	return nil
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
