// Command agiqa scores AI-generated images: it is the gateway, the supervisor of
// an embedded Triton, and the client of both.
//
// This package reads flags and settings, wires the other packages together
// and minds signals. It holds no rule about images, prompts or scores. It is
// the top of every import chain.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
)

func main() {
	os.Exit(run())
}

// run returns the exit status: 0 only when all went well.
func run() int {
	cache.SilenceDriver() // our own log line, once an outage, says more
	terminal := cli.SystemTerminal()
	ctx, stop := signalContext(terminal)
	defer stop()
	err := newRoot(terminal).ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintln(os.Stderr, "agiqa: "+err.Error())
	}
	return 1
}

// signalContext ends at the first SIGINT or SIGTERM. A second one ends the
// process at once; the kernel kills an embedded Triton with it. SIGHUP, which a
// terminal sends when it is closed, counts as SIGTERM unless the command has a use
// for it, or nohup told the process to ignore it.
func signalContext(t *cli.Terminal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		for ended := false; ; {
			s := <-signals
			switch {
			case s == syscall.SIGHUP && (t.Hangup() || ended): // a closed terminal says it after Ctrl-C too
			case ended:
				fmt.Fprintln(os.Stderr, "agiqa: second signal, stopping at once")
				os.Exit(130)
			default:
				ended = true
				cancel(fmt.Errorf("%w: %s", errSignalled, s))
			}
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

var (
	errSignalled = errors.New("stopped by a signal")
	// errReported says that the user has been told already.
	errReported = errors.New("reported")
)

// execute runs the program with arguments.
func execute(ctx context.Context, t *cli.Terminal, args []string) error {
	root := newRoot(t)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}
