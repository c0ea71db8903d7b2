package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/benchmarks/preprocess"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/version"
	"github.com/agiqa/agiqa/server"
)

// loadFlags are what the commands that send load have in common.
type loadFlags struct {
	options     load.Options
	rate        float64
	duration    time.Duration
	profile     string
	trace       string
	arrivals    string
	closed      int
	pid         int
	seed        uint64
	out, notes  string
	triton      string            // behind the gateway
	versions    map[string]string // of what is asked
	allowRemote bool
}

func (f *loadFlags) add(cmd *cobra.Command) {
	cli.AddJSON(cmd)
	o := load.DefaultOptions()
	flags := cmd.Flags()
	flags.Float64Var(&f.rate, "rate", 10, "requests per second")
	flags.DurationVar(&f.duration, "duration", 10*time.Second, "duration of the schedule")
	flags.StringVar(&f.arrivals, "arrivals", string(load.Even),
		"constant: evenly spaced; poisson: as from many independent clients")
	flags.IntVar(&f.options.Connections, "connections", o.Connections,
		"maximum number of concurrent requests; others wait, and the wait counts as latency")
	flags.IntVar(&f.options.MaxOutstanding, "max-outstanding", o.MaxOutstanding,
		"maximum number of requests in flight or waiting; others are dropped and counted")
	flags.DurationVar(&f.options.Timeout, "timeout", o.Timeout, "timeout of a request, from when it gets a connection")
	flags.DurationVar(&f.options.Drain, "drain", o.Drain,
		"how long to wait for outstanding requests after the last one was due")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of schedule and content; 0: random, and printed")
	flags.StringVar(&f.out, "out", "", "folder for records, manifest and reports")
	flags.StringVar(&f.notes, "notes", "", "notes to store in the manifest")
	flags.BoolVar(&f.allowRemote, "allow-remote", false, "allow sending load to another machine; it must be yours")
}

// addShapes are flags of commands that run one schedule of any shape.
func (f *loadFlags) addShapes(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.profile, "profile", "",
		"replaces --rate and --duration: steps 100@10s,200@10s, a ramp 10-500@60s, or bursts:50,500@1s/10s,60s")
	cmd.Flags().StringVar(&f.trace, "trace", "", "file of request times in seconds from the start, one per line")
	cmd.Flags().IntVar(&f.closed, "closed", 0,
		"closed loop: this many connections, each sending as soon as it has a response; 0: open loop")
}

// settle checks the flags and draws the seed.
func (f *loadFlags) settle(cmd *cobra.Command) error {
	server.MemoryLimit() // a run collects rarely, but a container's limit counts
	for f.seed == 0 {
		f.seed = rand.Uint64() >> 11 // a number that JSON readers keep whole
	}
	var faults []error
	if f.closed < 0 {
		faults = append(faults, fmt.Errorf("--closed is %d, must not be negative", f.closed))
	}
	if f.profile != "" && f.trace != "" || f.closed > 0 && f.profile+f.trace != "" {
		faults = append(faults, errors.New("--profile, --trace and --closed are mutually exclusive"))
	}
	if f.profile+f.trace != "" && cmd.Flags().Changed("rate") {
		faults = append(faults, errors.New("--rate has no effect with --profile or --trace"))
	}
	if f.closed > 0 {
		f.options.Connections = f.closed
		f.options.MaxOutstanding = max(f.options.MaxOutstanding, f.closed)
	}
	return errors.Join(append(faults, f.options.Validate())...)
}

func (f *loadFlags) schedule() (load.Schedule, error) {
	if f.trace != "" {
		file, err := os.Open(f.trace)
		if err != nil {
			return load.Schedule{}, err
		}
		defer file.Close()
		return load.ReadTrace(file)
	}
	p := load.Constant(f.rate, f.duration)
	if f.profile != "" {
		var err error
		if p, err = load.ParseProfile(f.profile); err != nil {
			return load.Schedule{}, err
		}
	}
	return load.NewSchedule(p, load.Arrivals(f.arrivals), f.seed)
}

func (f *loadFlags) manifest(cmd *cobra.Command) load.Manifest {
	line := commandLine(cmd)
	if !cmd.Flags().Changed("seed") {
		line += fmt.Sprintf(" --seed=%d", f.seed)
	}
	m := load.NewManifest(time.Now(), cmd.Name(), line, buildCommit(), f.seed)
	m.Notes, m.Versions = f.notes, map[string]string{"generator": version.Current().Version}
	maps.Copy(m.Versions, f.versions)
	return m
}

// measure runs what the flags say against a target, with a bar on a screen.
func (f *loadFlags) measure(ctx context.Context, t *cli.Terminal, target load.Target) (load.Run, error) {
	f.options.PID = f.pid
	if f.closed > 0 {
		return f.options.Closed(ctx, target, f.duration)
	}
	s, err := f.schedule()
	if err != nil {
		return load.Run{}, err
	}
	return f.open(ctx, t, target, s)
}

