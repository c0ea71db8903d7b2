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
	env    []string
}

func systemTerminal() *terminal {
	return &terminal{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		screen: term.IsTerminal(int(os.Stderr.Fd())), env: os.Environ(),
	}
}

// note tells the person something that is not the result.
func (t *terminal) note(format string, args ...any) {
	fmt.Fprintf(t.err, format+"\n", args...)
}

// progress returns a function that counts one of total done, and one that
// clears the bar. In a pipe, and for less than three, there is no bar.
func (t *terminal) progress(total int, what string) (step, done func()) {
	if !t.screen || total < 3 {
		return func() {}, func() {}
	}
	bar := progressbar.NewOptions(total,
		progressbar.OptionSetWriter(t.err),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(65*time.Millisecond),
		progressbar.OptionClearOnFinish())
	return func() { _ = bar.Add(1) }, func() { _ = bar.Finish() }
}
