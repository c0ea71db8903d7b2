//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/agiqa/agiqa/cache/redistest"
	"github.com/agiqa/agiqa/embedded"
	"github.com/agiqa/agiqa/experiment/postgrestest"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/pictures"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
)

var (
	severalGateways = flag.Bool("several", false, "also run TestSeveralGatewaysUnderFaults (make test-several)")
	storm           = flag.Duration("storm", time.Minute,
		"how long faults come by chance in TestSeveralGatewaysUnderFaults")
	stormSeed = flag.Uint64("storm-seed", 1, "which faults these are")
	neighbour = flag.String("neighbour", "",
		"an agiqa of another version, which the first gateway of TestSeveralGatewaysUnderFaults runs")
)

const (
	agreeWithin    = 2 * time.Second // what all gateways may take to agree
	severalImages  = 48
	severalCallers = 6
)

// TestSeveralGatewaysUnderFaults: three gateways, two Tritons, Redis and PostgreSQL,
// all real processes, under load. Checkpoints are imported, activated and removed;
// each kind of process is killed, then several at a time; the encoder is exchanged, one Triton after the
// other. No score is ever wrong, no request fails but those that were under way in a
// process that was killed, and all gateways agree within two seconds.
func TestSeveralGatewaysUnderFaults(t *testing.T) {
	if !*severalGateways {
		t.Skip("three minutes; make test-several runs it")
	}
	needsTriton(t)
	if _, err := os.Stat(filepath.Join(repository, ".cache", "models", "encoder.json")); err != nil {
		t.Fatal("the next encoder is the default one, which isn't here; make it with: make models")
	}
	f := newFleet(t)
	one, two := specimenFor(t, f.client(0), "one", 1, 2), specimenFor(t, f.client(0), "two", 2, 2)
	f.reference(one, two)
	f.load = f.startLoad()

	f.step("nothing happens", func() { f.load.more(t, 200) })
	f.step("activate and go back, six times", func() {
		for n := range 3 {
			f.change("demo-shared", n, "checkpoint", "activate", "demo-shared")
			f.change("demo", n+1, "checkpoint", "deactivate")
		}
	})
	f.step("import", func() { f.change("demo", 1, "checkpoint", "import", one.dir) })
	f.step("import and activate", func() { f.change("two", 2, "checkpoint", "import", two.dir, "--activate") })
	f.step("remove", func() {
		f.change("two", 0, "checkpoint", "remove", "one")
		head := one.bundle.Checkpoint().HeadModel()
		for n := range f.tritons {
			eventually(t, "its head is gone", func() bool {
				return f.client(n).ModelReady(t.Context(), head) != nil
			})
		}
	})
	f.step("a gateway is killed", func() {
		f.killed(f.gateways[0].pid())
		f.change("demo", 1, "checkpoint", "activate", "demo")
		f.gateways[0].start()
		f.agree("demo")
	})
	f.step("a Triton is killed", func() {
		pid := f.tritons[1].server.PID()
		f.killed(pid)
		eventually(t, "it is back", func() bool {
			return f.tritons[1].server.PID() != pid && f.client(1).ModelReady(t.Context(),
				two.bundle.Checkpoint().HeadModel()) == nil
		})
		f.change("two", 2, "checkpoint", "activate", "two")
	})
	f.step("Redis is killed", func() {
		f.dies(f.redis.Kill)
		f.change("demo", 0, "checkpoint", "activate", "demo")
		f.load.more(t, 100)
		f.redis.Run()
		f.change("two", 1, "checkpoint", "activate", "two")
	})
	f.step("PostgreSQL is killed", func() {
		f.dies(f.postgres.Kill)
		if _, errs, status := f.run(2, "checkpoint", "activate", "demo"); status == 0 ||
			!strings.Contains(errs, string(quality.KindStoreUnavailable)) {
			t.Errorf("an activation without PostgreSQL: status %d, %s", status, errs)
		}
		f.load.more(t, 100)
		f.postgres.Run()
		f.eventuallyRun(2, "checkpoint", "activate", "demo")
		f.settle("demo")
	})
	f.step(fmt.Sprintf("all of these by chance, seed %d", *stormSeed), func() {
		f.storm(*storm, rand.New(rand.NewPCG(*stormSeed, 0)), "demo", "demo-shared", "two")
	})
	defer f.print()
	defer f.load.end()
	if *neighbour != "" {
		return // versions before this one can't be told to use another encoder
	}
	first, second := f.tritons[0], f.tritons[1]
	f.step("the first Triton gets the next encoder", func() {
		first.stop()
		first.start(f.nextModels)
		for n := range f.gateways {
			eventually(t, "a gateway sees it", func() bool {
				out, _, _ := f.run(n, "encoder", "list")
				return strings.Contains(out, "clip-vit-b-16")
			})
		}
		f.load.more(t, 50)
	})
	f.step("gateways are told to use it", func() { f.change("quick", 1, "encoder", "use", "clip-vit-b-16") })
	f.step("the second Triton gets it, too", func() {
		second.stop()
		f.load.more(t, 50)
		second.start(f.nextModels)
		f.load.more(t, 50)
	})
}