func (f *loadFlags) open(ctx context.Context, t *cli.Terminal, target load.Target, s load.Schedule) (load.Run, error) {
	o := f.options
	o.Progress = &load.Progress{}
	stop := follow(t, len(s.Due), "requests", o.Progress)
	defer stop()
	return o.Open(ctx, target, s)
}

// requestFlags say what is sent over HTTP.
type requestFlags struct {
	images, method, body, contentType string
	form, pick, checkpointPick        string
	unitHeader                        string
	sizes                             []int
	formats, checkpoints, headers     []string
	zipf                              float64
	unique                            bool
	units                             int
	statuses                          []int

	flags  *pflag.FlagSet // all of these
	direct *directFlags   // nil: the command asks over HTTP only
}

// addDrawn are the flags of images that are drawn.
func (r *requestFlags) addDrawn(f *pflag.FlagSet) {
	f.IntSliceVar(&r.sizes, "sizes", []int{512}, "side lengths of the generated images, in pixels")
	f.StringSliceVar(&r.formats, "formats", []string{"jpeg"}, "formats of the generated images: jpeg, png, gif")
}

func (r *requestFlags) add(cmd *cobra.Command) {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	defer cmd.Flags().AddFlagSet(f)
	r.flags = f
	r.addDrawn(f)
	f.StringVar(&r.images, "images", "", "folder of images to send (default: generated images)")
	f.StringVar(&r.form, "form", string(load.Raw), "request format: raw, multipart or json")
	f.StringVar(&r.pick, "pick", string(load.InTurn), "order of images: round-robin, uniform or zipf")
	f.Float64Var(&r.zipf, "zipf", 1.1, "exponent of --pick zipf")
	f.BoolVar(&r.unique, "unique", false, "vary the bytes but not the pixels of each image, to defeat caches")
	f.StringSliceVar(&r.checkpoints, "checkpoint", nil,
		"checkpoints to request, one per request in the order of --checkpoint-pick")
	f.StringVar(&r.checkpointPick, "checkpoint-pick", string(load.InTurn), "order of checkpoints: round-robin or uniform")
	f.IntVar(&r.units, "units", 0, "number of experiment units to draw from at random; 0: none")
	f.StringVar(&r.unitHeader, "unit-header", "X-Agiqa-Unit", "header for the unit")
	f.StringVar(&r.method, "method", http.MethodPost, "HTTP method")
	f.StringArrayVar(&r.headers, "header", nil, "additional header, 'Name: value'")
	f.StringVar(&r.body, "body", "", "file to send as the body instead of images; empty file: no body")
	f.StringVar(&r.contentType, "content-type", "", "content type of --body (default: by file name)")
	f.IntSliceVar(&r.statuses, "expect", nil, "statuses that count as completed (default: 200 to 299)")
}

// workload reads or draws what is sent.
func (r *requestFlags) workload(t *cli.Terminal, seed uint64) (load.Workload, error) {
	if r.method == http.MethodGet || r.method == http.MethodHead {
		return load.Fixed{}, nil
	}
	if r.body != "" {
		data, err := os.ReadFile(r.body)
		if err != nil {
			return nil, fmt.Errorf("--body: %w", err)
		}
		kind := r.contentType
		if kind == "" {
			kind = mime.TypeByExtension(filepath.Ext(r.body))
		}
		return load.Fixed{ContentType: kind, Body: data}, nil
	}
	pictures, err := r.pictures(t)
	if err != nil {
		return nil, err
	}
	return load.NewPictures(load.PicturesConfig{
		Pictures: pictures, Pick: load.Pick(r.pick), ZipfS: r.zipf, Form: load.Form(r.form), Unique: r.unique,
		Checkpoints: r.checkpoints, CheckpointPick: load.Pick(r.checkpointPick),
		Units: r.units, UnitHeader: r.unitHeader, Seed: seed,
	})
}

func (r *requestFlags) pictures(t *cli.Terminal) ([]load.Picture, error) {
	if r.images != "" {
		selected, err := cli.OnDisk(r.images)
		if err != nil {
			return nil, fmt.Errorf("--images: %w", err)
		}
		selected.Note(t)
		var out []load.Picture
		for _, p := range selected.List {
			if err := p.Load(); err != nil {
				return nil, err
			}
			out = append(out, load.Picture{Name: p.Name, Data: p.Data})
		}
		return out, nil
	}
	for _, side := range r.sizes {
		if side < 1 || side > 5000 {
			return nil, fmt.Errorf("--sizes has %d, must be 1 to 5000", side)
		}
	}
	bar := t.Progress(len(r.sizes)*preprocess.DrawnFiles(), "drawing")
	defer bar.Done()
	cases, err := preprocess.Draw(r.sizes, nil, bar.Step)
	if err != nil {
		return nil, err
	}
	var out []load.Picture
	for _, c := range cases {
		if format, _, _ := strings.Cut(c.Format, "-"); slices.Contains(r.formats, format) {
			out = append(out, load.Picture{Name: c.Name, Data: c.Data})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("--formats %v: want jpeg, png or gif", r.formats)
	}
	return out, nil
}

// target gives the endpoint at address; without a path it is that of scores. The API
// key is sent unless a header is given in its place.
func (r *requestFlags) target(address string, key config.Secret, allowRemote bool,
	w load.Workload) (*load.HTTP, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("--url: %w", err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/score"
	}
	if !allowRemote {
		if err := load.CheckLoopback(u.Hostname()); err != nil {
			return nil, fmt.Errorf("--url: %w", err)
		}
	}
	header := http.Header{}
	for _, h := range r.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("--header %q: want 'Name: value'", h)
		}
		header.Add(name, strings.TrimSpace(value))
	}
	if key != "" && header.Get("Authorization") == "" && header.Get(gateway.KeyHeader) == "" && u.User == nil {
		header.Set("Authorization", "Bearer "+string(key))
	}
	return load.NewHTTP(load.HTTPConfig{
		URL: u, Method: r.method, Header: header, Workload: w, Expect: r.statuses, Timings: true, ImageErrors: true,
	})
}

