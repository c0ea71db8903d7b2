// Command corpus holds the pixels against Pillow's over folders of image files
// that nobody here wrote.
//
//	go run ./tools/corpus -pillow PYTHON [-pillow PYTHON] FOLDER...
//
// Every PNG, JPEG, WebP and GIF in the folders, told by its first bytes, is
// decoded by this project and by the Pillow of each PYTHON, and compared at
// full size and, by that Pillow's recipe, after resize and crop. It prints
// Markdown: a table by folder and format, and below it each file on which they
// do not agree, by reason, and how many neither decodes. It exits with 1 when
// pixels differ.
//
// "make corpus" makes the Python environments; docs/preprocessing.md says where
// folders come from.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/agiqa/agiqa/benchmarks/preprocess"
	"github.com/agiqa/agiqa/quality"
)

func main() {
	var pythons []string
	flag.Func("pillow", "a Python with Pillow and NumPy; may be repeated", func(python string) error {
		pythons = append(pythons, python)
		return nil
	})
	maxPixels := flag.Int64("max-pixels", 100_000_000, "the largest picture that this project decodes here")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, pythons, *maxPixels, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		stop()
		os.Exit(1)
	}
}

var errDiffer = errors.New("pixels differ from Pillow's")

func run(ctx context.Context, w io.Writer, pythons []string, maxPixels int64, folders []string) error {
	if len(pythons) == 0 || len(folders) == 0 {
		return errors.New("give a Python with Pillow as -pillow, and folders of images")
	}
	ours, err := newOurs(maxPixels)
	if err != nil {
		return err
	}
	var references []reference
	for _, python := range pythons {
		p, err := preprocess.StartPillow(ctx, python, -1)
		if err != nil {
			return err
		}
		defer p.Close() //nolint:errcheck // its answers are in
		references = append(references, newPillow(p))
	}
	results, err := compareAll(ctx, ours, references, folders)
	if err != nil {
		return err
	}
	report(w, ours.p.ID("", quality.Pillow12), references, results)
	if count(results, differ) > 0 {
		return errDiffer
	}
	return nil
}
