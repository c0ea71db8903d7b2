// Command audit looks for known vulnerabilities: govulncheck asks whether the
// program can reach one in a Go module or the standard library, and every pin of
// the lock files is looked up in the OSV database (https://osv.dev), which has
// the advisories of the Python Packaging Authority and of npm.
//
//	go run ./tools/audit [-required]
//
// It ends with status 1 where something is found. A database that can't be
// reached is skipped with a line; -required makes that a failure.
//
//	GOVULNDB  database of Go's vulnerabilities, https:// or file://
//	OSV_URL   a server with OSV's API
//
// Findings that don't concern this project are listed in accepted.txt with the
// reason.
package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/agiqa/agiqa/tools/locks"
)

//go:embed accepted.txt
var acceptedList string

func main() {
	required := flag.Bool("required", false, "fail where a database can't be reached")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	a := audit{
		root: ".", tools: "tools/gotools.mod", out: os.Stdout, client: &http.Client{Timeout: 30 * time.Second},
		goDB:   cmp.Or(os.Getenv("GOVULNDB"), "https://vuln.go.dev"),
		osvURL: cmp.Or(os.Getenv("OSV_URL"), "https://api.osv.dev"),
	}
	skipped, err := a.run(ctx, acceptedList)
	if *required {
		err = errors.Join(err, skipped)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "audit:", strings.ReplaceAll(err.Error(), "\n", "\naudit: "))
		stop()
		os.Exit(1)
	}
}

// errFound is the error of an audit that found something, which it printed.
var errFound = errors.New("vulnerabilities were found: upgrade, or accept one in tools/audit/accepted.txt with the " +
	"reason")

// unreachableError is the error of a part that was skipped.
type unreachableError struct {
	setting, database string
	cause             error
}

func (e *unreachableError) Error() string {
	return fmt.Sprintf("%s can't be reached (%v): set %s to a copy", e.database, e.cause, e.setting)
}

func (e *unreachableError) Unwrap() error { return e.cause }

type audit struct {
	root         string // of the module
	tools        string // the go.mod that pins govulncheck
	out          io.Writer
	client       *http.Client
	goDB, osvURL string
}

// run prints what it finds and what it skips, and returns both as errors.
func (a audit) run(ctx context.Context, accepted string) (skipped, err error) {
	reasons, err := parseAccepted(accepted)
	if err != nil {
		return nil, err
	}
	pins, err := a.readPins()
	if err != nil {
		return nil, err
	}
	for _, part := range []struct {
		what  string
		check func() (string, error)
	}{
		{"Go modules", func() (string, error) { return a.goModules(ctx) }},
		{"Python and npm packages", func() (string, error) { return a.pins(ctx, pins, reasons) }},
	} {
		summary, fault := part.check()
		if _, ok := errors.AsType[*unreachableError](fault); ok {
			summary = "SKIPPED, " + fault.Error()
			skipped = errors.Join(skipped, fault)
		} else if fault != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", part.what, fault))
			continue
		}
		fmt.Fprintf(a.out, "%s: %s\n", part.what, summary)
	}
	return skipped, err
}

// readPins reads every lock file; the pins name it relative to the root.
func (a audit) readPins() ([]locks.Pin, error) {
	files, err := locks.Files(a.root)
	if err != nil {
		return nil, err
	}
	var pins []locks.Pin
	for _, file := range files {
		read, err := locks.Read(filepath.Join(a.root, file))
		if err != nil {
			return nil, err
		}
		for i := range read {
			read[i].File = file
		}
		pins = append(pins, read...)
	}
	return pins, nil
}

// goModules runs govulncheck on the program.
func (a audit) goModules(ctx context.Context) (string, error) {
	if strings.HasPrefix(a.goDB, "http") {
		if err := a.reach(ctx, a.goDB+"/index/db.json"); err != nil {
			return "", &unreachableError{"GOVULNDB", a.goDB, err}
		}
	}
	tool := exec.CommandContext(ctx, "go", "tool", "-n", "-modfile="+filepath.Base(a.tools), "govulncheck")
	tool.Dir = filepath.Dir(a.tools)
	var stderr bytes.Buffer
	tool.Stderr = &stderr
	path, err := tool.Output()
	if err != nil {
		return "", fmt.Errorf("build govulncheck: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, strings.TrimSpace(string(path)), "-db", a.goDB, "-C", a.root, "./...")
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 3 {
		fmt.Fprintf(a.out, "%s\n", bytes.TrimSpace(out.Bytes()))
		return "", errFound
	}
	if err != nil {
		return "", fmt.Errorf("govulncheck: %w: %s", err, bytes.TrimSpace(out.Bytes()))
	}
	return "no known vulnerability is reachable", nil
}

// reach reports why an address can't be read.
func (a audit) reach(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := a.client.Do(req)
	if err != nil {
		return plain(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", res.Status)
	}
	return nil
}