// fleet is all processes, and what was seen of them.
type fleet struct {
	t          *testing.T
	gateways   []*several
	tritons    []*replica
	redis      *redistest.Server
	postgres   *postgrestest.Server
	nextModels string
	load       *demand
	images     [][]byte
	want       map[worth]float64
	rows       []row
	agreed     time.Duration // the longest of this step
}

// worth is what a score depends on.
type worth struct {
	encoder, checkpoint quality.Digest
	image               int
}

// row is a line of the table.
type row struct {
	name   string
	counts counts
	agreed time.Duration
	took   time.Duration
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, redis: redistest.Start(t), postgres: postgrestest.Start(t), want: map[worth]float64{},
		nextModels: filepath.Join(repository, ".cache", "models")}
	for n := range severalImages {
		f.images = append(f.images, testimages.PNGOf(pictures.Gradient(160, 120, uint32(1000+n))))
	}
	dir := proctest.ShortDir(t)
	var addresses []string
	for n := range 2 {
		r := &replica{t: t, dir: filepath.Join(dir, fmt.Sprint(n)), link: filepath.Join(dir, fmt.Sprintf("%d.sock", n))}
		r.start(filepath.Join(repository, "model_repository"))
		f.tritons = append(f.tritons, r)
		addresses = append(addresses, "unix://"+r.link)
	}
	store := f.postgres.URL()
	for n := range 3 {
		address := fmt.Sprintf("127.0.0.1:%d", proctest.FreePort(t))
		g := &several{t: t, url: "http://" + address, env: []string{
			"AGIQA_DATA_DIR=" + t.TempDir(), "AGIQA_ADMIN_KEY=" + testAdminKey, "AGIQA_CACHE_KEY=0123456789abcdef",
			"AGIQA_EXPERIMENT_KEY=fedcba9876543210", "AGIQA_REDIS_URL=" + f.redis.URL(), "AGIQA_EXPERIMENT_STORE=" + store,
			"AGIQA_LISTEN=" + address, "AGIQA_TRITON=" + strings.Join(addresses, ","), "AGIQA_SCORING_ACCESS=open",
		}}
		if n == 0 { // which has Triton compute every image
			g.env, g.program = append(g.env, "AGIQA_IMAGE_CACHE_BYTES=0"), *neighbour
		}
		g.start()
		f.gateways = append(f.gateways, g)
	}
	f.agree("demo")
	return f
}

// client returns a client of one Triton.
func (f *fleet) client(n int) *tritonclient.Client {
	return tritonOf(f.t, &process{grpc: f.tritons[n].server.GRPCAddr()})
}

// reference computes what every image is worth: by servers at rest, and for the
// specimens by arithmetic.
func (f *fleet) reference(specimens ...specimen) {
	f.t.Helper()
	ask := func(url, query string, n int) gateway.ScoreResponse {
		a := post(f.t, url+"/v1/score?include=embedding"+query, "image/png", f.images[n])
		if a.status != http.StatusOK {
			f.t.Fatalf("status %d: %+v", a.status, a.problem)
		}
		return a.score
	}
	keep := func(a gateway.ScoreResponse, n int) {
		r := a.Results[0]
		f.want[worth{a.Encoder.Digest, r.Checkpoint.Digest, n}] = float64(*r.Score)
	}
	for n := range f.images {
		keep(ask(f.gateways[n%3].url, "&checkpoint=demo-shared", n), n)
		a := ask(f.gateways[n%3].url, "&checkpoint=demo", n)
		keep(a, n)
		for _, s := range specimens {
			f.want[worth{a.Encoder.Digest, s.bundle.Checkpoint().Digest, n}] = s.score(f.t, a.Results[0].Embedding)
		}
	}
	next := startUp(f.t, []string{"AGIQA_MODEL_REPOSITORY=.cache/models"})
	for n := range f.images {
		keep(ask(next.url, "", n), n)
	}
	next.stop(f.t, syscall.SIGTERM)
}

