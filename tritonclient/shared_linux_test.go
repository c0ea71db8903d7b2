package tritonclient_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

func sharing(mode tritonclient.SharedMemory) func(*tritonclient.Config) {
	return func(cfg *tritonclient.Config) { cfg.SharedMemory = mode }
}

// wantEmbeddings encodes n images, from the first-th on.
func wantEmbeddings(t *testing.T, c *tritonclient.Client, first, n int) {
	t.Helper()
	in := make([]quality.Pixels, n)
	want := make([]quality.Embedding, n)
	for i := range in {
		in[i] = tritontest.Image(first + i)
		want[i] = tritontest.ImageEmbedding(tritontest.Encoder(), in[i])
	}
	got, err := c.EncodeImages(t.Context(), in)
	if err != nil {
		t.Fatalf("EncodeImages: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("EncodeImages (-want +got):\n%s", diff)
	}
}

// lastOffset is where the pixels of the last call lay, -1 if they came over the
// connection.
func lastOffset(s *tritontest.Server) int64 {
	last, _ := s.Last(tritontest.ImageEncoder)
	return offsetOf(last.Infer)
}

func offsetOf(req *pb.ModelInferRequest) int64 {
	if len(req.GetRawInputContents()) > 0 {
		return -1
	}
	return req.GetInputs()[0].GetParameters()["shared_memory_offset"].GetInt64Param()
}

func TestPixelsInSharedMemory(t *testing.T) {
	t.Parallel()
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, sharing(tritonclient.SharedMemoryAuto), s)
	wantEmbeddings(t, c, 0, 1)
	c.WaitShared()
	regions := s.Regions()
	if len(regions) != 1 {
		t.Fatalf("regions %v, want one", regions)
	}
	info, err := os.Stat(regions[0])
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	for _, n := range []int{1, 8} {
		wantEmbeddings(t, c, n, n)
		if got := lastOffset(s); got != 0 {
			t.Errorf("%d images: offset %d, want 0", n, got)
		}
	}
	// The ensemble's text is sent as before, beside the pixels.
	text := tritontest.Texts(tritontest.Encoder())
	judgements, _, err := c.EmbedAndJudge(t.Context(), cp, text, images(3))
	if err != nil {
		t.Fatal(err)
	}
	for i, j := range judgements {
		want := tritontest.Judgement(cp, text, tritontest.ImageEmbedding(tritontest.Encoder(), tritontest.Image(i)))
		if diff := cmp.Diff(want, j); diff != "" {
			t.Errorf("judgement %d (-want +got):\n%s", i, diff)
		}
	}
	last, _ := s.Last(cp.EnsembleModel())
	if n := len(last.Infer.GetRawInputContents()); n != 1 {
		t.Errorf("%d raw inputs, want the text alone", n)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := s.Regions(); len(got) > 0 {
		t.Errorf("registered after Close: %v", got)
	}
	if _, err := os.Stat(regions[0]); !os.IsNotExist(err) {
		t.Errorf("after Close the file is there (%v)", err)
	}
}

func TestSharedMemoryRefused(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := tritontest.New(t, tritontest.WithoutSharedMemory())
	auto := newClient(t, func(cfg *tritonclient.Config) {
		cfg.SharedMemory = tritonclient.SharedMemoryAuto
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	}, s)
	for i := range 3 {
		wantEmbeddings(t, auto, i, 1)
		auto.WaitShared()
	}
	if got := lastOffset(s); got != -1 {
		t.Errorf("offset %d in a region that was refused", got)
	}
	if err := auto.Check(t.Context()); err != nil {
		t.Errorf("auto is not ready: %v", err)
	}
	if got := strings.Count(log.String(), "no shared memory"); got != 1 {
		t.Errorf("%d log lines, want 1:\n%s", got, &log)
	}
	on := newClient(t, sharing(tritonclient.SharedMemoryOn), s)
	for range 2 {
		wantError(t, on.Check(t.Context()), quality.KindModelUnavailable, "takes no shared memory")
	}
	willing := newClient(t, sharing(tritonclient.SharedMemoryOn), tritontest.New(t))
	if err := willing.Check(t.Context()); err != nil {
		t.Errorf("on is not ready: %v", err)
	}
}

func TestSharedMemoryIsForThisMachine(t *testing.T) {
	t.Parallel()
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses = []string{"triton.example:8001"}
	cfg.SharedMemory = tritonclient.SharedMemoryOn
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "SharedMemory") {
		t.Errorf("on with a remote server: %v", err)
	}
	for _, c := range []struct {
		mode tritonclient.SharedMemory
		ok   bool
	}{{tritonclient.SharedMemoryAuto, true}, {"maybe", false}} {
		cfg.SharedMemory = c.mode
		if err := cfg.Validate(); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.mode, err)
		}
	}
}

