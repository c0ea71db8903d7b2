package tritonclient

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// replica is one configured address, its connections and its health.
type replica struct {
	addr  string
	links []*grpc.ClientConn // at least one
	next  atomic.Uint64      // round robin over links

	outage      outage
	health      *health
	missing     *missingModels
	outstanding atomic.Int64 // inferences under way

	// checkedAt is the value of conns.begun for which the encoder behind this
	// address was found to be the one that the client described, and -1
	// before that. Whatever answers on a new connection may hold other weights.
	conns     *connections
	checkedAt atomic.Int64
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

func (c *Client) dial(addr string) (*replica, error) {
	now := c.cfg.Now
	if now == nil {
		now = time.Now
	}
	r := &replica{addr: addr, conns: &connections{}, health: newHealth(now), missing: &missingModels{now: now}}
	r.forgetCheck()
	opts := []grpc.DialOption{
		grpc.WithStatsHandler(r.conns),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
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
			grpc.MaxCallRecvMsgSize(c.cfg.MaxMessageBytes),
			grpc.MaxCallSendMsgSize(c.cfg.MaxMessageBytes),
		),
	}
	for range c.cfg.Connections {
		conn, err := grpc.NewClient("dns:///"+addr, append(opts, c.cfg.DialOptions...)...)
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.links = append(r.links, conn)
	}
	return r, nil
}

// link returns the next of the replica's connections.
func (r *replica) link() *grpc.ClientConn {
	return r.links[r.next.Add(1)%uint64(len(r.links))]
}

// rpc speaks over the next connection.
func (r *replica) rpc() pb.GRPCInferenceServiceClient {
	return pb.NewGRPCInferenceServiceClient(r.link())
}

// state is that of the best connection.
func (r *replica) state() connectivity.State {
	best := r.links[0].GetState()
	for _, conn := range r.links[1:] {
		if s := conn.GetState(); connectionRank(s) > connectionRank(best) {
			best = s
		}
	}
	return best
}

// connect starts to connect in the background.
func (r *replica) connect() {
	for _, conn := range r.links {
		conn.Connect()
	}
}

func (r *replica) close() error {
	var errs []error
	for _, conn := range r.links {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// forgetCheck makes the next call ask for the encoder again.
func (r *replica) forgetCheck() { r.checkedAt.Store(-1) }

func (c *Client) closeReplicas() error {
	var errs []error
	for _, r := range c.replicas {
		errs = append(errs, r.close())
	}
	return errors.Join(errs...)
}

// each runs f on every replica at once and joins the errors, each with the
// replica's address: what it returns is for operators. A name that stands for
// several addresses, such as a headless service, is several replicas here.
func (c *Client) each(ctx context.Context, f func(context.Context, *replica) error) error {
	replicas, done, err := c.expand(ctx)
	if err != nil {
		return err
	}
	defer done()
	errs := make([]error, len(replicas))
	var wg sync.WaitGroup
	for i, r := range replicas {
		wg.Go(func() {
			if err := f(ctx, r); err != nil {
				errs[i] = &ReplicaError{Replica: r.addr, Err: err}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// expand returns one replica for every server behind the configured
// addresses, and what to call when done with them.
func (c *Client) expand(ctx context.Context) (_ []*replica, done func(), err error) {
	var all, temporary []*replica
	done = func() {
		for _, r := range temporary {
			_ = r.close() // nothing is in flight on it
		}
	}
	for _, r := range c.replicas {
		host, port, _ := net.SplitHostPort(r.addr) // Validate saw to it
		if net.ParseIP(host) != nil {
			all = append(all, r)
			continue
		}
		ips, err := c.lookup(ctx, host)
		if err != nil || len(ips) < 2 {
			all = append(all, r) // one server, or a name whose error its own call tells best
			continue
		}
		for _, ip := range ips {
			t, err := c.dial(net.JoinHostPort(ip, port))
			if err != nil {
				done()
				return nil, nil, err
			}
			all, temporary = append(all, t), append(temporary, t)
		}
	}
	return all, done, nil
}

// ReplicaError says on which replica something went wrong. Its text holds an
// address: it is for logs and operators, not for clients.
type ReplicaError struct {
	Replica string
	Err     error
}

// ModelBroke reports whether the server ran the model and it failed, so that
// what it was given may be the reason.
func (e *ReplicaError) ModelBroke() bool { return status.Code(e.Err) == codes.Internal }

// Error returns the replica's address and the error's text.
func (e *ReplicaError) Error() string { return e.Replica + ": " + e.Err.Error() }

// Unwrap returns the error.
func (e *ReplicaError) Unwrap() error { return e.Err }
