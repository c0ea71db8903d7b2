package connlimit_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agiqa/agiqa/internal/connlimit"
)

// address is a peer's: its name is the client.
type address string

func (address) Network() string  { return "test" }
func (a address) String() string { return string(a) }

func clientOf(a net.Addr) string { return a.String() }

// kernel hands out connections in memory.
type kernel struct {
	conns chan net.Conn
	done  chan struct{}
}

func (k *kernel) Accept() (net.Conn, error) {
	select {
	case c := <-k.conns:
		return c, nil
	case <-k.done:
		return nil, net.ErrClosed
	}
}

func (k *kernel) Close() error   { close(k.done); return nil }
func (k *kernel) Addr() net.Addr { return address("kernel") }

type far struct {
	net.Conn
	from address
}

func (f far) RemoteAddr() net.Addr { return f.from }

// bed is an HTTP server behind a limited listener, on fake time. Its handler
// answers /now at once and everything else when the client leaves.
type bed struct {
	t      *testing.T
	kernel *kernel
	limit  *connlimit.Listener
	server *http.Server
	closed map[string]int // reasons
	mu     sync.Mutex
	conns  []*peer
}

// peer is the client's end of a connection.
type peer struct {
	net.Conn
	name     string
	answered int
	over     bool
	mu       sync.Mutex
}

func onBed(t *testing.T, most int, f func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{t: t, kernel: &kernel{make(chan net.Conn), make(chan struct{})}, closed: map[string]int{}}
		limit, err := connlimit.New(b.kernel, connlimit.Config{Max: most, Client: clientOf, Closed: func(reason string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.closed[reason]++
		}})
		if err != nil {
			t.Fatal(err)
		}
		b.limit = limit
		b.server = &http.Server{ConnState: limit.Changed, Handler: http.HandlerFunc(
			func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/now" {
					<-r.Context().Done()
				}
			})}
		var serving sync.WaitGroup
		serving.Go(func() { _ = b.server.Serve(limit) })
		f(b)
		_ = b.server.Close()
		for _, c := range b.conns {
			_ = c.Close()
		}
		serving.Wait()
		synctest.Wait()
	})
}

// dial opens connections of a client, which send a request each, "" for none.
// Half of a tenth of a second passes for each, so that their ages differ.
func (b *bed) dial(client string, n int, path string) {
	for range n {
		near, end := net.Pipe()
		p := &peer{Conn: near, name: client}
		b.conns = append(b.conns, p)
		b.kernel.conns <- far{end, address(client)}
		go func() {
			for buffer := make([]byte, 4096); ; {
				_, err := near.Read(buffer)
				p.mu.Lock()
				if err != nil {
					p.over = true
					p.mu.Unlock()
					return
				}
				p.answered++
				p.mu.Unlock()
			}
		}()
		if path != "" {
			go func() { _, _ = fmt.Fprintf(near, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path) }()
		}
		synctest.Wait()
		time.Sleep(50 * time.Millisecond)
	}
}

// count says how many connections of a client are open, and how many of all
// had an answer.
func (b *bed) count(client string) (open, answered int) {
	synctest.Wait()
	for _, c := range b.conns {
		c.mu.Lock()
		if c.name == client && !c.over {
			open++
		}
		if c.name == client && c.answered > 0 {
			answered++
		}
		c.mu.Unlock()
	}
	return open, answered
}

func (b *bed) want(client string, open, answered int) {
	b.t.Helper()
	if o, a := b.count(client); o != open || a != answered {
		b.t.Errorf("%s: %d open, %d answered, want %d and %d", client, o, a, open, answered)
	}
}

func (b *bed) wantClosed(want map[string]int) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !maps.Equal(b.closed, want) {
		b.t.Errorf("closed %v, want %v", b.closed, want)
	}
}

// Idle connections make room, first those of the client that holds most.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	onBed(t, 8, func(b *bed) {
		b.dial("a", 2, "/now")
		b.dial("b", 6, "/now")
		b.dial("c", 3, "/now")
		b.want("a", 2, 2)
		b.want("b", 3, 6)
		b.want("c", 3, 3)
		b.wantClosed(map[string]int{connlimit.Idle: 3})
	})
}

// A connection that sends nothing goes after the idle ones, and not before it
// had the time to send something.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	onBed(t, 4, func(b *bed) {
		b.dial("a", 1, "/now")
		b.dial("b", 3, "")
		b.dial("c", 1, "/now")
		b.want("a", 0, 1)
		b.want("c", 1, 1)
		b.dial("c", 2, "/hold") // one for the idle one; the other waits for b's oldest to be a second old
		b.want("b", 3, 0)
		time.Sleep(connlimit.Grace)
		b.want("b", 2, 0)
		b.wantClosed(map[string]int{connlimit.Idle: 2, connlimit.Silent: 1})
	})
}

// One client's requests under way can't keep the others out, and nobody loses
// one to a client that holds as many.
func TestTheLargestHolderLoses(t *testing.T) {
	onBed(t, 8, func(b *bed) {
		b.dial("a", 12, "/hold") // four of them wait
		b.want("a", 12, 0)
		time.Sleep(2 * connlimit.Grace)
		b.dial("b", 1, "/now")
		b.want("b", 0, 1) // once it is idle it makes room for one of a's that wait
		b.dial("b", 4, "/hold")
		if open, _ := b.count("b"); open < 4 {
			t.Errorf("b has %d connections", open)
		}
		time.Sleep(10 * connlimit.Grace)
		synctest.Wait()
		if serving, _ := b.limit.Open(); serving != 8 {
			t.Errorf("%d are served, want 8", serving)
		}
		if a, _ := b.count("a"); a < 4 {
			t.Errorf("a is left with %d connections", a)
		}
	})
}

// Of those that wait, the client that waits with most loses.
func TestTooManyWait(t *testing.T) {
	onBed(t, 3, func(b *bed) {
		b.dial("a", 3, "/hold")
		b.dial("a", 2, "/hold")
		b.dial("b", 1, "/now")
		for range 5 {
			b.dial("a", 1, "/hold")
		}
		b.want("b", 1, 0)
		time.Sleep(connlimit.Grace)
		b.want("b", 0, 1)
		if serving, waiting := b.limit.Open(); serving != 3 || waiting > 3 {
			t.Errorf("%d are served and %d wait, want 3 and at most 3", serving, waiting)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.closed[connlimit.Queue] == 0 {
			t.Errorf("closed %v", b.closed)
		}
	})
}

// A fault of the kernel that passes is told, and the listener goes on.
func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{make(chan net.Conn), make(chan struct{})}
		fault := errors.New("too many open files")
		limit, err := connlimit.New(&faulty{kernel: k, fault: fault}, connlimit.Config{Max: 1, Client: clientOf})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := limit.Accept(); !errors.Is(err, fault) {
			t.Errorf("error %v, want %v", err, fault)
		}
		near, end := net.Pipe()
		go func() { k.conns <- far{end, "a"} }()
		c, err := limit.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if err := limit.Close(); err != nil {
			t.Error(err)
		}
		if _, err := limit.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("error %v after the end", err)
		}
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the connection is open: %v", err)
		}
	})
	if _, err := connlimit.New(nil, connlimit.Config{Client: clientOf}); err == nil {
		t.Error("no limit is taken")
	}
}

// faulty fails once.
type faulty struct {
	*kernel
	fault error
}

func (f *faulty) Accept() (net.Conn, error) {
	if err := f.fault; err != nil {
		f.fault = nil
		return nil, err
	}
	return f.kernel.Accept()
}
