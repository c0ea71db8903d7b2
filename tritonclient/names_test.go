package tritonclient_test

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// nameServer answers every question for an IPv4 address with those that are
// set, over UDP on a loopback port, and questions for others with nothing.
type nameServer struct {
	conn net.PacketConn
	ips  atomic.Pointer[[][4]byte]
}

func newNameServer(t *testing.T, hosts ...byte) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn}
	s.set(hosts...)
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	t.Cleanup(func() { conn.Close(); <-done })
	return s
}

// set makes the name stand for 127.0.0.HOST of each host.
func (s *nameServer) set(hosts ...byte) {
	var ips [][4]byte
	for _, h := range hosts {
		ips = append(ips, [4]byte{127, 0, 0, h})
	}
	s.ips.Store(&ips)
}

func (s *nameServer) serve() {
	buf := make([]byte, 512)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			for _, ip := range *s.ips.Load() {
				m.Answers = append(m.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: ip},
				})
			}
		}
		if answer, err := m.Pack(); err == nil {
			_, _ = s.conn.WriteTo(answer, from)
		}
	}
}

// lookup asks this server, as a pod asks its cluster's.
func (s *nameServer) lookup(ctx context.Context, host string) ([]string, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}
	return r.LookupHost(ctx, host)
}

// pod is a server behind an address of its own that can freeze, with all its
// connections, as a process does that is stopped.
type pod struct {
	*tritontest.Server
	listener net.Listener
	frozen   atomic.Bool
}

// newPod listens at address, whose port may be 0.
func newPod(t *testing.T, address string) *pod {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{Server: tritontest.New(t), listener: l}
	backend := p.Server.Addr()
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", backend)
			if err != nil {
				in.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, in, out)
			mu.Unlock()
			all.Go(func() { p.copy(out, in) })
			all.Go(func() { p.copy(in, out) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return p
}

// copy passes bytes on and swallows them while the pod is frozen.
func (p *pod) copy(to io.WriteCloser, from io.Reader) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !p.frozen.Load() {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// outcome is how one request ended, and when it began.
type outcome struct {
	began time.Time
	took  time.Duration
	err   error
}

// askMeanwhile has 8 callers ask without a pause while f runs.
func askMeanwhile(t *testing.T, c *tritonclient.Client, f func()) []outcome {
	t.Helper()
	var mu sync.Mutex
	var all []outcome
	var stop atomic.Bool
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for !stop.Load() {
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				_, err := c.EncodeImages(ctx, tritontest.Encoder(), images(1))
				cancel()
				mu.Lock()
				all = append(all, outcome{began, time.Since(began), err})
				mu.Unlock()
			}
		})
	}
	f()
	stop.Store(true)
	callers.Wait()
	return all
}

// TestF42OneNameAPodHangs has one of two servers behind one name stop answering
// under load: what waits for it goes to the other one, and after five seconds
// nobody notices.
func TestF42OneNameAPodHangs(t *testing.T) {
	t.Parallel()
	port := strconv.Itoa(proctest.FreePort(t))
	a := newPod(t, net.JoinHostPort("127.0.0.2", port))
	b := newPod(t, net.JoinHostPort("127.0.0.3", port))
	dns := newNameServer(t, 2, 3)
	c := newClient(t, func(cfg *tritonclient.Config) {
		cfg.Addresses, cfg.Lookup = []string{net.JoinHostPort("triton.test", port)}, dns.lookup
	}, a.Server)
	warm := askMeanwhile(t, c, func() { a.WaitCalls(tritontest.ImageEncoder, 20); b.WaitCalls(tritontest.ImageEncoder, 20) })
	for _, o := range warm {
		if o.err != nil {
			t.Fatalf("before: %v", o.err)
		}
	}
	var froze time.Time
	all := askMeanwhile(t, c, func() {
		froze = time.Now()
		a.frozen.Store(true)
		timer := time.NewTimer(8 * time.Second)
		defer timer.Stop()
		<-timer.C
	})
	var early, earlyFailed, late, lateFailed int
	var slowest time.Duration
	for _, o := range all {
		failed := 0
		if o.err != nil {
			failed = 1
		}
		slowest = max(slowest, o.took)
		if o.began.Sub(froze) < 5*time.Second {
			early, earlyFailed = early+1, earlyFailed+failed
		} else {
			late, lateFailed = late+1, lateFailed+failed
		}
	}
	t.Logf("of %d requests in the first five seconds %d failed, of %d after them %d; the slowest took %s",
		early, earlyFailed, late, lateFailed, slowest)
	if late == 0 || lateFailed*20 > late {
		t.Errorf("%d of %d requests failed after five seconds, want at most 5 %%", lateFailed, late)
	}
	if slowest > 9*time.Second { // who waits for it in vain, waits for ten
		t.Errorf("a request hung for %s", slowest)
	}
}

// TestF22NameChanges takes a server out of a name and puts another in: the new
// one gets work within seconds, the old one none, and no request fails.
func TestF22NameChanges(t *testing.T) {
	t.Parallel()
	port := strconv.Itoa(proctest.FreePort(t))
	a := newPod(t, net.JoinHostPort("127.0.0.4", port))
	b := newPod(t, net.JoinHostPort("127.0.0.5", port))
	dns := newNameServer(t, 4)
	c := newClient(t, func(cfg *tritonclient.Config) {
		cfg.Addresses, cfg.Lookup = []string{net.JoinHostPort("triton.test", port)}, dns.lookup
	}, a.Server)
	all := askMeanwhile(t, c, func() {
		a.WaitCalls(tritontest.ImageEncoder, 5)
		dns.set(5)
		b.WaitCalls(tritontest.ImageEncoder, 5) // within a minute, or it fails
	})
	for _, o := range all {
		if o.err != nil {
			t.Errorf("a request failed: %v", o.err)
		}
	}
	before := a.Calls(tritontest.ImageEncoder)
	for range 20 {
		if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err != nil {
			t.Fatal(err)
		}
	}
	if n := a.Calls(tritontest.ImageEncoder) - before; n > 0 {
		t.Errorf("%d requests went to the server that is gone", n)
	}
	dns.set() // the name stands for nothing: what is known goes on
	if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err != nil {
		t.Error(err)
	}
}

// A server that alone is left and hangs: callers are told within seconds, and
// then at once, with the time to come back.
func TestF02HangsAlone(t *testing.T) {
	t.Parallel()
	a := newPod(t, "127.0.0.1:0")
	c := newClient(t, func(cfg *tritonclient.Config) {
		cfg.Addresses, cfg.RequestTimeout = []string{a.listener.Addr().String()}, 5*time.Minute
	}, a.Server)
	for range 5 {
		if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err != nil {
			t.Fatal(err)
		}
	}
	a.frozen.Store(true)
	begun := time.Now()
	_, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1))
	wantError(t, err, quality.KindModelUnavailable, "does not answer")
	if took := time.Since(begun); took > 12*time.Second { // three, and what a busy machine takes
		t.Errorf("the caller waited %s", took)
	}
	if err := c.Available(); err == nil {
		t.Error("a server that hangs is called available")
	}
	if c.Silence() == 0 {
		t.Error("nobody knows that it hangs")
	}
	// The connection lost bytes, as that of no process does that goes on; with a
	// new one it is back.
	a.Stop()
	a.frozen.Store(false)
	a.Start()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) && c.Probe(t.Context(), tritontest.Encoder()) != nil {
		<-time.After(50 * time.Millisecond)
	}
	if err := c.Available(); err != nil || c.Silence() != 0 {
		t.Errorf("it is back: %v, silent for %s", err, c.Silence())
	}
}
