package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
)

func newCompare(t *cli.Terminal) *cobra.Command {
	var f loadFlags
	var r requestFlags
	plan := load.ComparePlan{Pairs: 6, Pause: 200 * time.Millisecond}
	cmd := &cobra.Command{
		Use:   "compare URL_A URL_B",
		Short: "Measure two targets in alternation and report their ratios",
		Long: "Sends the same requests on the same schedule to two targets, in blocks A B B A A B B A, and reports the " +
			"ratios of throughput and latency with bootstrap intervals over the pairs. In an open loop both targets " +
			"get the same rate, so compare latency; with --closed N compare throughput.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			asked, err := r.aims(cmd, t, &f, args)
			if err != nil {
				return err
			}
			defer closeAll(asked)
			var targets [2]load.Target
			for i, a := range asked {
				targets[i], plan.Backends[i] = a.target, a.backend
			}
			plan.Profile, plan.Arrivals, plan.Seed, plan.Closed = load.Constant(f.rate, f.duration),
				load.Arrivals(f.arrivals), f.seed, f.closed
			m := f.manifest(cmd)
			blocks, err := f.options.Compare(cmd.Context(), targets, plan)
			if len(blocks.Runs) == 0 {
				return err
			}
			reported := f.report(cmd, t, m, blocks.Labels(), blocks.Summarise(), blocks.Runs...)
			return errors.Join(reported, err, blocks.Err())
		},
	}
	f.add(cmd)
	r.add(cmd)
	r.addDirect(cmd)
	cmd.Flags().Lookup("duration").Usage = "duration of one block"
	cmd.Flags().IntVar(&f.closed, "closed", 0,
		"closed loop: this many connections, each sending as soon as it has a response; 0: open loop")
	cmd.Flags().IntVar(&plan.Pairs, "pairs", plan.Pairs, "number of blocks per target")
	cmd.Flags().DurationVar(&plan.Pause, "pause", plan.Pause, "pause between blocks")
	cmd.Flags().IntVar(&plan.PIDs[0], "pid-a", 0, "process of A, to measure its CPU time and memory, with its children")
	cmd.Flags().IntVar(&plan.PIDs[1], "pid-b", 0, "process of B, likewise")
	return cmd
}

func newKnee(t *cli.Terminal) *cobra.Command {
	var f loadFlags
	var r requestFlags
	plan := load.KneePlan{Max: 100_000, Precision: 0.05, Pause: 500 * time.Millisecond, Objective: load.DefaultObjective()}
	cmd := &cobra.Command{
		Use:   "knee [URL] --objective 250ms",
		Short: "Find the highest rate within a latency objective",
		Long: "Doubles an open-loop rate from --rate until it misses the objective, then bisects, and confirms the result " +
			"with a probe of twice the length. --pid adds the CPU time per request at the knee, and requests per " +
			"second and core.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.onTarget(cmd, t, &r, args, func(ctx context.Context, target load.Target) (measured, error) {
				f.options.PID = f.pid
				plan.Start, plan.Probe, plan.Arrivals, plan.Seed = f.rate, f.duration, load.Arrivals(f.arrivals), f.seed
				knee, runs, err := f.options.FindKnee(ctx, target, plan)
				got := measured{report: knee, runs: runs}
				for _, p := range knee.Probes {
					got.labels = append(got.labels, fmt.Sprintf("%.6g/s", p.Rate))
				}
				return got, err
			})
		},
	}
	f.add(cmd)
	f.addBehind(cmd)
	r.add(cmd)
	r.addDirect(cmd)
	addURL(cmd)
	addObjective(cmd, &plan.Objective)
	cmd.Flags().Lookup("rate").Usage = "initial rate, requests per second"
	cmd.Flags().Lookup("duration").Usage = "duration of one probe"
	cmd.Flags().IntVar(&f.pid, "pid", 0,
		"the server's process, to measure its CPU time and memory in each probe, with its children")
	cmd.Flags().Float64Var(&plan.Max, "max-rate", plan.Max, "highest rate to try")
	cmd.Flags().Float64Var(&plan.Precision, "precision", plan.Precision, "relative precision of the knee")
	cmd.Flags().DurationVar(&plan.Pause, "pause", plan.Pause, "pause between probes")
	return cmd
}

