package gateway_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/testimages"
)

// fuzzTimes are the deadlines of a fuzzed server, short so that a test can wait
// for them.
const (
	fuzzHeader  = 300 * time.Millisecond
	fuzzRequest = 500 * time.Millisecond
	// fuzzLongest is how old a connection may become: a header, a body that comes
	// a second later than the request's time, the answer, and what a loaded
	// machine adds.
	fuzzLongest = 20 * time.Second
)

// fuzzed is a server on TCP whose deadlines are those of the program, but short.
func fuzzed(t *testing.T) (*rig, *httptest.Server) {
	t.Helper()
	r := newRig(t, func(p *plan) {
		p.gateway.RequestTimeout, p.gateway.MinBodyRate, p.gateway.AdminKey = fuzzRequest, 1<<10, adminKey
		p.changes, p.undocumented = &ledger{}, true
	})
	s := httptest.NewUnstartedServer(r.gateway.Handler())
	s.Config.ReadHeaderTimeout, s.Config.IdleTimeout, s.Config.MaxHeaderBytes = fuzzHeader, fuzzHeader, 64<<10
	s.Config.WriteTimeout = fuzzRequest + 2*time.Second
	r.gateway.Watch(s.Config)
	s.Start()
	t.Cleanup(s.Close)
	return r, s
}

// fuzzConnection sends a message, keeps the connection open until the server
// closes it, and judges every answer. It returns how many there were.
func fuzzConnection(address string, message []byte) (answers int, fault error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	start := time.Now()
	_ = conn.SetDeadline(start.Add(fuzzLongest))
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = conn.Write(message) })
	defer sending.Wait()
	head := bytes.HasPrefix(message, []byte("HEAD "))
	for r := bufio.NewReader(conn); ; {
		var request *http.Request
		if head {
			request = &http.Request{Method: http.MethodHead}
		}
		resp, err := http.ReadResponse(r, request)
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			return answers, fmt.Errorf("the connection is still open after %v", time.Since(start))
		}
		if err != nil {
			return answers, nil
		}
		body, err := io.ReadAll(resp.Body)
		if errors.As(err, &late) && late.Timeout() {
			return answers, errors.New("an answer doesn't end")
		}
		answers++
		if err := judge(resp, body); err != nil {
			return answers, err
		}
		if head {
			return answers, nil // what comes next can't be told apart
		}
	}
}

// judge says what is wrong with an answer to a stranger.
func judge(resp *http.Response, body []byte) error {
	switch code := resp.StatusCode; {
	case code == http.StatusInternalServerError, code == http.StatusBadGateway:
		return fmt.Errorf("status %d: %.300s", code, body)
	case len(body) == 0:
		return nil
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("status %d, Content-Type %q: %w", resp.StatusCode, resp.Header.Get("Content-Type"), err)
	}
	traced := resp.Header.Get("X-Trace-Id") != "" // otherwise net/http answered by itself
	if resp.StatusCode >= 400 && traced && kind != "application/problem+json" && kind != "application/json" {
		return fmt.Errorf("status %d of type %s: %.300s", resp.StatusCode, kind, body)
	}
	return nil
}

// pick returns one of some texts, more often an early one.
func pick(random *rand.Rand, from ...string) string {
	return from[random.IntN(random.IntN(len(from))+1)]
}

