package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/benchmarks/preprocess"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// pillow pretends to be one: it gives what the project gives, changed.
func pillow(t *testing.T, recipe quality.Recipe, change func(*preprocess.Converted) error) reference {
	t.Helper()
	o := newOursForTest(t)
	return reference{"Pillow", recipe, func(file []byte) (preprocess.Converted, error) {
		c, err := o.convert(context.Background(), file)
		if err != nil {
			return preprocess.Converted{}, &preprocess.Refusal{Reason: "OSError"}
		}
		out := preprocess.Converted{Width: c.Width, Height: c.Height, RGB: slices.Clone(c.Pix),
			Out: slices.Clone(c.out[recipe])}
		return out, change(&out)
	}}
}

func newOursForTest(t *testing.T) *ours {
	t.Helper()
	o, err := newOurs(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOutcomes(t *testing.T) {
	same := func(*preprocess.Converted) error { return nil }
	refuse := func(*preprocess.Converted) error { return &preprocess.Refusal{Reason: "OSError: broken"} }
	good, bad, tall := testimages.PNG(300, 200), testimages.PNG(300, 200)[:200], testimages.PNG(230, 900)
	otherOut := func(c *preprocess.Converted) error { c.Out[7] += 2; return nil }
	for name, tc := range map[string]struct {
		file       []byte
		references []reference
		want       outcome
		reason     string
	}{
		"equal to both": {good, []reference{pillow(t, quality.Pillow12, same), pillow(t, quality.Pillow13, same)}, equal, ""},
		"one sample": {good,
			[]reference{pillow(t, quality.Pillow12, same), pillow(t, quality.Pillow13, func(c *preprocess.Converted) error {
				c.RGB[5]++
				return nil
			})}, differ, "Pillow: at full size 1 of 180000 samples by at most 1"},
		"another size": {good, []reference{pillow(t, quality.Pillow12, func(c *preprocess.Converted) error {
			c.Width, c.Height = c.Height, c.Width
			return nil
		})}, differ, "300 x 200 pixels, not 200 x 300"},
		"another result": {good, []reference{pillow(t, quality.Pillow13, otherOut)}, differ,
			"after the resize 1 of 150528 samples by at most"},
		"a tall one by both recipes": {tall,
			[]reference{pillow(t, quality.Pillow12, same), pillow(t, quality.Pillow13, same)},
			equal, ""},
		"a tall one by the other recipe": {tall, []reference{{"Pillow", quality.Pillow13,
			pillow(t, quality.Pillow12, same).convert}}, differ, "after the resize"},
		"too narrow to resize there": {good,
			[]reference{pillow(t, quality.Pillow12, func(c *preprocess.Converted) error { c.Out = nil; return nil })}, equal,
			""},
		"refused by one Pillow": {good, []reference{pillow(t, quality.Pillow12, refuse), pillow(t, quality.Pillow13, same)},
			equal, ""},
		"refused by Pillow": {good, []reference{pillow(t, quality.Pillow12, refuse)}, onlyOurs, ""},
		"refused by both":   {bad, []reference{pillow(t, quality.Pillow12, same)}, neither, "image_truncated"},
		"refused by this project": {bad, []reference{{"Pillow", quality.Pillow12, func([]byte) (preprocess.Converted, error) {
			return preprocess.Converted{}, nil
		}}}, onlyPillow, "image_truncated"},
	} {
		t.Run(name, func(t *testing.T) {
			var r result
			if err := r.compare(context.Background(), newOursForTest(t), tc.references, tc.file); err != nil {
				t.Fatal(err)
			}
			if r.outcome != tc.want || !strings.Contains(r.reason, tc.reason) || tc.reason == "" && r.reason != "" {
				t.Errorf("outcome %d, reason %q, want %d, %q", r.outcome, r.reason, tc.want, tc.reason)
			}
		})
	}
}

func TestWalkAndReport(t *testing.T) {
	dir := testimages.Tree(t, map[string][]byte{
		"corpus/a.png": testimages.PNG(8, 8), "corpus/b.txt": []byte("text"), "corpus/deep/no-suffix": testimages.JPEG(8, 8),
		"corpus/cut.png": testimages.PNG(8, 8)[:60], "corpus/e.gif": testimages.GIF(8, 8), "corpus/w.webp": testimages.WebP(),
	})
	link := filepath.Join(t.TempDir(), "corpus")
	if err := os.Symlink(dir+"/corpus", link); err != nil {
		t.Fatal(err)
	}
	p := pillow(t, quality.Pillow12, func(c *preprocess.Converted) error {
		if c.Width == 61 { // the WebP
			c.RGB[0]++
		}
		return nil
	})
	results, err := compareAll(context.Background(), newOursForTest(t), []reference{p}, []string{dir + "/corpus/"})
	if err != nil {
		t.Fatal(err)
	}
	linked, err := compareAll(context.Background(), newOursForTest(t), []reference{p}, []string{link})
	if err != nil || !slices.Equal(linked, results) {
		t.Errorf("through a link: %+v, error %v, want %+v", linked, err, results)
	}
	var out strings.Builder
	report(&out, "id", []reference{p}, results)
	for _, want := range []string{
		"5 files, id against Pillow\n", "| corpus | png | 2 | 1 | 0 | 0 | 0 | 1 |\n",
		"| corpus | jpeg | 1 | 1 | 0 | 0 | 0 | 0 |\n",
		"| corpus | webp | 1 | 0 | 1 | 0 | 0 | 0 |\n", "| all |  | 5 | 3 | 1 | 0 | 0 | 1 |\n",
		"## Other pixels: 1\n", "  - corpus/w.webp\n", "## Decoded by neither: 1\n", "\n- image_truncated: ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "alone") || strings.Contains(out.String(), "cut.png") {
		t.Errorf("a heading without files, or a file that neither decodes:\n%s", &out)
	}
}

func TestRunsThatFail(t *testing.T) {
	o := newOursForTest(t)
	crash := reference{"Pillow", quality.Pillow12, func([]byte) (preprocess.Converted, error) {
		return preprocess.Converted{}, errors.New("exit status 139")
	}}
	dir := testimages.Tree(t, map[string][]byte{"a.png": testimages.PNG(8, 8)})
	if _, err := compareAll(context.Background(), o, []reference{crash}, []string{dir}); err == nil ||
		!strings.Contains(err.Error(), "a.png: Pillow: exit status 139") {
		t.Errorf("a Pillow that ends: error %v", err)
	}
	for name, folder := range map[string]string{"an empty folder": t.TempDir(), "no folder": dir + "/none"} {
		if _, err := compareAll(context.Background(), o, nil, []string{folder}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := run(context.Background(), &strings.Builder{}, nil, 1, []string{dir}); err == nil {
		t.Error("no Pillow: no error")
	}
	if err := run(context.Background(), &strings.Builder{}, []string{"/nowhere/python"}, 1, []string{dir}); err == nil {
		t.Error("a Python that isn't there: no error")
	}
}