// addDirect adds the flags of commands that ask Triton as well as HTTP servers.
func (r *requestFlags) addDirect(cmd *cobra.Command) {
	r.direct = &directFlags{}
	r.direct.add(cmd)
	cmd.Flags().String("checkpoints", config.Default().Checkpoints, "folder of bundles for triton:// targets")
	cmd.Long += " A target is a URL, or Triton without a gateway: triton://HOST:PORT/image-encoder " +
		"(triton:///SOCKET/... on a Unix socket), /head or /ensemble, the latter two of bundle --checkpoint (demo), " +
		"with --batch images per request. The report includes Triton's statistics."
}

// check refuses flags that nothing of what is asked would heed.
func (r *requestFlags) check(cmd *cobra.Command, f *loadFlags, addresses []string) error {
	direct := 0
	for _, a := range addresses {
		if isDirect(a) {
			direct++
		}
	}
	if direct == 0 {
		if cmd.Flags().Changed("batch") {
			return errors.New("--batch has no effect without a triton:// target")
		}
		return nil
	}
	if f.triton != "" {
		return errors.New("--triton has no effect with a triton:// target, whose statistics are always read")
	}
	var faults []error
	if direct == len(addresses) {
		r.flags.VisitAll(func(flag *pflag.Flag) {
			if flag.Changed && flag.Name != "checkpoint" {
				faults = append(faults, fmt.Errorf("--%s has no effect on a triton:// target", flag.Name))
			}
		})
	}
	return errors.Join(faults...)
}

// aims checks the flags and opens the targets at several addresses. HTTP
// servers are asked the same. Each has to be closed.
func (r *requestFlags) aims(cmd *cobra.Command, t *cli.Terminal, f *loadFlags,
	addresses []string) (out []aim, err error) {
	if err := f.settle(cmd); err != nil {
		return nil, err
	}
	s, err := cli.LoadSettings(cmd, t)
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		addresses = []string{s.URL}
	}
	if r.direct != nil {
		if err := r.check(cmd, f, addresses); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			closeAll(out)
		}
	}()
	var w load.Workload
	for _, address := range addresses {
		if r.direct != nil && isDirect(address) {
			a, err := r.direct.openURL(cmd.Context(), f, s, address, r.checkpoints)
			if err != nil {
				return out, err
			}
			out = append(out, a)
			continue
		}
		if w == nil {
			if w, err = r.workload(t, f.seed); err != nil {
				return out, err
			}
		}
		target, err := r.target(address, s.APIKey, f.allowRemote, w)
		if err != nil {
			return out, err
		}
		a := aim{target: target}
		if a.backend, a.close, err = f.watchTriton(); err != nil {
			return out, err
		}
		out = append(out, a)
	}
	return out, nil
}

func closeAll(aims []aim) {
	for _, a := range aims {
		a.close()
	}
}

// addURL adds the setting url, and its company.
func addURL(cmd *cobra.Command) { config.AddFlags(cmd.Flags(), cli.ClientGroups...) }

// aim checks the flags and opens the one target that is named: as an argument,
// or by the setting url. What stands behind it will be watched.
func (r *requestFlags) aim(cmd *cobra.Command, t *cli.Terminal, f *loadFlags, args []string) (aim, error) {
	aims, err := r.aims(cmd, t, f, args)
	if err != nil {
		return aim{}, err
	}
	f.options.Backend = aims[0].backend
	return aims[0], nil
}

// follow shows how many of total have ended, until the function it returns is
// called.
func follow(t *cli.Terminal, total int, what string, p *load.Progress) (stop func()) {
	bar := t.Progress(total, what)
	if !bar.Visible() {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				bar.Set(int(p.Ended.Load()))
			case <-done:
				bar.Done()
				return
			}
		}
	}()
	return func() { close(done); <-gone }
}

// withStub runs f with the URL of an HTTP server in this process that answers
// a few bytes.
func withStub(ctx context.Context, s load.Stub, f func(url string) error) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	err = f("http://" + l.Addr().String())
	stop()
	return errors.Join(err, <-ended)
}
