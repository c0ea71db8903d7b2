// Package prerequisites reports whether this machine has what building,
// running and testing a checkout need. The list itself is prerequisites.sh,
// which the Makefile and CI run before there is any Go program.
package prerequisites

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

//go:embed prerequisites.sh
var script string

// The states of an [Item].
const (
	OK       = "ok"
	Missing  = "missing"
	Download = "download" // missing, and fetched by make when it is needed
)

// An Item is one prerequisite and what was found of it.
type Item struct {
	// Name of the prerequisite, such as "go".
	Name string
	// Purpose is the first of build, run and test that needs it.
	Purpose string
	// State is [OK], [Missing] or [Download].
	State string
	// Detail is one line: what was found, or what is wrong.
	Detail string
}

// Status looks for every prerequisite of the checkout in the folder dir. It
// needs bash.
func Status(ctx context.Context, dir string) ([]Item, error) {
	cmd := exec.CommandContext(ctx, "bash", "-s", "--", "status")
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("looking for prerequisites: %w", err)
	}
	var items []Item
	for line := range strings.Lines(string(out)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 4)
		if len(fields) != 4 {
			return nil, fmt.Errorf("looking for prerequisites: unexpected line %q", line)
		}
		items = append(items, Item{Name: fields[0], Purpose: fields[1], State: fields[2], Detail: fields[3]})
	}
	return items, nil
}