func newOverload(t *cli.Terminal) *cobra.Command {
	var f loadFlags
	var r requestFlags
	plan := load.OverloadPlan{Factor: 2, Objective: load.DefaultObjective()}
	cmd := &cobra.Command{
		Use:   "overload [URL] --rate R --factor K",
		Short: "Overload a server and measure how it recovers",
		Long: "Sends at --rate, at K times that rate, and at --rate again, for --duration each. Reports goodput, the " +
			"latency of accepted and of rejected requests, and the time to recover.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.onTarget(cmd, t, &r, args, func(ctx context.Context, target load.Target) (measured, error) {
				plan.Rate, plan.Phase = f.rate, f.duration
				if err := plan.Validate(); err != nil {
					return measured{}, err
				}
				s, err := load.NewSchedule(plan.Profile(), load.Arrivals(f.arrivals), f.seed)
				if err != nil {
					return measured{}, err
				}
				return summarise(plan.Summarise)(f.open(ctx, t, target, s))
			})
		},
	}
	f.add(cmd)
	r.add(cmd)
	r.addDirect(cmd)
	addURL(cmd)
	addObjective(cmd, &plan.Objective)
	cmd.Flags().Lookup("duration").Usage = "duration of each of the three phases"
	cmd.Flags().Float64Var(&plan.Factor, "factor", plan.Factor, "overload factor: multiple of --rate")
	return cmd
}

func newSoak(t *cli.Terminal) *cobra.Command {
	var f loadFlags
	var r requestFlags
	w := load.Watcher{Every: time.Second}
	cmd := &cobra.Command{
		Use:   "soak [URL] --pid PID --duration 1h",
		Short: "Send load for a long time and track the server's resources",
		Long: "Sends on a schedule while sampling memory, file descriptors and threads of a process and its children " +
			"from /proc, and goroutines from its metrics. Reports the slopes.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.onTarget(cmd, t, &r, args, func(ctx context.Context, target load.Target) (measured, error) {
				s, err := f.schedule()
				if err != nil {
					return measured{}, err
				}
				f.options.PID, w.PID = f.pid, f.pid
				if _, err := w.Look(ctx, 0); err != nil {
					return measured{}, err
				}
				watching, stop := context.WithCancel(ctx)
				defer stop()
				var samples []load.Sample
				var watched error
				done := make(chan struct{})
				go func() { defer close(done); samples, watched = w.Watch(watching) }()
				run, err := f.open(ctx, t, target, s)
				stop()
				<-done
				return summarise(func(run load.Run) load.Soak { return load.SummariseSoak(run, samples, watched) })(run, err)
			})
		},
	}
	f.add(cmd)
	f.addShapes(cmd)
	r.add(cmd)
	r.addDirect(cmd)
	addURL(cmd)
	cmd.Flags().IntVar(&f.pid, "pid", 0, "process to sample, with its children; 0: none")
	cmd.Flags().StringVar(&w.Metrics, "metrics", "", "URL of its metrics, such as http://127.0.0.1:8080/metrics")
	cmd.Flags().DurationVar(&w.Every, "every", w.Every, "sampling interval")
	return cmd
}

func addObjective(cmd *cobra.Command, o *load.Objective) {
	cmd.Flags().DurationVar(&o.Latency, "objective", o.Latency,
		"latency at --quantile, measured from when a request was due")
	cmd.Flags().Float64Var(&o.Quantile, "quantile", o.Quantile, "quantile of latency that must meet --objective")
	cmd.Flags().Float64Var(&o.BadShare, "bad-share", o.BadShare, "share of requests that may fail")
}
