package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/agiqa/agiqa/benchmarks/preprocess"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/quality"
)

// ours is this project's way.
type ours struct {
	p   *imageprep.Preparer
	rgb imageprep.RGB // memory for the next picture
}

// newOurs accepts whatever Pillow does, as long as it has few enough pixels.
func newOurs(maxPixels int64) (*ours, error) {
	cfg := imageprep.DefaultConfig()
	cfg.MaxBytes, cfg.MaxPixels, cfg.MaxScans, cfg.MemoryBudget = 1<<30, maxPixels, 1000, 16*maxPixels
	p, err := imageprep.New(cfg)
	return &ours{p: p}, err
}

// converted is a picture and what it becomes by each recipe.
type converted struct {
	imageprep.RGB
	out map[quality.Recipe][]byte
}

func (o *ours) convert(ctx context.Context, data []byte) (converted, error) {
	in, err := o.p.Inspect(data)
	if err != nil {
		return converted{}, err
	}
	var views []quality.View
	for _, r := range quality.Recipes() {
		views = append(views, quality.View{}.By(r))
	}
	prepared, err := o.p.PrepareViews(ctx, in, quality.Exact, views)
	if err != nil {
		return converted{}, err
	}
	if o.rgb, err = o.p.DecodeRGB(ctx, data, o.rgb); err != nil {
		return converted{}, fmt.Errorf("at full size: %w", err)
	}
	c := converted{o.rgb, map[quality.Recipe][]byte{}}
	for i, v := range views {
		c.out[v.Recipe()] = prepared.Views[i].Bytes()
	}
	return c, nil
}

// reference is a Pillow.
type reference struct {
	name    string
	recipe  quality.Recipe // by which it resizes
	convert func(file []byte) (preprocess.Converted, error)
}

func newPillow(p *preprocess.Pillow) reference {
	version := p.Versions["pillow"]
	major, _, _ := strings.Cut(version, ".")
	recipe := quality.Pillow12
	if n, err := strconv.Atoi(major); err == nil && n > 12 {
		recipe = quality.Pillow13
	}
	return reference{fmt.Sprintf("Pillow %s (libjpeg-turbo %s, libwebp %s)", version, p.Versions["libjpeg_turbo"],
		p.Versions["webp"]), recipe, p.Convert}
}

// outcome is how this project and Pillow compare on a file.
type outcome int

const (
	equal outcome = iota
	differ
	onlyPillow
	onlyOurs
	neither
	outcomes
)

// result is what came of one file. Reasons are those of who refuses it, or how
// the pixels differ.
type result struct {
	folder, file, format string
	outcome              outcome
	reason, pillow       string
}

func count(results []result, o outcome) (n int) {
	for _, r := range results {
		if r.outcome == o {
			n++
		}
	}
	return n
}

// compareAll walks the folders. Folders have their base names in results.
func compareAll(ctx context.Context, o *ours, references []reference, folders []string) ([]result, error) {
	var results []result
	for _, folder := range folders {
		root, err := filepath.EvalSymlinks(folder)
		if err != nil {
			return nil, err
		}
		err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			format := formatOf(data)
			if format == "" {
				return nil
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			r := result{folder: filepath.Base(filepath.Clean(folder)), file: filepath.ToSlash(name), format: format}
			if err := r.compare(ctx, o, references, data); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			results = append(results, r)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("no PNG, JPEG, WebP or GIF in %s", strings.Join(folders, ", "))
	}
	return results, nil
}

// formatOf is the format by the first bytes, "" for none of the server's.
func formatOf(data []byte) string {
	name, _ := strings.CutPrefix(http.DetectContentType(data), "image/")
	switch name {
	case "png", "jpeg", "webp", "gif":
		return name
	}
	return ""
}

// compare sets the outcome and the reasons. An error is one of the run.
func (r *result) compare(ctx context.Context, o *ours, references []reference, data []byte) error {
	own, err := o.convert(ctx, data)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err != nil {
		r.reason = err.Error()
	}
	decoded := 0
	var differences []string
	for _, ref := range references {
		theirs, theirErr := ref.convert(data)
		var refusal *preprocess.Refusal
		switch {
		case errors.As(theirErr, &refusal):
			r.pillow = refusal.Reason
			continue
		case theirErr != nil:
			return fmt.Errorf("%s: %w", ref.name, theirErr)
		}
		decoded++
		if r.reason == "" {
			if d := difference(own, theirs, ref.recipe); d != "" {
				differences = append(differences, ref.name+": "+d)
			}
		}
	}
	switch {
	case r.reason != "" && decoded > 0:
		r.outcome = onlyPillow
	case r.reason != "":
		r.outcome = neither
	case decoded == 0:
		r.outcome = onlyOurs
	case len(differences) > 0:
		r.outcome, r.reason = differ, strings.Join(differences, "; ")
	}
	return nil
}

// difference is "" where a picture and its result by a recipe are Pillow's.
func difference(own converted, theirs preprocess.Converted, recipe quality.Recipe) string {
	if own.Width != theirs.Width || own.Height != theirs.Height {
		return fmt.Sprintf("%d x %d pixels, not %d x %d", own.Width, own.Height, theirs.Width, theirs.Height)
	}
	if d := samples(own.Pix, theirs.RGB); d != "" {
		return "at full size " + d
	}
	if theirs.Out == nil {
		return ""
	}
	if d := samples(own.out[recipe], theirs.Out); d != "" {
		return "after the resize " + d
	}
	return ""
}

// samples says how many samples differ, and by how much.
func samples(own, theirs []byte) string {
	if bytes.Equal(own, theirs) {
		return ""
	}
	n, most := 0, 0
	for i, v := range own {
		if d := max(int(v)-int(theirs[i]), int(theirs[i])-int(v)); d > 0 {
			n, most = n+1, max(most, d)
		}
	}
	return fmt.Sprintf("%d of %d samples by at most %d", n, len(own), most)
}
