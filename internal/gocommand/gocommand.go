// Package gocommand runs the go command for the project's own checks, which
// read the module graph with it. Nothing that is shipped uses it.
package gocommand

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Output runs go with args in dir and returns what it printed. The error holds
// the arguments and what the command said on its standard error.
func Output(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
