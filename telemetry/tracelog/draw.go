package tracelog

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Summary is a trace in one line.
type Summary struct {
	Trace    string        `json:"trace_id"`
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"duration_ns"`
	Name     string        `json:"name"` // of the root
	Spans    int           `json:"spans"`
	Request  bool          `json:"request"`          // the root is a server span: somebody asked
	Error    bool          `json:"error"`            // of the root
	Status   string        `json:"status,omitempty"` // http.response.status_code of the root
}

// serverKind is SPAN_KIND_SERVER.
const serverKind = 2

// Summaries groups spans into traces, the latest first.
func Summaries(spans []Span) []Summary {
	byTrace := map[string][]Span{}
	for _, s := range spans {
		byTrace[s.Trace] = append(byTrace[s.Trace], s)
	}
	out := make([]Summary, 0, len(byTrace))
	for id, of := range byTrace {
		roots := newForest(of).roots
		root := roots[0]
		sum := Summary{Trace: id, Start: time.Unix(0, int64(root.Start)), Duration: length(root), Name: root.Name,
			Spans: len(of), Request: root.Kind == serverKind, Error: root.Status.Code == 2}
		for _, a := range root.Attributes {
			if a.Key == "http.response.status_code" {
				sum.Status = a.Text()
			}
		}
		out = append(out, sum)
	}
	slices.SortFunc(out,
		func(a, b Summary) int { return cmp.Or(b.Start.Compare(a.Start), strings.Compare(a.Trace, b.Trace)) })
	return out
}

func length(s Span) time.Duration {
	if s.End < s.Start { // clocks of two processes
		return 0
	}
	return time.Duration(s.End - s.Start)
}

// forest is the spans of one trace by their parents. Spans whose parent never
// arrived are roots too, after the real ones.
type forest struct {
	roots    []Span
	children map[string][]Span
}

func newForest(spans []Span) forest {
	f := forest{children: map[string][]Span{}}
	known := map[string]bool{}
	for _, s := range spans {
		known[s.ID] = true
	}
	var orphans []Span
	for _, s := range spans {
		switch {
		case s.Parent == "" || s.Parent == s.ID:
			f.roots = append(f.roots, s)
		case !known[s.Parent]:
			orphans = append(orphans, s)
		default:
			f.children[s.Parent] = append(f.children[s.Parent], s)
		}
	}
	f.roots = append(f.roots, orphans...)
	if len(f.roots) == 0 { // every span names another as its parent, in a ring
		f.roots = spans[:1]
	}
	return f
}

// Options of a drawing.
type Options struct {
	Width      int  // columns; at least 60 are used
	Attributes bool // below each span
}

// Draw writes the spans of one trace as a tree beside a time line.
func Draw(w io.Writer, spans []Span, o Options) error {
	if len(spans) == 0 {
		return nil
	}
	d := drawing{forest: newForest(spans), options: o, from: spans[0].Start, drawn: map[string]bool{}}
	services := []string{}
	for _, s := range spans {
		d.from, d.to = min(d.from, s.Start), max(d.to, s.End)
		if s.Service != "" && !slices.Contains(services, s.Service) {
			services = append(services, s.Service)
		}
	}
	for _, root := range d.roots {
		d.add(root, "", "", 0)
	}
	fmt.Fprintf(&d.out, "trace %s  %s  %d spans of %s  at %s\n\n", spans[0].Trace,
		shown(time.Duration(d.to-d.from)), len(spans),
		strings.Join(services, ", "), time.Unix(0, int64(d.from)).UTC().Format("2006-01-02 15:04:05.000 MST"))
	names, who := 0, 0
	for _, r := range d.rows {
		names, who = max(names, utf8.RuneCountInString(r.label)), max(who, len(r.span.Service))
	}
	const duration = 11                                  // "  1234.56 ms"
	bar := max(o.Width, 60) - names - who - duration - 7 // and the spaces and edges between them
	if bar < 12 {
		bar = 12
	}
	for _, r := range d.rows {
		fmt.Fprintf(&d.out, "%s  %-*s  %s %*s\n", padded(r.label, names), who, r.span.Service, d.bar(r.span, bar),
			duration, shown(length(r.span)))
		if o.Attributes {
			for _, a := range r.span.Attributes {
				fmt.Fprintf(&d.out, "%s  %s = %s\n", r.below, a.Key, printable(a.Text()))
			}
		}
	}
	_, err := io.WriteString(w, d.out.String())
	return err
}

type drawing struct {
	forest
	options  Options
	from, to Nanos
	rows     []row
	drawn    map[string]bool // a ring of parents ends here
	out      strings.Builder
}

type row struct {
	label, below string
	span         Span
}

func (d *drawing) add(s Span, lead, branch string, depth int) {
	if d.drawn[s.ID] || depth > 64 {
		return
	}
	d.drawn[s.ID] = true
	label := printable(s.Name)
	if s.Status.Code == 2 {
		label += " (error)"
	}
	below := lead
	switch branch {
	case "├─ ":
		below += "│  "
	case "└─ ":
		below += "   "
	}
	d.rows = append(d.rows, row{label: lead + branch + label, below: below, span: s})
	children := d.children[s.ID]
	for i, c := range children {
		branch := "├─ "
		if i == len(children)-1 {
			branch = "└─ "
		}
		d.add(c, below, branch, depth+1)
	}
}

// bar shows when a span ran within the trace, by eighths of a column at its
// end.
func (d *drawing) bar(s Span, width int) string {
	total := float64(max(d.to-d.from, 1))
	from := int(float64(width) * float64(s.Start-d.from) / total)
	eighths := int(8 * float64(width) * float64(length(s)) / total)
	from = min(from, width-1)
	full := min(eighths/8, width-from)
	text := strings.Repeat(" ", from) + strings.Repeat("█", full)
	if rest := eighths % 8; from+full < width && (rest > 0 || full == 0) {
		text += string([]rune("▏▏▎▍▌▋▊▉")[rest])
		full++
	}
	return "▕" + text + strings.Repeat(" ", width-from-full) + "▏"
}

func padded(s string, width int) string {
	return s + strings.Repeat(" ", width-utf8.RuneCountInString(s))
}

// printable keeps what a service called its spans from writing to the screen
// by other means than letters.
func printable(s string) string {
	if runes := []rune(s); len(runes) > 80 {
		s = string(runes[:79]) + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}

func shown(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}