// step does something under load and notes what clients saw meanwhile.
func (f *fleet) step(name string, do func()) {
	f.t.Helper()
	f.load.take()
	f.agreed = 0
	start := time.Now()
	do()
	f.load.more(f.t, 30)
	r := row{name: name, counts: f.load.take(), agreed: f.agreed, took: time.Since(start)}
	f.rows = append(f.rows, r)
	c := r.counts
	f.t.Logf("%s: %+v, agreed after %v", name, c, r.agreed)
	if c.failed > 0 || c.wrong > 0 {
		f.t.Errorf("%s: %d requests failed that weren't under way in a killed process, %d scores were wrong: %q", name,
			c.failed, c.wrong, c.said)
	}
	if r.agreed > agreeWithin {
		f.t.Errorf("%s: the gateways agreed after %v, want %v at most", name, r.agreed, agreeWithin)
	}
}

// run gives a command to a gateway.
func (f *fleet) run(at int, args ...string) (out, errs string, status int) {
	env := []string{"AGIQA_DATA_DIR=" + f.t.TempDir(), "AGIQA_URL=" + f.gateways[at%3].url,
		"AGIQA_ADMIN_KEY=" + testAdminKey}
	if args[1] == "remove" {
		args = append(args, "--yes")
	}
	return runCommand(f.t, env, nil, args...)
}

// change gives a command to a gateway after which name is the default, and waits
// until all gateways agree.
func (f *fleet) change(name string, at int, args ...string) {
	f.t.Helper()
	f.load.allow(name)
	if _, errs, status := f.run(at, args...); status != 0 {
		f.t.Fatalf("agiqa %v: exit status %d: %s", args, status, errs)
	}
	f.settle(name)
}

// eventuallyRun repeats a command until it goes well.
func (f *fleet) eventuallyRun(at int, args ...string) {
	f.t.Helper()
	f.load.allow(args[len(args)-1])
	eventually(f.t, strings.Join(args, " "), func() bool {
		_, _, status := f.run(at, args...)
		return status == 0
	})
}

// settle waits until all gateways agree on the default, after which no other one may
// score, and notes how long that took.
func (f *fleet) settle(name string) {
	f.t.Helper()
	f.agreed = max(f.agreed, f.agree(name))
	f.load.only(name)
}

// agree waits until all gateways that run are ready, serve one revision, the latest
// that any of them knows, and have the default.
func (f *fleet) agree(name string) time.Duration {
	f.t.Helper()
	start := time.Now()
	eventually(f.t, "the gateways agree on "+name, func() bool {
		revisions := map[int64]bool{}
		for _, g := range f.gateways {
			if !g.running() {
				continue
			}
			s, err := g.standing()
			if err != nil || s.Default != name {
				return false
			}
			revisions[s.Revision], revisions[s.Wanted] = true, true
		}
		return len(revisions) == 1
	})
	return time.Since(start)
}

// storm activates checkpoints and kills processes for a while, at random, several at
// a time: a gateway, one Triton, Redis (or it freezes) and PostgreSQL. It ends with all
// of them back and one default.
func (f *fleet) storm(lasts time.Duration, random *rand.Rand, names ...string) {
	f.t.Helper()
	for _, name := range names {
		f.load.allow(name) // a change that is refused may have been made
	}
	heals := map[string]func(){}
	breaks := []struct {
		what string
		do   func() (heal func())
	}{
		{"gateway", func() func() {
			g := f.gateways[random.IntN(len(f.gateways))]
			f.killed(g.pid())
			return g.start
		}},
		{"triton", func() func() {
			n := random.IntN(len(f.tritons))
			var pid int
			eventually(f.t, "there is a Triton to kill", func() bool {
				pid = f.tritons[n].server.PID()
				return pid > 0 && syscall.Kill(pid, 0) == nil
			})
			f.killed(pid)
			return func() {
				eventually(f.t, "Triton is back", func() bool {
					return f.tritons[n].server.PID() != pid && f.noneEjected()
				})
			}
		}},
		{"redis", func() func() {
			if random.IntN(2) == 0 {
				f.redis.Stop()
				return f.redis.Cont
			}
			f.dies(f.redis.Kill)
			return f.redis.Run
		}},
		{"postgres", func() func() {
			f.dies(f.postgres.Kill)
			return f.postgres.Run
		}},
	}
	happened := map[string]int{}
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		if b := breaks[random.IntN(len(breaks))]; heals[b.what] == nil {
			heals[b.what] = b.do()
			happened[b.what]++
		}
		f.load.more(f.t, random.IntN(60))
		if g := f.gateways[random.IntN(len(f.gateways))]; g.running() {
			if _, _, status := f.run(slices.Index(f.gateways, g), "checkpoint", "activate",
				names[random.IntN(len(names))]); status == 0 {
				happened["activation"]++
			}
		}
		for _, b := range breaks {
			if heal := heals[b.what]; heal != nil && random.IntN(3) == 0 {
				heal()
				delete(heals, b.what)
			}
		}
	}
	for _, b := range breaks {
		if heal := heals[b.what]; heal != nil {
			heal()
		}
	}
	f.t.Logf("by chance: %v", happened)
	f.eventuallyRun(0, "checkpoint", "activate", names[0])
	f.settle(names[0])
}