// strange is a random message that resembles a request.
func strange(random *rand.Rand) []byte {
	if random.IntN(20) == 0 { // nothing like it
		junk := make([]byte, random.IntN(300))
		for i := range junk {
			junk[i] = byte(random.Uint32())
		}
		return junk
	}
	var b bytes.Buffer
	for range 1 + random.IntN(2) { // perhaps two in one packet
		path := pick(random, "/v1/score", "/v1/compare", "/v1/preprocess", "/v1/checkpoints", "/healthz", "/readyz",
			"/metrics", "/openapi.json", "/docs", "/", "/v1/feedback", "/v1/experiments", "/v1/checkpoints/demo",
			"/v1/checkpoints/demo/activate", "/v1/checkpoints/-/rollback", "/v1/keys", "/%2e%2e/", "*", "//", "/v1/score/",
			"/v1/checkpoints/%2F/diff/%00", "http://b/v1/score", "/\xff", strings.Repeat("/a", 5000))
		query := pick(random, "", "", "?checkpoint=demo", "?include=embedding", "?x=1", "?checkpoint", "?%zz", "?a=b;c=d",
			"?aspects=quality", "?"+strings.Repeat("a", 3000))
		fmt.Fprintf(&b, "%s %s%s %s\r\n", pick(random, "POST", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH",
			"TRACE", "CONNECT", "PROPFIND", "post", "\x00"), path, query,
			pick(random, "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP"))
		body := pick(random, "", string(testimages.PNG(8, 8)), `{"images":[{"data":"aGVsbG8="}]}`, `{"images":[`, "hello",
			"--b\r\nContent-Disposition: form-data; name=image\r\n\r\nx\r\n--b--\r\n", "{}", "null",
			strings.Repeat("[", 1000), "\xff\xfe", strings.Repeat("x", 300_000), `{"images":[{"data":"`+
				strings.Repeat("A", 40_000)+`"}]}`)
		header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
		header("Host", pick(random, "a", "127.0.0.1", "", "a b", "[::1]"))
		switch random.IntN(8) {
		case 0:
			header("Content-Length", fmt.Sprint(len(body)+1+random.IntN(1000)))
		case 1:
			header("Content-Length", pick(random, "-1", "1e3", "99999999999", "0", "+1"))
		case 2:
			header("Transfer-Encoding", pick(random, "chunked", "gzip", "identity", "chunked, chunked"))
			body = pick(random, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body), "zz\r\n", "5\r\nab", "0\r\n",
				"1;a=b\r\nx\r\n")
		case 3: // none
		default:
			header("Content-Length", fmt.Sprint(len(body)))
		}
		for range random.IntN(5) {
			header(pick(random, "Content-Type", "Authorization", "Connection", "Expect", "X-Request-ID", "traceparent",
				"Origin", "Accept", "X-Agiqa-Unit", "Content-Encoding", "X-Forwarded-For", "Cookie", "Range", "Upgrade", "X\x00Y"),
				pick(random, "application/json", "image/png", "multipart/form-data; boundary=b", "Bearer "+adminKey, "close",
					"keep-alive", "100-continue", "text/plain", "multipart/form-data", "gzip", "https://evil.example", "websocket",
					"\xff", strings.Repeat("a", 3000), "bytes=0-1"))
		}
		b.WriteString("\r\n" + body)
	}
	if message := b.Bytes(); random.IntN(10) == 0 {
		return message[:random.IntN(len(message))]
	}
	return b.Bytes()
}

// TestStrangeRequests: whatever strangers send over TCP, no answer is a fault of
// the server's own, no connection outlives its deadlines, and no memory stays
// taken. newRig sees to it that nothing internal happened.
func TestStrangeRequests(t *testing.T) {
	r, s := fuzzed(t)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	const messages, atOnce = 600, 48
	work, answers := make(chan []byte), make([]int, atOnce)
	var workers sync.WaitGroup
	for i := range atOnce {
		workers.Go(func() {
			for message := range work {
				n, err := fuzzConnection(s.Listener.Addr().String(), message)
				if err != nil {
					t.Errorf("seed %d: %v\n%.500q", seed, err, message)
				}
				answers[i] += n
			}
		})
	}
	for range messages {
		work <- strange(random)
	}
	close(work)
	workers.Wait()
	total := 0
	for _, n := range answers {
		total += n
	}
	if total < messages/2 {
		t.Errorf("%d answers to %d messages: they aren't like requests", total, messages)
	}
	r.wantGauge("agiqa.bodies.memory", 0)
	r.wantGauge("agiqa.requests.active", 0)
}

// FuzzRouter is the same for the fuzzing engine, one message at a time.
func FuzzRouter(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f.Add(strange(random))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		r, s := fuzzed(t)
		if _, err := fuzzConnection(s.Listener.Addr().String(), message); err != nil {
			t.Error(err)
		}
		r.wantGauge("agiqa.bodies.memory", 0)
	})
}