func TestSharedMemoryAfterRestart(t *testing.T) {
	t.Parallel()
	s := tritontest.New(t)
	c := newClient(t, sharing(tritonclient.SharedMemoryAuto), s)
	wantEmbeddings(t, c, 0, 1)
	c.WaitShared()
	s.Stop()
	wantConnected(t, c, 0, false)
	s.Start()
	wantConnected(t, c, 0, true)
	wantEmbeddings(t, c, 1, 1) // before the new server knows
	c.WaitShared()
	wantEmbeddings(t, c, 2, 1)
	if got := lastOffset(s); got != 0 {
		t.Errorf("offset %d, want 0", got)
	}
}

// A server may lose a region without losing the connection.
func TestSharedMemoryForgotten(t *testing.T) {
	t.Parallel()
	s := tritontest.New(t)
	c := newClient(t, sharing(tritonclient.SharedMemoryAuto), s)
	wantEmbeddings(t, c, 0, 1)
	c.WaitShared()
	s.ForgetRegions()
	wantEmbeddings(t, c, 1, 1)
	if got := lastOffset(s); got != -1 {
		t.Errorf("offset %d, want the connection", got)
	}
}

// An abandoned call runs on, and must find its own pixels until it is answered.
func TestPlacesAreKeptUntilTheAnswer(t *testing.T) {
	t.Parallel()
	s := tritontest.New(t)
	c := newClient(t, sharing(tritonclient.SharedMemoryAuto), s)
	wantEmbeddings(t, c, 0, 1)
	c.WaitShared()
	path := s.Regions()[0]
	release, read := make(chan struct{}), make(chan []byte, 1)
	began := make(chan struct{})
	s.OnInfer(tritontest.ImageEncoder, func(_ context.Context, req *pb.ModelInferRequest) error {
		close(began)
		<-release
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		pixels := make([]byte, quality.PixelsLen)
		_, err = f.ReadAt(pixels, offsetOf(req))
		read <- pixels
		return err
	})
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := c.EncodeImages(ctx, []quality.Pixels{tritontest.Image(7)})
		gone <- err
	}()
	<-began
	leave()
	wantError(t, <-gone, quality.KindClientClosedRequest, "went away")
	s.Heal()
	for i := range 20 {
		wantEmbeddings(t, c, 10+i, 8)
	}
	close(release)
	if !bytes.Equal(<-read, tritontest.Image(7).Bytes()) {
		t.Error("the abandoned call found other pixels than its own")
	}
	c.WaitIdle(t.Context())
	wantEmbeddings(t, c, 50, 1)
	if got := lastOffset(s); got != 0 {
		t.Errorf("offset %d after the answer, want 0 again", got)
	}
}

// After a deadline nobody knows whether the server still reads.
func TestPlacesWithoutAnAnswerAreNotUsedAgain(t *testing.T) {
	t.Parallel()
	s := tritontest.New(t)
	c := newClient(t, sharing(tritonclient.SharedMemoryAuto), s)
	wantEmbeddings(t, c, 0, 1)
	c.WaitShared()
	release := s.Hold(tritontest.ImageEncoder)
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := c.EncodeImages(ctx, images(1))
	wantError(t, err, quality.KindDeadlineExceeded, "")
	c.WaitIdle(t.Context())
	s.Heal()
	wantEmbeddings(t, c, 1, 1)
	if got, want := lastOffset(s), int64(quality.PixelsLen); got != want {
		t.Errorf("offset %d, want %d, beside the place of the lost call", got, want)
	}
	regions := s.Regions()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := s.Regions(); len(got) != 1 {
		t.Errorf("a region that may be read was unregistered: %v, was %v", got, regions)
	}
}

func TestLeftoversOfTheDeadAreRemoved(t *testing.T) {
	t.Parallel()
	leave := func(pid int) string {
		path := filepath.Join("/dev/shm", fmt.Sprintf("agiqa-shm-%d-%016x", pid, time.Now().UnixNano()))
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(path) })
		return path
	}
	dead, living := leave(1<<22+1), leave(os.Getpid()) // above the largest number of a process
	newClient(t, sharing(tritonclient.SharedMemoryAuto), tritontest.New(t))
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("a dead process' region is still there (%v)", err)
	}
	if _, err := os.Stat(living); err != nil {
		t.Errorf("a living process' region is gone: %v", err)
	}
}
