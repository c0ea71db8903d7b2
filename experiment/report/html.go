package report

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agiqa/agiqa/experiment/analysis"
)

//go:embed page.html
var pageText string

// ContentSecurityPolicy is what the page needs of a browser: the style in it, by its
// hash, and nothing else. The page says so itself too, for when it was saved.
func ContentSecurityPolicy() string {
	_, rest, _ := strings.Cut(pageText, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; img-src data:; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// page is what the template sees.
type page struct {
	Policy   string
	R        analysis.Report
	Pictures []drawn
	Config   string
}

type drawn struct {
	picture
	SVG template.HTML // made by this package from numbers and escaped names
}

// HTML is the report as one page that loads nothing: pictures are in it, it follows
// the reader's light or dark setting, and fits a phone. It ends soon after ctx, with
// ctx's cause.
func HTML(ctx context.Context, r analysis.Report) ([]byte, error) {
	t, err := template.New("page").Funcs(template.FuncMap{
		"n": number, "between": between, "conclusion": conclusion, "metric": metricName,
		"time":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"counts": countsOf, "percent": percent,
		"colour": func(id any) string { return fmt.Sprintf("arm%d", armIndex(r, fmt.Sprint(id))%len(armColours)) },
		"digest": func(s string) string { return s[:min(len(s), 23)] + "…" },
	}).Parse(pageText)
	if err != nil {
		return nil, err
	}
	p := page{Policy: ContentSecurityPolicy(), R: r}
	for one := range pictures(r) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		svg, err := one.svg()
		if err != nil {
			return nil, err
		}
		p.Pictures = append(p.Pictures, drawn{one, template.HTML(svg)})
	}
	config, err := json.MarshalIndent(r.Experiment, "", "  ")
	if err != nil {
		return nil, err
	}
	p.Config = string(config)
	b := pageBuffer{ctx: ctx}
	if err := t.Execute(&b, p); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// pageBuffer takes a page until its context ends.
type pageBuffer struct {
	bytes.Buffer
	ctx context.Context
}

// Write implements [io.Writer].
func (b *pageBuffer) Write(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	return b.Buffer.Write(p)
}

// countsOf lists named numbers.
func countsOf(m map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, m[name]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func percent(n analysis.Number) string {
	if !n.Known() {
		return "–"
	}
	return fmt.Sprintf("%.3g %%", 100*float64(n))
}
