package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// terminal is where the person sits: the streams, and whether they are a
// screen or a pipe.
type terminal struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	screen bool // err is a terminal: a progress bar makes sense
	asks   bool // somebody can read a question on err and answer it on in
	env    []string
}

func systemTerminal() *terminal {
	screen := term.IsTerminal(int(os.Stderr.Fd()))
	return &terminal{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, screen: screen,
		asks: screen && term.IsTerminal(int(os.Stdin.Fd())), env: os.Environ(),
	}
}

// note tells the person something that is not the result.
func (t *terminal) note(format string, args ...any) {
	fmt.Fprintf(t.err, format+"\n", args...)
}

// upload returns a writer that counts the bytes sent of total, and a function
// that clears its bar. Once all are sent the server works, and says nothing
// until it is done.
func (t *terminal) upload(total int64, what string) (count io.Writer, done func()) {
	if !t.screen {
		return io.Discard, func() {}
	}
	bar := progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(t.err),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(65*time.Millisecond),
		progressbar.OptionOnCompletion(func() { fmt.Fprint(t.err, "\rchecking, loading into every Triton, replaying golden scores ...") }))
	return bar, func() { fmt.Fprint(t.err, "\r\033[K") }
}

// progress is a bar on a screen, and nothing in a pipe.
type progress struct{ bar *progressbar.ProgressBar }

// progress starts a bar for total things; for less than three there is none.
func (t *terminal) progress(total int, what string) progress {
	if !t.screen || total < 3 {
		return progress{}
	}
	return progress{progressbar.NewOptions(total,
		progressbar.OptionSetWriter(t.err),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(65*time.Millisecond),
		progressbar.OptionClearOnFinish())}
}

// clear makes room for a line of output. The next step draws the bar again.
func (p progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear() // a terminal that went away takes its bar with it
	}
}

// step counts one thing done.
func (p progress) step() {
	if p.bar != nil {
		_ = p.bar.Add(1)
	}
}

// set says how many things are done.
func (p progress) set(n int) {
	if p.bar != nil {
		_ = p.bar.Set(n)
	}
}

// done removes the bar.
func (p progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
