package cache_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cache/redistest"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/quality"
)

func TestRedisOverTLS(t *testing.T) {
	certificate, key := selfSigned(t)
	port := proctest.FreePort(t)
	server := redistest.Start(t, "--tls-port", fmt.Sprint(port), "--tls-auth-clients", "no",
		"--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate)
	encrypted := fmt.Sprintf("127.0.0.1:%d", port)

	t.Run("unverified on request", func(t *testing.T) {
		wantAlive(t, newRedis(t, "rediss://"+encrypted+"?skip_verify=true", nil))
	})
	t.Run("verified by its authority", func(t *testing.T) {
		authorities := x509.NewCertPool()
		text, err := os.ReadFile(certificate)
		if err != nil || !authorities.AppendCertsFromPEM(text) {
			t.Fatalf("%s: %v", certificate, err)
		}
		wantAlive(t, newRedis(t, "rediss://"+encrypted, func(c *cache.RedisConfig) { c.Authorities = authorities }))
		config := cache.DefaultRedisConfig()
		config.URL, config.Authorities = "redis://"+server.Addr(), authorities
		if err := config.Validate(); err == nil {
			t.Error("authorities for a server without TLS are accepted")
		}
	})
	t.Run("an unknown authority is refused", func(t *testing.T) {
		wantReason(t, newRedis(t, "rediss://"+encrypted, nil).Check(t.Context(), quality.Encoder{}), cache.ReasonProtocol)
	})
	t.Run("a server without TLS is not spoken to", func(t *testing.T) {
		got := cache.ReasonOf(newRedis(t, "rediss://"+server.Addr(), quick).Check(t.Context(), quality.Encoder{}))
		// Redis may answer the handshake, hang up on it, or wait for its end.
		if got != cache.ReasonProtocol && got != cache.ReasonClosed && got != cache.ReasonTimeout {
			t.Errorf("reason = %q, want protocol, closed or timeout", got)
		}
	})
}

// TestRedisDialsOnce counts dials where each one can be seen: a handshake that
// is hung up on.
func TestRedisDialsOnce(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dials := make(chan int)
	go func() {
		n := 0
		for {
			conn, err := listener.Accept()
			if err != nil {
				dials <- n
				return
			}
			n++
			conn.Close()
		}
	}()
	r := newRedis(t, "rediss://"+listener.Addr().String(), nil)
	wantReason(t, r.Check(t.Context(), quality.Encoder{}), cache.ReasonClosed)
	listener.Close()
	if got := <-dials; got != 1 {
		t.Errorf("one operation dialled %d times, want 1", got)
	}
}

// selfSigned writes a certificate for 127.0.0.1 and its key, as PEM files.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", signed), write("key.pem", "PRIVATE KEY", encoded)
}
