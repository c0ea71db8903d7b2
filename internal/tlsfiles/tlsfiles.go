// Package tlsfiles serves TLS with a certificate and a key that are in files and
// may be replaced while the server runs.
package tlsfiles

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files is a certificate with its key. Its methods may be called at the same time.
type Files struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]

	mu     sync.Mutex
	tried  [2 * sha256.Size]byte // digests of the files' content when it was last read
	failed error                 // why that couldn't be used; nil: it is in use
}

// New reads a certificate, with the chain behind it, and its key, both in PEM.
func New(certFile, keyFile string) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile}
	_, err := f.Reload()
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Reload reads the files again. It reports whether they have changed since the last
// time; content that can't be used leaves the certificate in use, and is
// reported once.
func (f *Files) Reload() (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	cert, certErr := os.ReadFile(f.certFile)
	key, keyErr := os.ReadFile(f.keyFile)
	var tried [2 * sha256.Size]byte
	certDigest, keyDigest := sha256.Sum256(cert), sha256.Sum256(key)
	copy(tried[:], certDigest[:])
	copy(tried[sha256.Size:], keyDigest[:])
	if tried == f.tried && (f.failed != nil || f.current.Load() != nil) {
		return false, nil
	}
	f.tried = tried
	if f.failed = errors.Join(certErr, keyErr); f.failed == nil {
		f.failed = f.use(cert, key)
	}
	return true, f.failed
}

// use makes a certificate the one for new connections.
func (f *Files) use(cert, key []byte) error {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", f.certFile, f.keyFile, err)
	}
	if pair.Leaf.NotAfter.Before(time.Now()) {
		return fmt.Errorf("the certificate in %s expired on %s", f.certFile, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	f.current.Store(&pair)
	return nil
}

// Expires returns when the certificate in use expires.
func (f *Files) Expires() time.Time { return f.current.Load().Leaf.NotAfter }

// Config is for a listener. Connections keep the certificate that they began with.
//
// It offers HTTP/1.1 only. Everything that bounds a client counts connections and
// sets their deadlines, and one connection of HTTP/2 carries hundreds of requests;
// a request that uploads an image gains nothing from sharing one.
func (f *Files) Config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.current.Load(), nil },
	}
}

// Authorities reads the certificates of authorities from a file in PEM.
func Authorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return pool, nil
}
