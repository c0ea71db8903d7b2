package contracttest_test

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/embedded"
	"github.com/agiqa/agiqa/internal/certtest"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/internal/tlsfiles"
	"github.com/agiqa/agiqa/internal/tritonservertest"
	"github.com/agiqa/agiqa/tritonclient/contracttest"
)

// What make test-triton sets.
const (
	addressVariable = "AGIQA_TEST_TRITON"
	keyVariable     = "AGIQA_TEST_TRITON_CONTROL_KEY_FILE"
	caVariable      = "AGIQA_TEST_TRITON_CA"
	certVariable    = "AGIQA_TEST_TRITON_CERT"
	tlsKeyVariable  = "AGIQA_TEST_TRITON_KEY"
)

const root = "../.."

// TestTriton asks the Triton that the environment names, and otherwise those
// that can be started here.
func TestTriton(t *testing.T) {
	if address := os.Getenv(addressVariable); address != "" {
		target := contracttest.Target{Address: address}
		if file := os.Getenv(keyVariable); file != "" {
			key, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			target.ControlKey = strings.TrimSpace(string(key))
		}
		if ca := os.Getenv(caVariable); ca != "" {
			target.TLS = config(t, ca, certtest.Pair{Cert: os.Getenv(certVariable), Key: os.Getenv(tlsKeyVariable)})
		}
		contracttest.Run(t, target)
		return
	}
	if testing.Short() {
		t.Skip("needs the real tritonserver, left out under -short")
	}
	t.Run("embedded", func(t *testing.T) {
		contracttest.Run(t, contracttest.Target{Address: startEmbedded(t)})
	})
	t.Run("key and certificates", func(t *testing.T) {
		const key = "0123456789abcdef="
		ca := certtest.NewAuthority(t)
		server := ca.Issue(t, time.Hour, "localhost", "127.0.0.1")
		address := tritonservertest.Start(t, root,
			"--grpc-restricted-protocol=model-repository,shared-memory,trace,logging:control-key="+key,
			"--grpc-use-ssl-mutual=true", "--grpc-server-cert="+server.Cert, "--grpc-server-key="+server.Key,
			"--grpc-root-cert="+ca.File)
		contracttest.Run(t, contracttest.Target{
			Address: address, ControlKey: key, TLS: config(t, ca.File, ca.Issue(t, time.Hour, "gateway")),
		})
	})
}

func startEmbedded(t *testing.T) string {
	t.Helper()
	dir := proctest.ShortDir(t)
	cfg := embedded.DefaultConfig()
	cfg.Venv, cfg.ModelRepositories = filepath.Join(root, ".venv"), []string{filepath.Join(root, "model_repository")}
	cfg.RunDir, cfg.LogFile, cfg.Env = filepath.Join(dir, "run"), filepath.Join(dir, "log"), os.Environ()
	s, err := embedded.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s.GRPCAddr()
}

func config(t *testing.T, ca string, client certtest.Pair) *tls.Config {
	t.Helper()
	pool, err := tlsfiles.Authorities(ca)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{RootCAs: pool}
	if client.Cert != "" {
		pair, err := tls.LoadX509KeyPair(client.Cert, client.Key)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}
