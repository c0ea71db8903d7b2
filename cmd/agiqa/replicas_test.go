package main

import (
	"bufio"
	"context"
	"image"
	"image/color"
	"image/draw"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/agiqa/agiqa/internal/testimages"
)

// plain is a picture all of one colour, another one for each n.
func plain(n int) []byte {
	img := image.NewRGBA(image.Rect(0, 0, 32, 32))
	draw.Draw(img, img.Bounds(), image.NewUniform(color.RGBA{uint8(n >> 16), uint8(n >> 8), uint8(n), 255}), image.Point{},
		draw.Src)
	return testimages.PNGOf(img)
}

// metric returns the sum of a metric's values that have these labels, each
// k="v".
func (p *process) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	answer, err := http.Get(p.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	sum := 0.0
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		has := func(label string) bool { return strings.Contains(lines.Text(), label) }
		series, value, _ := strings.Cut(lines.Text(), " ")
		if family, _, _ := strings.Cut(series, "{"); family != name ||
			slices.ContainsFunc(labels, func(l string) bool { return !has(l) }) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return sum
}

// callers post images without a pause, each image once, and count what they are
// told.
type callers struct {
	mu     sync.Mutex
	ok     int
	failed []string
	stop   context.CancelFunc
	group  sync.WaitGroup
}

func startCallers(t *testing.T, p *process, n int) *callers {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &callers{stop: cancel}
	for i := range n {
		c.group.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				a := post(t, p.url+"/v1/score", "image/png", plain(1<<20|i<<12|k))
				c.mu.Lock()
				if a.status == http.StatusOK {
					c.ok++
				} else {
					c.failed = append(c.failed, a.problem.Error())
				}
				c.mu.Unlock()
			}
		})
	}
	return c
}

// more waits until n further requests were answered with a score.
func (c *callers) more(t *testing.T, n int) {
	t.Helper()
	answered := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.ok
	}
	from := answered()
	eventually(t, "more answers", func() bool { return answered() >= from+n })
}

func (c *callers) end() {
	c.stop()
	c.group.Wait()
}

// TestTwoTritons: one gateway before two real Tritons. One is killed under
// requests. The other answers everything, what was under way in the killed one
// included, until that is back.
func TestTwoTritons(t *testing.T) {
	needsTriton(t)
	// Every call is one image: what is lost can be counted.
	env := []string{"AGIQA_IMAGE_CACHE_BYTES=0", "AGIQA_BATCHING=triton"}
	a, b := startUp(t, env), startUp(t, env)
	p := startServe(t, append(env, "AGIQA_DATA_DIR="+t.TempDir(), "AGIQA_ADMIN_KEY="+testAdminKey), a.grpc, b.grpc)
	lost := func() int { // without the probes of /readyz
		return int(p.metric(t, "agiqa_triton_duration_seconds_count", `model="ensemble"`, `outcome="unreachable"`))
	}

	t.Run("encoder list and use", func(t *testing.T) {
		demo := demoCheckpoint(t).Encoder.String()
		cli := []string{"AGIQA_DATA_DIR=" + t.TempDir(), "AGIQA_URL=" + p.url, "AGIQA_ADMIN_KEY=" + testAdminKey}
		for _, test := range []struct {
			args   []string
			status int
			out    string // the fields of the line of the encoder
			errs   string
		}{
			{[]string{"list"}, 0, "* agiqa-demo-vit-16 2 " + demo, ""},
			{[]string{"use", "nothing"}, 1, "", `holds the encoder "nothing"; they hold agiqa-demo-vit-16`},
			{[]string{"use", "agiqa-demo-vit-16", "--precision", "int8"}, 1, "", "no Triton of the server holds"},
			{[]string{"use", demo[:20]}, 0, "* agiqa-demo-vit-16 2 yes " + demo, ""},
			{[]string{"use", "agiqa-demo-vit-16"}, 0, "* agiqa-demo-vit-16 2 yes " + demo, ""},
		} {
			out, errs, status := runCommand(t, cli, nil, append([]string{"encoder"}, test.args...)...)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			line := strings.Join(strings.Fields(lines[len(lines)-1]), " ")
			if status != test.status || line != test.out || !strings.Contains(errs, test.errs) {
				t.Errorf("%v: status %d, %s%s", test.args, status, out, errs)
			}
		}
	})

	t.Run("F01 one is killed under requests", func(t *testing.T) {
		// More than fit into a batch for each: while some are between two calls,
		// others are inside one.
		callers := startCallers(t, p, 40)
		callers.more(t, 20)
		pid := b.tritonPID(t)
		for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} { // so that it dies with requests
			if err := syscall.Kill(pid, signal); err != nil {
				t.Fatal(err)
			}
			callers.more(t, 15)
		}
		callers.end()
		if n := lost(); n < 1 || len(callers.failed) > 0 {
			t.Errorf("%d calls were lost with the server, want some; %d requests failed: %q", n,
				len(callers.failed), callers.failed)
		}
		all, unreachable := p.metric(t, "agiqa_triton_ejections_total"),
			p.metric(t, "agiqa_triton_ejections_total", `reason="unreachable"`)
		if all != 1 || unreachable != 1 {
			t.Errorf("%v ejections, %v of a server that was unreachable, want one", all, unreachable)
		}

		// It comes back, and its share of the work with it.
		triton := tritonOf(t, b)
		work := func() uint64 {
			stats, err := triton.Statistics(t.Context(), "clip_image_encoder")
			if err != nil || len(stats) != 1 {
				return 0
			}
			return stats[0].Requests
		}
		eventually(t, "it is not ejected any more, and works", func() bool {
			scoreOf(t, p, plain(1<<21|int(work())))
			return p.metric(t, "agiqa_triton_ejected") == 0 && b.tritonPID(t) != pid && work() > 10
		})
	})
}
