package stubtriton_test

import (
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/benchmarks/stubtriton"
	"github.com/agiqa/agiqa/benchmarks/stubtriton/stubtritontest"
	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// client starts a stub of the project's own models and connects to it.
func client(t *testing.T, change func(*stubtriton.Config)) *tritonclient.Client {
	t.Helper()
	cfg := stubtriton.DefaultConfig()
	cfg.Repository = "../../model_repository"
	if change != nil {
		change(&cfg)
	}
	c := tritonclient.DefaultConfig()
	c.Addresses = []string{stubtritontest.Start(t, cfg)}
	client, err := tritonclient.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// TestStubIsATriton holds the stub to the suite that a real server passes.
func TestStubIsATriton(t *testing.T) {
	t.Parallel()
	bundle, err := checkpoint.Open("../../demo/checkpoints/demo", checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, nil)
	enc, err := c.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tritontest.Conformance(t, c, enc, bundle.Checkpoint())
}

// TestServiceTimeAndInstances has two instances that take 30 ms each: six
// requests at once need three rounds.
func TestServiceTimeAndInstances(t *testing.T) {
	t.Parallel()
	const service = 30 * time.Millisecond
	c := client(t, func(c *stubtriton.Config) { c.ServiceTime, c.Instances = service, 2 })
	encoder, err := c.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	var all sync.WaitGroup
	for n := range 6 {
		all.Go(func() {
			if _, err := c.EncodeImages(t.Context(), encoder, []quality.Pixels{tritontest.Image(n)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if took := time.Since(begin); took < 3*service {
		t.Errorf("six requests took %s, want at least %s", took, 3*service)
	}
	stats, err := c.Statistics(t.Context(), "clip_image_encoder")
	if err != nil {
		t.Fatal(err)
	}
	if s := stats[0]; s.Items != 6 || s.Requests != 6 || s.Compute < 6*service || s.Queue <= 0 {
		t.Errorf("statistics %+v, want 6 items, compute of at least %s, and some queue", s, 6*service)
	}
}

func TestRefusesNonsense(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*stubtriton.Config){
		"no models":          func(c *stubtriton.Config) { c.Repository = t.TempDir() },
		"unknown variant":    func(c *stubtriton.Config) { c.Variant = "quantum" },
		"negative time":      func(c *stubtriton.Config) { c.ServiceTime = -1 },
		"nobody to serve":    func(c *stubtriton.Config) { c.Instances = 0 },
		"folder not there":   func(c *stubtriton.Config) { c.Repository = "/nowhere" },
		"too many at a time": func(c *stubtriton.Config) { c.Instances = 1 << 20 },
	} {
		cfg := stubtriton.DefaultConfig()
		cfg.Repository = "../../model_repository"
		change(&cfg)
		if _, err := stubtriton.New(cfg); err == nil {
			t.Errorf("%s: is taken", name)
		}
	}
}
