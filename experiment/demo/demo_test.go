package demo_test

import (
	"bytes"
	"image"
	_ "image/jpeg"
	"math"
	"os"
	"testing"

	"github.com/agiqa/agiqa/experiment/demo"
	"github.com/agiqa/agiqa/experiment/stats"
)

func sources(t *testing.T) []demo.Image {
	t.Helper()
	var all []demo.Image
	for _, name := range []string{"harbour.jpg", "tiles.png"} {
		data, err := os.ReadFile("../../examples/" + name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, demo.Image{Name: name, Data: data})
	}
	return all
}

// Every image is another one, the same ones for the same seed, and readable.
func TestImages(t *testing.T) {
	t.Parallel()
	steps := 0
	images, err := demo.Images(sources(t), 12, 1, func() { steps++ })
	if err != nil {
		t.Fatal(err)
	}
	again, _ := demo.Images(sources(t), 12, 1, func() {})
	seen := map[string]string{}
	for i, m := range images {
		if other, ok := seen[string(m.Data)]; ok {
			t.Errorf("%s and %s are the same", m.Name, other)
		}
		seen[string(m.Data)] = m.Name
		if !bytes.Equal(m.Data, again[i].Data) {
			t.Errorf("%s: the same seed gives another image", m.Name)
		}
		if c, format, err := image.DecodeConfig(bytes.NewReader(m.Data)); err != nil || format != "jpeg" ||
			c.Width < 100 || c.Width > 640 {
			t.Errorf("%s: %s of %+v: %v", m.Name, format, c, err)
		}
	}
	if len(images) != 12 || steps != 12 {
		t.Errorf("got %d images in %d steps", len(images), steps)
	}
	if _, err := demo.Images(nil, 1, 1, func() {}); err == nil {
		t.Error("no source: no error")
	}
	if _, err := demo.Images([]demo.Image{{Name: "text", Data: []byte("text")}}, 1, 1, func() {}); err == nil {
		t.Error("a text: no error")
	}
}

func scores() (control, treatment []float64) {
	for i := range 2000 {
		treatment = append(treatment, 3+0.5*math.Sin(float64(i)))
		control = append(control, treatment[i]+0.4*math.Cos(7*float64(i)))
	}
	return control, treatment
}

// Where the treatment is right its advantage is the mean square of what the
// control is off by, 0.08; where the truth is half way between the two it is
// nothing. Image noise moves neither by more than four standard errors.
func TestTruth(t *testing.T) {
	t.Parallel()
	control, treatment := scores()
	for _, tt := range []struct{ share, want float64 }{{1, 0.08}, {0.5, 0}, {0, -0.08}} {
		people, err := demo.Truth{OfTreatment: tt.share, ImageSD: 0.3, Seed: 3}.Opinions(control, treatment)
		if err != nil {
			t.Fatal(err)
		}
		if got, error := demo.Advantage(people, control,
			treatment), 2*0.283*0.3/math.Sqrt(2000); math.Abs(got-tt.want) > 4*error {
			t.Errorf("share %v: got %v, want %v", tt.share, got, tt.want)
		}
	}
	for name, truth := range map[string]demo.Truth{"share": {OfTreatment: 1.1}, "NaN": {OfTreatment: math.NaN()},
		"deviation": {ImageSD: -1}} {
		if _, err := truth.Opinions(control, treatment); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := (demo.Truth{}).Opinions(control, nil); err == nil {
		t.Error("no scores: no error")
	}
}

// Ratings spread about the opinion as those of AGIQA-3K do, and one person in
// twenty rates something else.
func TestRate(t *testing.T) {
	t.Parallel()
	control, treatment := scores()
	people, err := demo.Truth{OfTreatment: 1, ImageSD: 0, Seed: 3}.Opinions(control, treatment)
	if err != nil {
		t.Fatal(err)
	}
	ratings, err := demo.Rate(people, demo.Raters(1, 4))
	if err != nil {
		t.Fatal(err)
	}
	var careful, careless stats.Moments
	for i, image := range ratings {
		if len(image) != 5 {
			t.Fatalf("image %d: %d ratings", i, len(image))
		}
		for _, r := range image {
			if r.Value < demo.Lowest || r.Value > demo.Highest || math.Mod(r.Value, 0.5) != 0 {
				t.Errorf("a rating of %v", r.Value)
			}
			m := &careful
			if r.Rater == 0 {
				m = &careless
			}
			_ = m.Add(r.Value - people[i].MOS)
		}
	}
	if careful.SD() < 0.6 || careful.SD() > 0.75 || math.Abs(careful.Mean()) > 0.15 {
		t.Errorf("ratings are off by %v with deviation %v", careful.Mean(), careful.SD())
	}
	if careless.SD() < careful.SD()+0.05 {
		t.Errorf("the careless one has deviation %v, the others %v", careless.SD(), careful.SD())
	}
}
