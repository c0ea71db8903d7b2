package stubtriton_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/benchmarks/stubtriton"
	"github.com/agiqa/agiqa/benchmarks/stubtriton/stubtritontest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

var (
	engineFlag = flag.String("engine", "", "be an engine of this kind instead of tests")
	logFlag    = flag.String("engine-log", "", "file for the rows of each batch of the engine")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *engineFlag == "" {
		os.Exit(m.Run())
	}
	if err := beEngine(*engineFlag); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// beEngine embeds each image as the axis that its first byte names, in 20 ms a
// batch, unless it's told to fail.
func beEngine(kind string) error {
	dim, err := strconv.Atoi(os.Getenv("AGIQA_ENGINE_DIM"))
	if err != nil {
		return err
	}
	switch kind {
	case "dies at once":
		return fmt.Errorf("no GPU")
	case "of another size":
		dim++
	}
	if _, err := os.Stdout.Write(binary.LittleEndian.AppendUint32(nil, uint32(dim))); err != nil {
		return err
	}
	var sizes strings.Builder
	for {
		var header [4]byte
		if _, err := io.ReadFull(os.Stdin, header[:]); err != nil {
			return os.WriteFile(*logFlag, []byte(sizes.String()), 0o600)
		}
		rows := int(binary.LittleEndian.Uint32(header[:]))
		pixels := make([]byte, rows*quality.PixelsLen)
		if _, err := io.ReadFull(os.Stdin, pixels); err != nil {
			return err
		}
		if kind == "dies later" {
			return fmt.Errorf("out of memory")
		}
		time.Sleep(20 * time.Millisecond)
		var out []byte
		for i := range rows {
			axis := int(pixels[i*quality.PixelsLen]) % dim
			for d := range dim {
				v := float32(0)
				if d == axis {
					v = 1
				}
				out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
			}
		}
		fmt.Fprintln(&sizes, rows)
		if _, err := os.Stdout.Write(out); err != nil {
			return err
		}
	}
}

// withEngine serves the project's models with an engine of that kind, and
// returns how it ended, once stop was called or it ended by itself.
func withEngine(t *testing.T, kind, log string) (address string, stop func(), ended <-chan error) {
	t.Helper()
	cfg := stubtriton.DefaultConfig()
	cfg.Repository = "../../model_repository"
	cfg.Engine = []string{os.Args[0], "-engine=" + kind, "-engine-log=" + log}
	return stubtritontest.Serve(t, cfg)
}

func connect(t *testing.T, address string) (*tritonclient.Client, quality.Encoder) {
	t.Helper()
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses = []string{address}
	c, err := tritonclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	enc, err := c.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c, enc
}

// TestEngineEmbeds sends more requests at once than the engine takes in one
// batch: each gets its own answer, and they share batches.
func TestEngineEmbeds(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "batches")
	address, stop, ended := withEngine(t, "honest", log)
	c, enc := connect(t, address)
	const requests, each = 24, 3
	var all sync.WaitGroup
	for n := range requests {
		all.Go(func() {
			images := make([]quality.Pixels, each)
			for i := range images {
				data := make([]byte, quality.PixelsLen)
				data[0] = byte(n*each + i)
				var err error
				if images[i], err = quality.NewPixels(data); err != nil {
					t.Error(err)
				}
			}
			got, err := c.EncodeImages(t.Context(), enc, images)
			if err != nil {
				t.Error(err)
				return
			}
			for i, embedding := range got {
				if axis := n*each + i; embedding[axis] != 1 {
					t.Errorf("image %d got the embedding of another one", axis)
				}
			}
		})
	}
	all.Wait()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	rows, batches := 0, strings.Fields(string(text))
	for _, b := range batches {
		n, err := strconv.Atoi(b)
		if err != nil || n > 32 {
			t.Errorf("a batch of %s rows, want 32 at most", b)
		}
		rows += n
	}
	if rows != requests*each || len(batches) > requests/2 {
		t.Errorf("%d rows in %d batches, want %d in at most %d", rows, len(batches), requests*each, requests/2)
	}
}

func TestEngineFails(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{
		"dies at once":    "ended before it was ready",
		"of another size": "has embeddings of 129 numbers, want 128",
	} {
		_, _, ended := withEngine(t, kind, os.DevNull)
		if err := <-ended; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want one with %q", kind, err, want)
		}
	}
	address, _, ended := withEngine(t, "dies later", os.DevNull)
	c, enc := connect(t, address)
	_, err := c.EncodeImages(t.Context(), enc, []quality.Pixels{tritontest.Image(0)})
	if quality.KindOf(err) != quality.KindModelUnavailable {
		t.Errorf("a request to an engine that dies: %v, want %s", err, quality.KindModelUnavailable)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "engine: it left") {
		t.Errorf("error is %v", err)
	}
}
