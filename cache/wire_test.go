package cache_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cache/cachetest"
)

// wire is a server that speaks just enough of Redis's protocol to break it:
// it hands GETRANGE to answer and refuses the rest, HELLO included, as old
// servers do.
type wire struct {
	url    string
	conns  atomic.Int32
	answer func(conn net.Conn, nth int32, key string) // closes conn, or leaves it open
	other  string                                     // to other commands; empty: an error

	mu       sync.Mutex
	commands []string // the first word of each, as they came
}

// newWire starts a wire. nth counts connections from 1. release is closed when
// the test ends, for answers that wait.
func newWire(t *testing.T, answer func(conn net.Conn, nth int32, key string, release <-chan struct{})) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	w := &wire{url: "redis://" + listener.Addr().String()}
	w.answer = func(conn net.Conn, nth int32, key string) { answer(conn, nth, key, release) }
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			nth := w.conns.Add(1)
			group.Go(func() { w.serve(conn, nth) })
		}
	})
	t.Cleanup(func() {
		close(release)
		listener.Close()
		group.Wait()
	})
	return w
}

func (w *wire) serve(conn net.Conn, nth int32) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		command, err := readCommand(in)
		if err != nil {
			return
		}
		w.mu.Lock()
		w.commands = append(w.commands, strings.ToUpper(command[0]))
		w.mu.Unlock()
		if strings.EqualFold(command[0], "GETRANGE") {
			w.answer(conn, nth, command[1])
			continue
		}
		reply := "-ERR unknown command\r\n"
		if w.other != "" {
			reply = w.other
		}
		_, _ = io.WriteString(conn, reply)
	}
}

func readCommand(in *bufio.Reader) ([]string, error) {
	number := func() (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number()
	if err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		size, err := number()
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return nil, err
		}
		words[i] = string(word[:size])
	}
	return words, nil
}

// silence is the budget of operations on a server that says nothing: what that costs,
// and ample for the next connection.
const silence = 2 * time.Second

// bulk is a reply that carries s.
func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

// TestRedisBrokenReplies covers replies that go wrong on the first connection
// and are right on the next. No byte of the first may reach a later reply.
func TestRedisBrokenReplies(t *testing.T) {
	for _, test := range []struct {
		name   string
		first  func(conn net.Conn, release <-chan struct{})
		reason cache.Reason
	}{
		{"half a reply, then the end", func(conn net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(conn, "$100\r\nhalf")
			conn.Close()
		}, cache.ReasonClosed},
		{"half a reply, then silence", func(conn net.Conn, release <-chan struct{}) {
			_, _ = io.WriteString(conn, "$100\r\nhalf")
			<-release
		}, cache.ReasonTimeout},
		{"half a length, then the end", func(conn net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(conn, "$1")
			conn.Close()
		}, cache.ReasonClosed},
		{"a reply that comes too late", func(conn net.Conn, _ <-chan struct{}) {
			// The client hangs up when its time is over: then comes the reply.
			_, _ = conn.Read(make([]byte, 1))
			_, _ = io.WriteString(conn, bulk("late"))
		}, cache.ReasonTimeout},
		{"another protocol", func(conn net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}, cache.ReasonProtocol},
		{"a number where bytes belong", func(conn net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(conn, "*1\r\n:1\r\n")
		}, cache.ReasonProtocol},
		{"a length that overflows", func(conn net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(conn, "$9223372036854775807\r\n")
		}, cache.ReasonProtocol},
		{"a length that no machine has", func(conn net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(conn, "$140737488355328\r\n")
		}, cache.ReasonProtocol},
		{"one byte more than was asked for", func(conn net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(conn, bulk(strings.Repeat("x", cachetest.MaxValueBytes+2)))
		}, cache.ReasonProtocol},
		{"a huge array", func(conn net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(conn, "*1000000000\r\n")
		}, cache.ReasonProtocol},
		{"arrays without end", func(conn net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(conn, strings.Repeat("*1\r\n", 100_000))
		}, cache.ReasonProtocol},
		{"a line without end", func(conn net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(conn, "-"+strings.Repeat("x", 1<<20))
		}, cache.ReasonProtocol},
		{"a length that is none", func(conn net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(conn, "$-7\r\n")
		}, cache.ReasonProtocol},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, func(conn net.Conn, nth int32, key string, release <-chan struct{}) {
				if nth == 1 {
					test.first(conn, release)
					return
				}
				_, _ = io.WriteString(conn, bulk("value of "+key))
			})
			r := newRedis(t, w.url, func(c *cache.RedisConfig) {
				if test.reason == cache.ReasonTimeout {
					c.OperationTimeout = silence
				}
			})
			_, err := r.Get(t.Context(), "first")
			wantReason(t, err, test.reason)
			for i := range 3 {
				key := fmt.Sprint("later-", i)
				if got, err := r.Get(t.Context(), key); err != nil || string(got) != "value of "+key {
					t.Errorf("Get(%s) = %q, %v; want its own value", key, got, err)
				}
			}
			if got := w.conns.Load(); got < 2 {
				t.Errorf("%d connections, want a new one after the broken reply", got)
			}
		})
	}
}

// TestRedisReplyOutOfBoundsToAWrite covers the replies that a goroutine of its
// own reads, where a panic would end the process.
func TestRedisReplyOutOfBoundsToAWrite(t *testing.T) {
	w := newWire(t, nil)
	w.other = "$9223372036854775807\r\n"
	wantReason(t, newRedis(t, w.url, nil).Set(t.Context(), "k", []byte("v"), time.Hour), cache.ReasonProtocol)
}

// TestRedisSendsNoMoreThanItMust covers the commands of a new connection: each
// is a round trip out of a small budget.
func TestRedisSendsNoMoreThanItMust(t *testing.T) {
	w := newWire(t, func(conn net.Conn, _ int32, key string, _ <-chan struct{}) {
		_, _ = io.WriteString(conn, bulk("value of "+key))
	})
	r := newRedis(t, w.url, nil)
	for range 2 {
		if _, err := r.Get(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff([]string{"HELLO", "GETRANGE", "GETRANGE"}, w.commands); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}
