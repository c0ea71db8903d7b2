package report_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"image/png"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/analysis/synthetic"
	"github.com/agiqa/agiqa/experiment/report"
)

// of concludes a log, with few resamples.
func of(t testing.TB, log synthetic.Log) analysis.Report {
	t.Helper()
	s, err := analysis.New(log.Experiment, analysis.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range log.Exposures {
		s.Exposure(experiment.Sequenced[experiment.Exposure]{Seq: int64(i + 1), Record: x})
	}
	for i, f := range log.Feedback {
		s.Feedback(experiment.Sequenced[experiment.Feedback]{Seq: int64(i + 1), Record: f})
	}
	o := analysis.DefaultOptions()
	o.Bootstrap.Resamples = 100
	r, err := analysis.Analyse(t.Context(), s, log.End, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sample() synthetic.Options {
	o := synthetic.DefaultOptions()
	o.Images, o.Labelled, o.Pairs, o.Rankings = 300, 300, 50, 10
	return o
}

// elements counts the elements of a page, and lists the attributes by which a page
// can load or run something.
func elements(t testing.TB, page []byte) (counts map[string]int, loads []string, text string) {
	t.Helper()
	counts = map[string]int{}
	var words strings.Builder
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		switch n.Type {
		case html.TextNode:
			words.WriteString(n.Data)
		case html.ElementNode:
			counts[n.Data]++
			for _, a := range n.Attr {
				name := strings.ToLower(a.Key)
				if name == "src" || name == "href" || strings.HasPrefix(name, "on") || strings.Contains(a.Val, "url(") {
					loads = append(loads, n.Data+" "+a.Key+"="+a.Val)
				}
			}
		}
	}
	return counts, loads, words.String()
}

func TestPageIsComplete(t *testing.T) {
	t.Parallel()
	r := of(t, synthetic.New(sample()))
	page, err := report.HTML(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	counts, loads, text := elements(t, page)
	// Two trajectories' worth of pictures: effect, two forests, differences, a scatter
	// for each arm, densities, split, exposures.
	if counts["svg"] != 9 || counts["script"]+counts["link"]+counts["img"]+counts["iframe"] != 0 || len(loads) != 0 {
		t.Errorf("got %v, loads %q", counts, loads)
	}
	for _, want := range []string{
		"The data can be used.", "The numbers were not computed again from the log.", "better than the control",
		r.Experiment.Encoder.String(), r.Worst[0].Trace, "AUC better/worse", "Interleaved rankings",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if len(page) > 300_000 {
		t.Errorf("the page has %d bytes", len(page))
	}
}

// TestPagePolicy: the page's policy allows the style that is in it by its hash, and
// nothing in the page needs more.
func TestPagePolicy(t *testing.T) {
	t.Parallel()
	page, err := report.HTML(t.Context(), of(t, synthetic.New(sample())))
	if err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var policy, style string
	for n := range root.Descendants() {
		if n.Data == "style" {
			style += n.FirstChild.Data
		}
		for _, a := range n.Attr {
			if a.Key == "style" {
				t.Errorf("<%s style=%q>: the policy forbids it", n.Data, a.Val)
			}
			if n.Data == "meta" && a.Key == "content" && strings.Contains(a.Val, "default-src") {
				policy = a.Val
			}
		}
	}
	sum := sha256.Sum256([]byte(style))
	want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	if policy != report.ContentSecurityPolicy() || !strings.Contains(policy, want) || strings.Contains(policy, "unsafe") {
		t.Errorf("the page's policy is %q, that of the package %q; want %s", policy, report.ContentSecurityPolicy(), want)
	}
}

func TestPageSaysFaultsFirst(t *testing.T) {
	t.Parallel()
	r := of(t, synthetic.New(sample()))
	r.Quality.OK, r.Quality.Faults = false, []string{"Arm treatment has no score for 60 labelled images."}
	page, err := report.HTML(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	_, _, text := elements(t, page)
	fault := strings.Index(text, "Arm treatment has no score for 60 labelled images.")
	if fault < 0 || fault > strings.Index(text, "What is known") {
		t.Error("the fault does not come before the figures")
	}
}

// An experiment without a record has a report too.
func TestReportOfNothing(t *testing.T) {
	t.Parallel()
	log := synthetic.New(synthetic.DefaultOptions())
	log.Exposures, log.Feedback = nil, nil
	r := of(t, log)
	page, err := report.HTML(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, text := elements(t, page); !strings.Contains(text, "not decided yet") || strings.Contains(text, "NaN") {
		t.Error("the page does not say that nothing is known")
	}
	if _, err := report.PNG(r); err != nil {
		t.Error(err)
	}
}

func TestSheetHasPictures(t *testing.T) {
	t.Parallel()
	raw, err := report.PNG(of(t, synthetic.New(sample())))
	if err != nil {
		t.Fatal(err)
	}
	sheet, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if size := sheet.Bounds().Size(); size.X < 1100 || size.Y < 1500 {
		t.Errorf("the sheet is %v", size)
	}
	// Every one of the nine places holds more than paper.
	for i := range 9 {
		x0, y0 := 20+i%2*586, 90+i/2*336
		inked := 0
		for x := x0; x < x0+560; x++ {
			for y := y0; y < y0+300; y++ {
				if r, g, b, _ := sheet.At(x, y).RGBA(); r+g+b < 3*0xf000 {
					inked++
				}
			}
		}
		if inked < 500 {
			t.Errorf("picture %d has %d inked points", i, inked)
		}
	}
}

// Names come from whoever defines an experiment and sends images. None of them makes
// an element or an attribute of the page.
func FuzzPageEscapesNames(f *testing.F) {
	o := sample()
	o.Images, o.Labelled, o.Pairs = 120, 110, 20
	r := of(f, synthetic.New(o))
	plain, err := report.HTML(f.Context(), r)
	if err != nil {
		f.Fatal(err)
	}
	want, _, _ := elements(f, plain)
	for _, hostile := range []string{
		"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "</svg></style><h1>", "' onload='x",
		"\x00\xff\xfe", "{{.R}}", "a\nb\tc",
		"#1A1C1E", "]]>", "<!--", "Прив́ет", strings.Repeat("long ", 100),
	} {
		f.Add(hostile)
	}
	f.Fuzz(func(t *testing.T, hostile string) {
		if len(hostile) > 2000 {
			return
		}
		page, err := report.HTML(t.Context(), renamed(r, hostile))
		if err != nil {
			t.Fatal(err)
		}
		got, loads, _ := elements(t, page)
		if len(loads) > 0 {
			t.Errorf("%q loads %q", hostile, loads)
		}
		for name, n := range got {
			// The paragraph of an empty hypothesis is left out.
			if want[name] != n && !(name == "p" && strings.TrimSpace(hostile) == "" || hostile == "") {
				t.Errorf("%q: %d elements %s, want %d", hostile, n, name, want[name])
			}
		}
	})
}

// renamed puts a text wherever a report holds one of a stranger.
func renamed(r analysis.Report, name string) analysis.Report {
	e := r.Experiment
	e.Name, e.Owner, e.Hypothesis = name, name, name
	e.Arms = append([]experiment.Arm(nil), e.Arms...)
	for i := range e.Arms {
		e.Arms[i].Checkpoint = name
	}
	r.Experiment = e
	r.Slices = append([]analysis.Slice(nil), r.Slices...)
	for i := range r.Slices {
		r.Slices[i].Attribute, r.Slices[i].Value = name, name
	}
	r.Worst = append([]analysis.Disagreement(nil), r.Worst...)
	for i := range r.Worst {
		r.Worst[i].Trace = name
	}
	r.Arms = append([]analysis.Arm(nil), r.Arms...)
	for i := range r.Arms {
		r.Arms[i].Faults = map[string]int{name: 1}
	}
	r.Pictures.Scatter = append([]analysis.Scatter(nil), r.Pictures.Scatter...)
	for i := range r.Pictures.Scatter {
		r.Pictures.Scatter[i].Arm = experiment.ArmID(name)
	}
	return r
}
