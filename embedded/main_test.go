package embedded_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/agiqa/agiqa/embedded"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// The test binary also acts as a tritonserver, in place of the wheel's, as the
// server's stubs, and as an agiqa that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "__server":
			os.Exit(fakeServer(os.Args[2:]))
		case "__stub":
			fakeStub()
		case "__agiqa":
			os.Exit(fakeAgiqa(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

// A fakeServer listens where it is told, answers as Triton does, starts two
// stubs, one of them in a session of its own, and makes a region in /dev/shm.
// Unlike Triton it removes nothing of that in the end. The file "control" in
// its model repository holds words that make it misbehave.
func fakeServer(args []string) int {
	options := map[string]string{}
	for _, a := range args {
		key, value, _ := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		if prefix, ok := strings.CutPrefix(value, "python,shm-region-prefix-name="); ok {
			key, value = "prefix", prefix
		}
		options[key] = value
	}
	repository := options["model-repository"]
	starts := appendLine(filepath.Join(repository, "starts"), strconv.Itoa(os.Getpid()))
	control := readControl(repository)
	fmt.Println("fake server speaks")
	if control["fail"] || control["fail-later"] && starts > 1 {
		fmt.Println("E fake.cc:1] the model exploded")
		return 3
	}
	if control["crash"] || control["crash-once"] && starts == 1 {
		fmt.Println("terminate called after throwing an instance of 'boost::interprocess::lock_exception'")
		// Go would make an exit status of the signal.
		_ = syscall.Exec("/bin/sh", []string{"sh", "-c", "ulimit -c 0; kill -ABRT $$"}, nil)
	}
	stop := make(chan os.Signal, 1)
	if control["deaf"] {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(stop, syscall.SIGTERM)
	}
	for _, setsid := range []bool{false, true} {
		stub := exec.Command("/proc/self/exe")
		stub.Args = []string{"triton_python_backend_stub", "__stub", options["prefix"]}
		stub.SysProcAttr = &syscall.SysProcAttr{Setsid: setsid}
		if err := stub.Start(); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	if err := os.WriteFile("/dev/shm/"+options["prefix"]+"_region", []byte("x"), 0o644); err != nil {
		fmt.Println(err)
		return 1
	}
	l, err := net.Listen("unix", strings.TrimPrefix(options["grpc-address"], "unix:")+":"+options["grpc-port"])
	if err != nil {
		fmt.Println("E fake.cc:2] failed to bind:", err)
		return 1
	}
	g := grpc.NewServer()
	pb.RegisterGRPCInferenceServiceServer(g, fakeHealth{mute: control["mute"]})
	go g.Serve(l)
	<-stop
	return 0
}

type fakeHealth struct {
	pb.UnimplementedGRPCInferenceServiceServer
	mute bool
}

func (f fakeHealth) ServerReady(context.Context, *pb.ServerReadyRequest) (*pb.ServerReadyResponse, error) {
	return &pb.ServerReadyResponse{Ready: !f.mute}, nil
}

func (fakeHealth) ServerMetadata(context.Context, *pb.ServerMetadataRequest) (*pb.ServerMetadataResponse, error) {
	return &pb.ServerMetadataResponse{Name: "triton", Version: "2.51.0"}, nil
}

func fakeStub() {
	every := make(chan os.Signal, 1)
	signal.Notify(every)
	for range every { // none of them ends it
	}
}

// subreaperVariable makes fakeAgiqa adopt the orphans below it, as process 1 of
// a container does.
const subreaperVariable = "TEST_SUBREAPER"

// fakeAgiqa starts a server, prints its process ID and stops it when its
// standard input ends. It then prints its state and waits to be killed.
func fakeAgiqa(config string) int {
	if os.Getenv(subreaperVariable) != "" {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	var cfg embedded.Config
	if err := json.Unmarshal([]byte(config), &cfg); err != nil {
		fmt.Println(err)
		return 1
	}
	s, err := embedded.Start(context.Background(), cfg)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("server", s.PID())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Stop(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(s.State())
	select {}
}

// appendLine returns the number of lines that the file then has.
func appendLine(path, line string) int {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		fmt.Fprintln(f, line)
		f.Close()
	}
	b, _ := os.ReadFile(path)
	return strings.Count(string(b), "\n")
}

func readControl(repository string) map[string]bool {
	b, _ := os.ReadFile(filepath.Join(repository, "control"))
	words := map[string]bool{}
	for _, w := range strings.Fields(string(b)) {
		words[w] = true
	}
	return words
}
