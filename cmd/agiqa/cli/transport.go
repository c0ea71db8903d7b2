package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/loopback"
	"github.com/agiqa/agiqa/internal/proof"
	"github.com/agiqa/agiqa/internal/tlsfiles"
)

// proofTimeout is how long a server may take to prove that it knows the key.
const proofTimeout = 10 * time.Second

// trust returns what an https server is checked by; nil: this machine's own
// authorities.
func trust(s config.Settings) (*tls.Config, error) {
	if s.URLCA == "" {
		return nil, nil
	}
	pool, err := tlsfiles.Authorities(s.URLCA)
	if err != nil {
		return nil, fmt.Errorf("setting url-ca: %w", err)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// wrapper is a round tripper around another one. Tests make it the process's default
// one, to check the answers.
type wrapper interface {
	Wrapped() http.RoundTripper
	Around(base http.RoundTripper) http.RoundTripper
}

// transport is the process's default one with room for many connections to one
// server, and what edit changes.
func transport(edit func(*http.Transport)) http.RoundTripper {
	around, inner := func(t http.RoundTripper) http.RoundTripper { return t }, http.DefaultTransport
	if w, ok := inner.(wrapper); ok {
		around, inner = w.Around, w.Wrapped()
	}
	t := &http.Transport{ForceAttemptHTTP2: true}
	if base, ok := inner.(*http.Transport); ok {
		t = base.Clone()
	}
	t.Proxy, t.MaxIdleConnsPerHost, t.IdleConnTimeout = nil, 64, time.Minute
	edit(t)
	return around(t)
}

// checkKeyTravel refuses to send a key so that others on the network can read it.
func checkKeyTravel(base string, insecure bool) error {
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	if u.Scheme == "https" || loopback.Is(u.Hostname()) || insecure {
		return nil
	}
	return fmt.Errorf("setting url: %s isn't https, so everybody on the way to it could read the key; "+
		"use https, or --insecure if the network is trusted", base)
}

// provenTransport opens connections over which the server has proved that it
// knows the key, before anything else is sent.
func provenTransport(base string, key config.Secret, trusted *tls.Config) (http.RoundTripper, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	derived, err := proof.Derive(string(key))
	if err != nil {
		return nil, err
	}
	p := prover{base: base, address: addressOf(u), key: derived}
	dialer := &net.Dialer{Timeout: proofTimeout}
	return transport(func(t *http.Transport) {
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			return p.prove(conn, err)
		}
		t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&tls.Dialer{NetDialer: dialer, Config: trusted}).DialContext(ctx, network, address)
			return p.prove(conn, err)
		}
	}), nil
}

// addressOf is the host and port that a URL leads to.
func addressOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

type prover struct {
	base, address string
	key           proof.Key
}

// prove returns a connection whose other end has proved that it knows the key. The
// connection itself carries the challenge: a second one might lead elsewhere.
func (p prover) prove(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	err = conn.SetDeadline(time.Now().Add(proofTimeout))
	if err == nil {
		err = p.exchange(conn)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the key was not sent: %w", err), conn.Close())
	}
	return conn, nil
}

// exchange sends a challenge and checks the answer.
func (p prover) exchange(conn net.Conn) error {
	challenge := proof.New(p.address)
	body, err := json.Marshal(challenge)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, p.base+proof.Path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if err := req.Write(conn); err != nil {
		return err
	}
	answers := bufio.NewReader(conn)
	res, err := http.ReadResponse(answers, req)
	if err != nil {
		return fmt.Errorf("%s didn't answer the challenge: %w", p.base, err)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	var answer proof.Answer
	problem := &gateway.Problem{}
	switch {
	case res.StatusCode == http.StatusOK && json.Unmarshal(raw, &answer) == nil && p.key.Accepts(challenge, answer):
	case res.StatusCode == http.StatusOK:
		return fmt.Errorf("the server at %s doesn't know the key: it has another one, or it is another server", p.base)
	case json.Unmarshal(raw, problem) == nil && problem.Code != "":
		return problem
	default:
		return fmt.Errorf("%s answered the challenge with %s", p.base, res.Status)
	}
	if res.Close || answers.Buffered() > 0 {
		return fmt.Errorf("the server at %s closes the connection; try again", p.base)
	}
	return nil
}