// noneEjected reports whether every gateway that runs gives work to all Tritons.
func (f *fleet) noneEjected() bool {
	for _, g := range f.gateways {
		p := &process{url: g.url}
		if g.running() && p.metric(f.t, "agiqa_triton_ejected") > 0 {
			return false
		}
	}
	return true
}

// dies runs what kills a process and waits for its end: what is under way meanwhile
// may fail.
func (f *fleet) dies(kill func()) {
	defer f.load.death()()
	kill()
}

// killed kills a process.
func (f *fleet) killed(pid int) {
	f.t.Helper()
	f.dies(func() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			f.t.Fatal(err)
		}
		for _, g := range f.gateways {
			if g.running() && g.pid() == pid {
				<-g.done
			}
		}
	})
}

func (f *fleet) print() {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "step\trequests\tcut off by a kill\tother errors\twrong scores\tagreed after\ttook")
	for _, r := range f.rows {
		agreed := "-"
		if r.agreed > 0 {
			agreed = fmt.Sprintf("%.2f s", r.agreed.Seconds())
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\t%.0f s\n", r.name, r.counts.all, r.counts.cut, r.counts.failed,
			r.counts.wrong, agreed, r.took.Seconds())
	}
	w.Flush()
	fmt.Print(b.String())
}

// several is one gateway, which may be killed and started again on its address and
// data folder.
type several struct {
	t       *testing.T
	url     string
	env     []string
	program string // "": this version's
	cmd     *exec.Cmd
	done    chan struct{} // closed when it has ended

	ready atomic.Bool // a balancer gives it work
}

func (g *several) start() {
	g.t.Helper()
	g.ready.Store(false)
	g.cmd, g.done = command(g.t, g.env, "serve"), make(chan struct{})
	if g.program != "" {
		g.cmd.Path, g.cmd.Args[0] = g.program, g.program
	}
	log, err := os.Create(filepath.Join(g.t.TempDir(), "log"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.cmd.Stderr = log
	proctest.Bind(g.cmd)
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	cmd, done := g.cmd, g.done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	g.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
		if g.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			g.t.Logf("%s:\n%s", g.url, text)
		}
	})
	eventually(g.t, "a gateway is ready", func() bool {
		if !g.running() {
			g.t.Fatal("a gateway has ended")
		}
		res, err := http.Get(g.url + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	g.ready.Store(true)
}

func (g *several) pid() int { return g.cmd.Process.Pid }

func (g *several) running() bool {
	select {
	case <-g.done:
		return false
	default:
		return true
	}
}

// standing is what a gateway says of the desired state.
type standing struct {
	Default  string
	Revision int64
	Wanted   int64 `json:"wanted_revision"`
}

func (g *several) standing() (s standing, err error) {
	req, err := http.NewRequest(http.MethodGet, g.url+"/v1/checkpoints", nil)
	if err != nil {
		return s, err
	}
	req.Header.Set("Authorization", "Bearer "+testAdminKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return s, errors.New(res.Status)
	}
	return s, json.NewDecoder(res.Body).Decode(&s)
}

// replica is one Triton at an address that it keeps.
type replica struct {
	t      *testing.T
	dir    string
	link   string
	server *embedded.Server
}

func (r *replica) start(models string) {
	r.t.Helper()
	cfg := embedded.DefaultConfig()
	cfg.Venv, cfg.ModelRepositories = filepath.Join(repository, ".venv"), []string{models}
	cfg.RunDir, cfg.LogFile = filepath.Join(r.dir, "run"), filepath.Join(r.dir, "triton.log")
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		r.t.Fatal(err)
	}
	var err error
	if r.server, err = embedded.Start(r.t.Context(), cfg); err != nil {
		r.t.Fatal(err)
	}
	server := r.server
	r.t.Cleanup(func() { _ = server.Stop(context.WithoutCancel(r.t.Context())) })
	next := r.link + ".next"
	if err := os.Symlink(strings.TrimPrefix(server.GRPCAddr(), "unix://"), next); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(next, r.link); err != nil {
		r.t.Fatal(err)
	}
}

// stop ends the server in good order.
func (r *replica) stop() {
	r.t.Helper()
	if err := r.server.Stop(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// demand is callers that ask for the default's score, and check it.
type demand struct {
	f     *fleet
	stop  context.CancelFunc
	group sync.WaitGroup

	mu      sync.Mutex
	counts  counts
	total   int
	deaths  []allowance
	allowed []allowance
}

// counts is what clients saw.
type counts struct {
	all    int
	cut    int // failed, and were under way when a process was killed
	failed int // besides
	wrong  int
	said   []string // of the first few
}

// allowance is a time in which a checkpoint may be the default, or a request may fail.
type allowance struct {
	name        string
	from, until time.Time // until is zero while it goes on
}

// within reports whether some of it was between two moments.
func (a allowance) within(start, end time.Time) bool {
	return !a.from.After(end) && (a.until.IsZero() || !a.until.Before(start))
}

func (f *fleet) startLoad() *demand {
	ctx, cancel := context.WithCancel(f.t.Context())
	l := &demand{f: f, stop: cancel}
	l.allow("demo")
	for caller := range severalCallers {
		l.group.Go(func() {
			for n := caller; ctx.Err() == nil; n++ {
				l.ask(ctx, n)
			}
		})
	}
	return l
}

// allow lets a checkpoint be the default from now on, beside those that may be.
func (l *demand) allow(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allowed = append(l.allowed, allowance{name: name, from: time.Now()})
}

// only forbids all others from now on.
func (l *demand) only(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.allowed {
		if a := &l.allowed[i]; a.name != name && a.until.IsZero() {
			a.until = time.Now()
		}
	}
}

// death says that a process is dying, until over is called.
func (l *demand) death() (over func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.deaths)
	l.deaths = append(l.deaths, allowance{from: time.Now()})
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.deaths[n].until = time.Now()
	}
}

// take returns what was seen since the last time.
func (l *demand) take() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts
	l.counts = counts{}
	return c
}

