package embedded_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/agiqa/agiqa/embedded"
	"github.com/agiqa/agiqa/internal/proctest"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// realConfig is a Config for the real wheel in the repository's .venv, with a
// repository of one small Python model.
func realConfig(t *testing.T) embedded.Config {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the real tritonserver, left out under -short")
	}
	venv, err := filepath.Abs("../.venv")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(venv, "bin", "python")); err != nil {
		t.Fatal("no .venv at the root of the repository: run make venv, or go test -short to leave the real tritonserver out")
	}
	repository := t.TempDir()
	write(t, filepath.Join(repository, "double", "configs", "embedded.pbtxt"), `
backend: "python"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
`)
	write(t, filepath.Join(repository, "double", "1", "model.py"), `
import numpy as np
import onnxruntime  # the encoders' runtime must load beside the stub
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [pb.InferenceResponse([pb.Tensor(
            "y", pb.get_input_tensor_by_name(r, "x").as_numpy() * np.float32(2))]) for r in requests]
`)
	state := proctest.ShortDir(t)
	cfg := embedded.DefaultConfig()
	cfg.Venv = venv
	cfg.ModelRepositories = []string{repository}
	cfg.RunDir = filepath.Join(state, "run")
	cfg.LogFile = filepath.Join(state, "triton.log")
	cfg.Env = os.Environ()
	cfg.Restart = embedded.RestartPolicy{Initial: time.Millisecond, Max: time.Millisecond, Limit: 3, Window: time.Hour}
	return cfg
}

// double asks the model for [2 4 6 8], with metadata of names and values.
func double(t *testing.T, addr string, header ...string) {
	t.Helper()
	client, hangUp := dial(t, addr)
	defer hangUp()
	in := []float32{1, 2, 3, 4}
	raw, err := binary.Append(nil, binary.LittleEndian, in)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.ModelInfer(metadata.AppendToOutgoingContext(t.Context(), header...), &pb.ModelInferRequest{
		ModelName:        "double",
		Inputs:           []*pb.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "FP32", Shape: []int64{1, 4}}},
		RawInputContents: [][]byte{raw},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, len(in))
	if out := answer.GetRawOutputContents(); len(out) != 1 || len(out[0]) != len(raw) {
		t.Fatalf("answer %v", answer)
	} else if _, err := binary.Decode(out[0], binary.LittleEndian, got); err != nil {
		t.Fatal(err)
	}
	if want := []float32{2, 4, 6, 8}; !slices.Equal(got, want) {
		t.Errorf("double gives %v, want %v", got, want)
	}
}

func TestRealTriton(t *testing.T) {
	cfg := realConfig(t)
	for _, f := range embedded.Preflight(t.Context(), cfg) {
		if !f.OK {
			t.Fatal(f)
		}
		t.Log(f)
	}
	began := time.Now()
	s := startServer(t, cfg)
	t.Logf("ready after %v", time.Since(began).Round(time.Millisecond))
	if got, want := s.Version(), "2.51.0"; got != want {
		t.Errorf("version %q, want %q", got, want)
	}
	double(t, s.GRPCAddr())
	logMemory(t, s.PID())
	mustBePrivate(t, s)
	if regions := leftoversIn(t, "/dev/shm", os.Getpid()); len(regions) == 0 {
		t.Error("the names of the server's regions lack the run ID, so that nothing could remove them")
	}

	family := watchAll(t, s.PID())
	began = time.Now()
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("stopped after %v", time.Since(began).Round(time.Millisecond))
	family.mustEnd(t)
	noLeftovers(t, cfg, os.Getpid())
}

// The environment's own path matters too: its interpreter, its libraries and
// its stubs are in it.
func TestRealTritonInAwkwardFolders(t *testing.T) {
	cfg := realConfig(t)
	// Python's venv refuses a folder with a colon, or whose name isn't UTF-8.
	venv := filepath.Join(t.TempDir(), strings.NewReplacer(":", "", "\xe9", "").Replace(awkward))
	python := filepath.Join(cfg.Venv, "bin", "python")
	made, err := exec.Command(python, "-m", "venv", "--without-pip", venv).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, made)
	}
	packages, err := filepath.Glob(filepath.Join(cfg.Venv, "lib", "python3.*", "site-packages"))
	if err != nil || len(packages) != 1 {
		t.Fatal(packages, err)
	}
	inVenv, err := filepath.Rel(cfg.Venv, packages[0])
	if err != nil {
		t.Fatal(err)
	}
	copied, err := exec.Command("cp", "-a", "--", packages[0]+"/.", filepath.Join(venv, inVenv)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, copied)
	}
	models := filepath.Join(t.TempDir(), awkward)
	if err := os.CopyFS(models, os.DirFS(cfg.ModelRepositories[0])); err != nil {
		t.Fatal(err)
	}
	cfg.Venv, cfg.ModelRepositories = venv, []string{models}
	defer inAwkwardFolders(t, &cfg)()
	s := startServer(t, cfg)
	double(t, s.GRPCAddr())
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// logMemory prints the resident memory of the server and its stubs.
func logMemory(t *testing.T, server int) {
	t.Helper()
	pids := []int{server}
	for _, c := range embedded.ChildrenOf(server) {
		pids = append(pids, c.PID())
	}
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		name, rss := "", ""
		for line := range strings.Lines(string(status)) {
			if v, ok := strings.CutPrefix(line, "Name:"); ok {
				name = strings.TrimSpace(v)
			}
			if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				rss = strings.TrimSpace(v)
			}
		}
		t.Logf("%s: resident %s", name, rss)
	}
}

