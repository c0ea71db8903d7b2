package replicas

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/connectivity"
)

const (
	// diagnoseEvery is how often a replica that can't be reached is looked at
	// again: its cause may change, as when a name begins to resolve.
	diagnoseEvery = 5 * time.Second
	// diagnoseTimeout bounds each step of a look.
	diagnoseTimeout = 2 * time.Second
)

// outage is why a replica can't be reached, in words, while it can't. gRPC
// itself reports neither a name that doesn't resolve nor a server that speaks
// another protocol in words that lead to the setting.
type outage struct {
	mu    sync.Mutex
	cause string // for people; without addresses. Empty: reachable, or not known
}

func (o *outage) why() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cause
}

// set returns the cause before.
func (o *outage) set(cause string) (before string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before, o.cause = o.cause, cause
	return before
}

// watch follows a replica's first connection until ctx ends.
func (r *Replica) watch(ctx context.Context, logger *slog.Logger) {
	conn := r.links[0].conn
	for state := conn.GetState(); ctx.Err() == nil && state != connectivity.Shutdown; state = conn.GetState() {
		r.look(ctx, logger, state)
		pause, cancel := ctx, context.CancelFunc(func() {})
		if state == connectivity.TransientFailure { // it stays that until there is a connection
			pause, cancel = context.WithTimeout(ctx, diagnoseEvery)
		}
		conn.WaitForStateChange(pause, state)
		cancel()
	}
}

// look logs each cause of an outage once, and the end of the outage.
func (r *Replica) look(ctx context.Context, logger *slog.Logger, state connectivity.State) {
	switch state {
	case connectivity.Ready:
		if r.outage.set("") != "" {
			logger.Info("triton is reachable again", "address", r.addr)
		}
	case connectivity.TransientFailure:
		if r.pool != nil {
			r.pool.lookAgain(r)
		}
		cause, err := diagnose(ctx, r.addr, r.tls)
		if cause != "" && ctx.Err() == nil && r.outage.set(cause) != cause {
			logger.Warn("triton can't be reached", "address", r.addr, "cause", cause, "error", err)
		}
	}
}

// diagnose says why no gRPC connection to addr comes about: in words without
// addresses, and as the error found. It returns "" where it finds nothing.
func diagnose(ctx context.Context, addr string, secure *tls.Config) (cause string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*diagnoseTimeout)
	defer cancel()
	network, host := "unix", "localhost" // the name that gRPC gives to a socket
	path, isSocket := socketPath(addr)
	if !isSocket {
		network, path = "tcp", addr
		if host, _, err = net.SplitHostPort(addr); err != nil {
			return "", err
		}
		if net.ParseIP(host) == nil {
			if _, err := lookupHost(ctx, host); err != nil {
				return "its host name doesn't resolve; check the setting triton", err
			}
		}
	}
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: diagnoseTimeout}).DialContext(ctx, network, path)
	}
	conn, err := dial(ctx)
	switch {
	case errors.Is(err, syscall.ENOENT):
		return "its socket doesn't exist; check the setting triton", err
	case errors.Is(err, syscall.EACCES):
		return "its socket is closed to this user", err
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens at its address (connection refused)", err
	case err != nil:
		return "its address accepts no connection", err
	}
	defer conn.Close()
	if secure != nil {
		return diagnoseTLS(ctx, conn, host, secure)
	}
	if cause, err = diagnoseHTTP(ctx, dial); cause != "" {
		return cause, err
	}
	return diagnosePlain(ctx, conn)
}

// diagnoseHTTP finds out whether a server speaks HTTP/1, as Triton's HTTP and
// metrics ports do; a gRPC port hangs up on such a request.
func diagnoseHTTP(ctx context.Context, dial func(context.Context) (net.Conn, error)) (cause string, err error) {
	client := http.Client{
		Timeout: diagnoseTimeout,
		Transport: &http.Transport{ // no proxy: the environment is read in cmd only
			DisableKeepAlives: true,
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://triton/v2/health/live", nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	_ = res.Body.Close()
	return "this looks like an HTTP port; give the gRPC port, 8001 by default",
		errors.New("it answers HTTP with " + res.Status)
}

// diagnosePlain finds out whether a server wants TLS, which the settings don't.
func diagnosePlain(ctx context.Context, conn net.Conn) (cause string, err error) {
	// Nothing is sent but this handshake, and no answer is believed.
	err = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}).HandshakeContext(ctx)
	if err == nil || isAlert(err) {
		return "it speaks TLS; name the authority of its certificate in the setting triton-ca",
			errors.New("it answers a TLS handshake")
	}
	return "", err
}

// diagnoseTLS shakes hands as gRPC does, and waits for the server's first word:
// with TLS 1.3 it judges the client's certificate only then.
func diagnoseTLS(ctx context.Context, conn net.Conn, host string, secure *tls.Config) (cause string, err error) {
	secure = secure.Clone()
	if secure.ServerName == "" {
		secure.ServerName = host
	}
	secure.NextProtos = []string{"h2"}
	client := tls.Client(conn, secure)
	if err = client.HandshakeContext(ctx); err == nil {
		_ = client.SetReadDeadline(time.Now().Add(diagnoseTimeout))
		_, err = client.Read(make([]byte, 1))
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || isAlert(err) {
			return "it refuses this client; check the settings triton-cert and triton-key", err
		}
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its certificate is signed by none of the authorities in the setting triton-ca", err
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "its certificate is for other names than the one in the setting triton", err
	}
	if _, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return "its certificate isn't valid", err
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "it doesn't speak TLS, which the setting triton-ca asks for", err
	}
	if isAlert(err) {
		return "it refuses this client; check the settings triton-cert and triton-key", err
	}
	return "", err
}

// isAlert reports whether the other side refused to go on with TLS.
func isAlert(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "remote error" // crypto/tls's name for it
}

// lookupHost returns the addresses of a name, of both families.
func lookupHost(ctx context.Context, host string) ([]string, error) {
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(ips))
	for i, ip := range ips {
		out[i] = ip.String()
	}
	return out, nil
}