func (l *demand) more(t *testing.T, n int) {
	t.Helper()
	total := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.total
	}
	from := total()
	eventually(t, "more answers", func() bool { return total() >= from+n })
}

func (l *demand) end() {
	l.stop()
	l.group.Wait()
}

// ask sends an image to a gateway. What refuses the connection or isn't ready after a
// start is passed over, as a balancer does.
func (l *demand) ask(ctx context.Context, n int) {
	image, start := n%severalImages, time.Now()
	var status int
	var raw []byte
	var err error
	for try := range l.f.gateways {
		g := l.f.gateways[(n+try)%len(l.f.gateways)]
		if !g.ready.Load() {
			continue
		}
		status, raw, err = send(ctx, g.url+"/v1/score", l.f.images[image])
		if e, ok := errors.AsType[*net.OpError](err); !ok || e.Op != "dial" {
			break
		}
	}
	end := time.Now()
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.all++
	l.total++
	say := func(what string) {
		if len(l.counts.said) < 5 {
			l.counts.said = append(l.counts.said, what)
		}
	}
	switch {
	case err == nil && status == http.StatusOK:
		if fault := l.check(raw, image, start, end); fault != "" {
			l.counts.wrong++
			say(fault)
		}
	case slices.ContainsFunc(l.deaths, func(d allowance) bool { return d.within(start, end) }):
		l.counts.cut++
	default:
		l.counts.failed++
		say(fmt.Sprintf("status %d, %v: %.300s", status, err, raw))
	}
}

// check returns what is wrong with an answer, "" for nothing. l.mu is held.
func (l *demand) check(raw []byte, image int, start, end time.Time) string {
	var a gateway.ScoreResponse
	if err := json.Unmarshal(raw, &a); err != nil || len(a.Results) != 1 || a.Results[0].Score == nil {
		return fmt.Sprintf("no score: %.300s", raw)
	}
	r := a.Results[0]
	want, known := l.f.want[worth{a.Encoder.Digest, r.Checkpoint.Digest, image}]
	if !known || math.Abs(float64(*r.Score)-want) > 1e-4 {
		return fmt.Sprintf("image %d by %s of %s is %v, want %v", image, r.Checkpoint.Name, a.Encoder.Name, *r.Score, want)
	}
	if !slices.ContainsFunc(l.allowed, func(x allowance) bool {
		return x.name == r.Checkpoint.Name && x.within(start, end)
	}) {
		return fmt.Sprintf("scored by %s, which wasn't the default", r.Checkpoint.Name)
	}
	return ""
}

// send posts an image.
func send(ctx context.Context, url string, body []byte) (status int, raw []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "image/png")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	raw, err = io.ReadAll(res.Body)
	return res.StatusCode, raw, err
}
