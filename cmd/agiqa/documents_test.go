package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
)

// TestOpenAPIHasNotDrifted: the document in the repository is the one that the
// program prints.
func TestOpenAPIHasNotDrifted(t *testing.T) {
	const file = "../../docs/openapi.json"
	committed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	root := newRoot(&cli.Terminal{Out: &out, Err: &errs})
	root.SetArgs([]string{"openapi"})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("agiqa openapi: %v (%s)", err, errs.String())
	}
	if diff := cmp.Diff(string(committed), out.String()); diff != "" {
		t.Errorf("docs/openapi.json differs; if that is meant, run: go run ./cmd/agiqa openapi > "+
			"docs/openapi.json\n(-committed +printed)\n%s", diff)
	}
}
