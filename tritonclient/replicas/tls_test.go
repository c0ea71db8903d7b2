package replicas_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/agiqa/agiqa/internal/certtest"
	"github.com/agiqa/agiqa/internal/proctest"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// liveServer answers one call, and keeps what it was sent with.
type liveServer struct {
	pb.UnimplementedGRPCInferenceServiceServer
	sent chan metadata.MD
}

func (s liveServer) ServerLive(ctx context.Context, _ *pb.ServerLiveRequest) (*pb.ServerLiveResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.sent <- md
	return &pb.ServerLiveResponse{Live: true}, nil
}

// listen serves on an address and returns what calls bring along.
func listen(t *testing.T, network, address string, opts ...grpc.ServerOption) (net.Addr, <-chan metadata.MD) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := liveServer{sent: make(chan metadata.MD, 8)}
	g := grpc.NewServer(opts...)
	pb.RegisterGRPCInferenceServiceServer(g, s)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return l.Addr(), s.sent
}

// mutual are the credentials of a server that wants certificates of clients.
func mutual(t *testing.T, pair certtest.Pair, ca *certtest.Authority) grpc.ServerOption {
	t.Helper()
	return grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{certificate(t, pair)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
	}))
}

func certificate(t *testing.T, pair certtest.Pair) tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestOutagesOfTLSAreExplained: each fault leads to the setting that mends it.
func TestOutagesOfTLSAreExplained(t *testing.T) {
	ca, other := certtest.NewAuthority(t), certtest.NewAuthority(t)
	client := certificate(t, ca.Issue(t, time.Hour, "client"))
	stranger := certificate(t, other.Issue(t, time.Hour, "client"))
	good := ca.Issue(t, time.Hour, "localhost", "127.0.0.1")
	for _, tc := range []struct {
		name   string
		server []grpc.ServerOption
		client *tls.Config
		cause  string // "": none
	}{
		{"all is well", []grpc.ServerOption{mutual(t, good, ca)},
			&tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{client}}, ""},
		{"plain text to TLS", []grpc.ServerOption{mutual(t, good, ca)}, nil, "setting triton-ca"},
		{"TLS to plain text", nil, &tls.Config{RootCAs: ca.Pool()}, "doesn't speak TLS"},
		{"another authority", []grpc.ServerOption{mutual(t, good, ca)},
			&tls.Config{RootCAs: other.Pool(), Certificates: []tls.Certificate{client}}, "none of the authorities"},
		{"another name", []grpc.ServerOption{mutual(t, ca.Issue(t, time.Hour, "elsewhere"), ca)},
			&tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{client}}, "for other names"},
		{"expired", []grpc.ServerOption{mutual(t, ca.Issue(t, -time.Hour, "127.0.0.1"), ca)},
			&tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{client}}, "isn't valid"},
		{"no client certificate", []grpc.ServerOption{mutual(t, good, ca)},
			&tls.Config{RootCAs: ca.Pool()}, "triton-cert and triton-key"},
		{"a stranger's certificate", []grpc.ServerOption{mutual(t, good, ca)},
			&tls.Config{RootCAs: ca.Pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (
				*tls.Certificate, error) {
				return &stranger, nil
			}}, "triton-cert and triton-key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr, _ := listen(t, "tcp", "127.0.0.1:0", tc.server...)
			var log bytes.Buffer
			got := replicas.Watch(t.Context(), addr.String(), tc.client, slog.New(slog.NewTextHandler(&log, nil)),
				connectivity.TransientFailure)
			if tc.cause == "" && got != "" || !strings.Contains(got, tc.cause) {
				t.Errorf("the cause is %q, want %q; log:\n%s", got, tc.cause, &log)
			}
		})
	}
}

// TestCallsCarryKeyAndCertificate over a TCP port and over a socket.
func TestCallsCarryKeyAndCertificate(t *testing.T) {
	ca := certtest.NewAuthority(t)
	server := mutual(t, ca.Issue(t, time.Hour, "localhost", "127.0.0.1"), ca)
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(proctest.ShortDir(t), "grpc:1")} {
		addr, sent := listen(t, network, address, server)
		cfg := replicas.DefaultConfig()
		cfg.Addresses = []string{addr.String()}
		if network == "unix" {
			cfg.Addresses = []string{"unix://" + address}
		}
		cfg.TLS = &tls.Config{
			RootCAs: ca.Pool(), Certificates: []tls.Certificate{certificate(t, ca.Issue(t, time.Hour, "client"))},
		}
		cfg.ControlKey = "k=1"
		p, err := replicas.New(cfg, replicas.Calls{})
		if err != nil {
			t.Fatal(err)
		}
		err = p.Each(t.Context(), func(ctx context.Context, r *replicas.Replica) error {
			_, err := pb.NewGRPCInferenceServiceClient(r.Conn()).ServerLive(ctx, &pb.ServerLiveRequest{})
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", network, err)
		} else if got := (<-sent).Get("triton-grpc-protocol-control-key"); len(got) != 1 || got[0] != "k=1" {
			t.Errorf("%s: the call brings the key %q", network, got)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestNamesOfSeveralServersAreVerified: behind a name with several addresses,
// each server's certificate must be for the name.
func TestNamesOfSeveralServersAreVerified(t *testing.T) {
	ca := certtest.NewAuthority(t)
	for name, ok := range map[string]bool{"localhost": true, "elsewhere": false} {
		addr, _ := listen(t, "tcp", "127.0.0.1:0", mutual(t, ca.Issue(t, time.Hour, name), ca))
		_, port, _ := net.SplitHostPort(addr.String())
		cfg := replicas.DefaultConfig()
		cfg.Addresses = []string{"localhost:" + port}
		cfg.Lookup = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1", "127.0.0.1"}, nil }
		cfg.TLS = &tls.Config{
			RootCAs: ca.Pool(), Certificates: []tls.Certificate{certificate(t, ca.Issue(t, time.Hour, "client"))},
		}
		p, err := replicas.New(cfg, replicas.Calls{})
		if err != nil {
			t.Fatal(err)
		}
		err = p.Each(t.Context(), func(ctx context.Context, r *replicas.Replica) error {
			_, err := pb.NewGRPCInferenceServiceClient(r.Conn()).ServerLive(ctx, &pb.ServerLiveRequest{})
			return err
		})
		if (err == nil) != ok {
			t.Errorf("certificate for %s: %v", name, err)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