func TestRealTritonComesBack(t *testing.T) {
	for name, disrupt := range map[string]func(t *testing.T, s started){
		"server killed": func(t *testing.T, s started) { kill(t, s.PID()) },
		"stub killed": func(t *testing.T, s started) {
			stubs := embedded.ChildrenOf(s.PID())
			if len(stubs) != 1 {
				t.Fatalf("%d stubs, want 1", len(stubs))
			}
			kill(t, stubs[0].PID())
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, realConfig(t))
			double(t, s.GRPCAddr())
			family, before := watchAll(t, s.PID()), s.GRPCAddr()
			disrupted := time.Now()
			disrupt(t, s)
			s.await(t, embedded.Restarting, embedded.Ready)
			t.Logf("ready again after %v", time.Since(disrupted).Round(time.Millisecond))
			family.mustEnd(t)
			double(t, before)
		})
	}
}

// A kill -9 of agiqa kills the server, and its stubs notice: all of them end
// without another start.
func TestKillingAgiqaEndsARealTriton(t *testing.T) {
	cfg := realConfig(t)
	agiqa := startAgiqa(t, cfg)
	family := watchAll(t, agiqa.server(t))
	if len(family) != 2 {
		t.Fatalf("%d processes, want server and stub", len(family))
	}
	agiqa.kill()
	family.mustEnd(t)
	if left := leftoversIn(t, "/dev/shm", agiqa.Process.Pid); len(left) > 0 {
		t.Logf("left in /dev/shm until the next start: %v", left)
	}
}

// TestKillsOfAgiqaWithARealTriton kills agiqa -9 at random moments, from before
// the server process exists until it serves, and starts another each time. It
// kills 3 times, or as often as AGIQA_TEST_CRASH_ROUNDS says (make test-crash).
func TestKillsOfAgiqaWithARealTriton(t *testing.T) {
	rounds := 3
	if n, err := strconv.Atoi(os.Getenv("AGIQA_TEST_CRASH_ROUNDS")); err == nil && n > 0 {
		rounds = n
	}
	cfg := realConfig(t)
	began := time.Now()
	agiqa := startAgiqa(t, cfg)
	agiqa.server(t)
	full := time.Since(began)
	for round := range rounds {
		if round > 0 {
			agiqa = startAgiqa(t, cfg)
			// One in each part of the start and of the time after it.
			at := (float64(round-1) + rand.Float64()) / float64(rounds-1) * 1.3
			<-time.After(time.Duration(at * float64(full)))
		}
		family := watchAll(t, processesNaming(t, agiqa.Process.Pid)...)
		agiqa.kill()
		t.Logf("round %d: killed with %d processes of its server and %d regions in /dev/shm",
			round, len(family), len(leftoversIn(t, "/dev/shm", agiqa.Process.Pid)))
		s, err := embedded.Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		family.mustEnd(t)
		if left := processesNaming(t, agiqa.Process.Pid); len(left) > 0 {
			t.Errorf("round %d: processes %v are left", round, left)
		}
		noLeftovers(t, cfg, agiqa.Process.Pid)
		double(t, s.GRPCAddr())
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// processesNaming returns the processes whose command line names a run that
// process owner owns: the server, its stubs, and the shells that start those.
func processesNaming(t *testing.T, owner int) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, file := range files {
		line, _ := os.ReadFile(file) // gone, if it fails
		if bytes.Contains(line, fmt.Appendf(nil, "agiqa_%d_", owner)) {
			pid, err := strconv.Atoi(strings.Split(file, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestRealTritonSaysWhyItDoesNotStart(t *testing.T) {
	cfg := realConfig(t)
	write(t, filepath.Join(cfg.ModelRepositories[0], "double", "1", "model.py"), "import no_such_package\n")
	s, err := embedded.Start(t.Context(), cfg)
	if err == nil {
		_ = s.Stop(context.Background())
		t.Fatal("it started")
	}
	if !strings.Contains(err.Error(), "No module named 'no_such_package'") {
		t.Errorf("error lacks the reason:\n%v", err)
	}
	noLeftovers(t, cfg, os.Getpid())
}

func TestRealTritonTracesRequestsThatCarryATrace(t *testing.T) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	spans := make(chan []byte, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil && r.URL.Path == "/v1/traces" {
			spans <- body
		}
	}))
	defer collector.Close()
	cfg := realConfig(t)
	cfg.OTLPTracesURL = collector.URL + "/v1/traces"
	cfg.TraceResource = map[string]string{"deployment.environment.name": "test"}
	s := startServer(t, cfg)
	double(t, s.GRPCAddr())
	double(t, s.GRPCAddr(), "traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	select {
	case body := <-spans:
		for _, want := range []string{trace, "InferRequest", `"double"`, `"triton"`, "deployment.environment.name"} {
			if !bytes.Contains(body, []byte(want)) {
				t.Errorf("spans lack %s:\n%.2000s", want, body)
			}
		}
		if n := bytes.Count(body, []byte("InferRequest")); n != 1 {
			t.Errorf("%d requests traced, want the one that carried a trace", n)
		}
	case <-time.After(patience):
		t.Fatal("no spans")
	}
}
