package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Terminal is the standard streams of a command and its environment.
type Terminal struct {
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	Screen bool // err is a terminal: a progress bar makes sense
	asks   bool // somebody can read a question on err and answer it on in
	Env    []string

	hangup atomic.Pointer[func()]
}

// With returns the same terminal for a command with more in its environment.
func (t *Terminal) With(env ...string) *Terminal {
	return &Terminal{
		In: t.In, Out: t.Out, Err: t.Err, Screen: t.Screen, asks: t.asks, Env: slices.Concat(t.Env, env),
	}
}

// OnHangup makes f the answer to SIGHUP, which otherwise ends the command as
// SIGTERM does.
func (t *Terminal) OnHangup(f func()) { t.hangup.Store(&f) }

// Hangup reports whether SIGHUP is answered by a function, and calls it.
func (t *Terminal) Hangup() bool {
	f := t.hangup.Load()
	if f != nil {
		(*f)()
	}
	return f != nil
}

// SystemTerminal returns the terminal of the process.
func SystemTerminal() *Terminal {
	screen := term.IsTerminal(int(os.Stderr.Fd()))
	return &Terminal{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Screen: screen,
		asks: screen && term.IsTerminal(int(os.Stdin.Fd())), Env: os.Environ(),
	}
}

// Note writes a line to standard error.
func (t *Terminal) Note(format string, args ...any) {
	fmt.Fprintf(t.Err, format+"\n", args...)
}

// Upload returns a writer that counts the bytes sent of total, and a function
// that clears its bar. Once all are sent the server works, and says nothing
// until it is done.
func (t *Terminal) Upload(total int64, what string) (count io.Writer, done func()) {
	if !t.Screen {
		return io.Discard, func() {}
	}
	bar := progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(t.Err),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(65*time.Millisecond),
		progressbar.OptionOnCompletion(func() {
			fmt.Fprint(t.Err,
				"\rvalidating, loading into every Triton, replaying golden scores ...")
		}))
	return bar, func() { fmt.Fprint(t.Err, "\r\033[K") }
}

// Progress is a progress bar on a terminal, and nothing in a pipe. The zero value
// is not visible.
type Progress struct{ bar *progressbar.ProgressBar }

// Progress starts a bar for total items. There is none for fewer than three.
func (t *Terminal) Progress(total int, what string) Progress {
	if !t.Screen || total < 3 {
		return Progress{}
	}
	return Progress{progressbar.NewOptions(total,
		progressbar.OptionSetWriter(t.Err),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(65*time.Millisecond),
		progressbar.OptionClearOnFinish())}
}

// Visible reports whether there is a bar.
func (p Progress) Visible() bool { return p.bar != nil }

// Clear makes room for a line of output. The next step draws the bar again.
func (p Progress) Clear() {
	if p.bar != nil {
		_ = p.bar.Clear() // a terminal that went away takes its bar with it
	}
}

// Step counts one item done.
func (p Progress) Step() {
	if p.bar != nil {
		_ = p.bar.Add(1)
	}
}

// Set sets the number of items done.
func (p Progress) Set(n int) {
	if p.bar != nil {
		_ = p.bar.Set(n)
	}
}

// Done removes the bar.
func (p Progress) Done() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
