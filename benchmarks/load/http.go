package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/agiqa/agiqa/internal/loopback"
)

// HTTPConfig describes an HTTP endpoint and how to ask it.
type HTTPConfig struct {
	Name     string // in reports; "": the URL
	URL      *url.URL
	Method   string
	Header   http.Header // sent with every request
	Workload Workload
	// Expect are the statuses of an answer that counts as completed; empty: 2xx.
	Expect []int
	// Timings reads timing_ms from answers that are JSON.
	Timings bool
	// ImageErrors makes an expected answer in which a result has an error a
	// failure. Such an answer of several images has status 200.
	ImageErrors bool
	// MaxAnswer is how much of an answer is read; more is a failure.
	MaxAnswer int64
	// Dial opens connections; nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// HTTP is a [Target] that speaks HTTP/1.1, one request at a time on each
// connection, and keeps connections open as long as the server does.
//
// net/http's Transport would hand each request over between goroutines twice
// and may send it again on a new connection by itself; here a request goes out
// once, from the goroutine that counts it. Answers are read by net/http.
type HTTP struct {
	cfg     HTTPConfig
	address string
	tls     *tls.Config
	line    string // method, path and fixed query
	fixed   string // headers that every request has
}

// NewHTTP checks a configuration.
func NewHTTP(cfg HTTPConfig) (*HTTP, error) {
	if cfg.Method == "" {
		cfg.Method = http.MethodPost
	}
	if cfg.MaxAnswer <= 0 {
		cfg.MaxAnswer = 16 << 20
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	u := cfg.URL
	if u == nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("url: %v is not an http or https URL", u)
	}
	if cfg.Name == "" {
		cfg.Name = u.Redacted()
	}
	if !httpguts.ValidHeaderFieldName(cfg.Method) { // both are tokens
		return nil, fmt.Errorf("method: %q is not a method", cfg.Method)
	}
	h := &HTTP{cfg: cfg, address: u.Host}
	port := "80"
	if u.Scheme == "https" {
		port, h.tls = "443", &tls.Config{ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}}
	}
	if u.Port() == "" {
		h.address = net.JoinHostPort(u.Hostname(), port)
	}
	h.line = cfg.Method + " " + u.RequestURI()
	var fixed strings.Builder
	fmt.Fprintf(&fixed, "Host: %s\r\nUser-Agent: agiqa-bench\r\n", u.Host)
	for name, values := range cfg.Header {
		for _, v := range values {
			if err := checkHeader(name, v); err != nil {
				return nil, err
			}
			fmt.Fprintf(&fixed, "%s: %s\r\n", textproto.CanonicalMIMEHeaderKey(name), v)
		}
	}
	if u.User != nil {
		req := &http.Request{Header: http.Header{}}
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
		fmt.Fprintf(&fixed, "Authorization: %s\r\n", req.Header.Get("Authorization"))
	}
	h.fixed = fixed.String()
	return h, nil
}

// ownHeaders are written by us.
var ownHeaders = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection"}

func checkHeader(name, value string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(name), !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("header %q: not a header", name)
	case slices.Contains(ownHeaders, textproto.CanonicalMIMEHeaderKey(name)):
		return fmt.Errorf("header %q: is set by the generator", name)
	}
	return nil
}

// Name implements [Target].
func (h *HTTP) Name() string { return h.cfg.Name }

// Open implements [Target]. The first Send opens the connection.
func (h *HTTP) Open(ctx context.Context) Lane {
	l := &httpLane{target: h, ctx: ctx, asked: &http.Request{Method: h.cfg.Method}}
	l.unhook = context.AfterFunc(ctx, l.abort)
	return l
}

func (h *HTTP) expects(status int) bool {
	if len(h.cfg.Expect) == 0 {
		return status >= 200 && status < 300
	}
	return slices.Contains(h.cfg.Expect, status)
}

// CheckLoopback refuses a host that is not this machine. A name other than
// localhost is not looked up: what it means may change.
func CheckLoopback(host string) error {
	if loopback.Is(host) {
		return nil
	}
	return fmt.Errorf("%s: %w", host, errNotLoopback)
}

var errNotLoopback = errors.New("is not a loopback address; load is sent to other machines only with --allow-remote")
