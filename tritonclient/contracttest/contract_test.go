package contracttest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/benchmarks/stubtriton"
	"github.com/agiqa/agiqa/benchmarks/stubtriton/stubtritontest"
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
		client := ca.Issue(t, time.Hour, "gateway")
		contracttest.Run(t, contracttest.Target{Address: address, ControlKey: key, TLS: config(t, ca.File, client)})
		t.Run("another key", func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(file, []byte("another key than that\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			wantFailure(t, "the server has another key than the one that is given", addressVariable+"="+address,
				keyVariable+"="+file, caVariable+"="+ca.File, certVariable+"="+client.Cert, tlsKeyVariable+"="+client.Key)
		})
	})
}

// TestContractNamesTheFault serves the project's models with one configuration
// spoilt: the contract fails, and says where.
func TestContractNamesTheFault(t *testing.T) {
	if os.Getenv(addressVariable) != "" {
		t.Skip("asks other servers than the one that " + addressVariable + " names")
	}
	for _, tt := range []struct{ model, from, to, want string }{
		{"clip_image_encoder", "TYPE_UINT8", "TYPE_FP32", "input pixels is FP32 [-1 224 224 3], want UINT8"},
		{"clip_image_encoder", "[ 224, 224, 3 ]", "[ 3, 224, 224 ]", "input pixels is UINT8 [-1 3 224 224], want UINT8"},
		{"clip_image_encoder", "max_batch_size: 32", "max_batch_size: 0", "max_batch_size is 0, want at least 1"},
		{"clip_text_encoder", "dims: [ 128 ]", "dims: [ 64 ]", "output text_embedding is FP32 [-1 64], want FP32"},
		{"clip_text_encoder", `"encoder_digest"`, `"digest"`, "no parameter encoder_digest"},
		{"clip_text_encoder", "sha256:5", "sha256:6", "the two were not exported together"},
		{"clip_text_encoder", "allow_timeout_override: true", "",
			"clip_text_encoder: dynamic_batching.default_queue_policy needs default_timeout_microseconds and allow"},
	} {
		t.Run(tt.model+" "+tt.to, func(t *testing.T) {
			wantFailure(t, tt.want, addressVariable+"="+startSpoilt(t, tt.model, tt.from, tt.to))
		})
	}
}

// wantFailure runs the contract as make test-triton does.
func wantFailure(t *testing.T, want string, environment ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTriton$", "-test.v")
	cmd.Env = append(os.Environ(), environment...)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v, want a failure with %q:\n%s", err, want, out)
	}
}

// startSpoilt starts a stub of the project's models.
func startSpoilt(t *testing.T, model, from, to string) (address string) {
	t.Helper()
	cfg := stubtriton.DefaultConfig()
	cfg.Repository = t.TempDir()
	files, err := filepath.Glob(filepath.Join(root, "model_repository", "*", "configs", cfg.Variant+".pbtxt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(whole)
		name := filepath.Base(filepath.Dir(filepath.Dir(file)))
		if name == model {
			if text = strings.Replace(text, from, to, 1); text == string(whole) {
				t.Fatalf("%s has no %s", file, from)
			}
		}
		folder := filepath.Join(cfg.Repository, name, "configs")
		target := filepath.Join(folder, filepath.Base(file))
		if err := errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(target, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return stubtritontest.Start(t, cfg)
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
