package load_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/benchmarks/load"
)

func pictures() []load.Picture {
	return []load.Picture{{Name: "a", Data: []byte("first")}, {Name: "b", Data: []byte("the second")},
		{Name: "c", Data: []byte("third!")}}
}

func workload(t *testing.T, change func(*load.PicturesConfig)) *load.Pictures {
	t.Helper()
	cfg := load.PicturesConfig{Pictures: pictures(), Pick: load.InTurn, Form: load.Raw,
		CheckpointPick: load.InTurn, Seed: 5}
	if change != nil {
		change(&cfg)
	}
	w, err := load.NewPictures(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// image takes the image out of a payload as a server does.
func image(t *testing.T, p load.Payload) []byte {
	t.Helper()
	body := bytes.Join(p.Body, nil)
	kind, params, err := mime.ParseMediaType(p.ContentType)
	if err != nil {
		t.Fatal(err)
	}
	switch kind {
	case "multipart/form-data":
		part, err := multipart.NewReader(bytes.NewReader(body), params["boundary"]).NextPart()
		if err != nil || part.FormName() != "image" {
			t.Fatalf("part %v: %v", part, err)
		}
		if body, err = io.ReadAll(part); err != nil {
			t.Fatal(err)
		}
	case "application/json":
		var doc struct{ Images []struct{ Data string } }
		if err := json.Unmarshal(body, &doc); err != nil || len(doc.Images) != 1 {
			t.Fatalf("%v: %s", err, body)
		}
		if body, err = base64.StdEncoding.DecodeString(doc.Images[0].Data); err != nil {
			t.Fatal(err)
		}
	}
	return body
}

func TestFormsCarryTheImage(t *testing.T) {
	t.Parallel()
	for _, form := range []load.Form{load.Raw, load.Multipart, load.JSON} {
		for _, unique := range []bool{false, true} {
			w := workload(t, func(c *load.PicturesConfig) { c.Form, c.Unique = form, unique })
			seen := map[string]bool{}
			again := workload(t, func(c *load.PicturesConfig) { c.Form, c.Unique = form, unique })
			for n := range 30 {
				var p load.Payload
				again.Fill(n, &p) // another run of the same seed
				seen[string(image(t, p))] = true
				p = load.Payload{}
				w.Fill(n, &p)
				got, want := image(t, p), pictures()[n%3].Data
				if !bytes.HasPrefix(got, want) || unique != (len(got) == len(want)+16) {
					t.Errorf("%s, unique %v: request %d carries %q, want %q", form, unique, n, got, want)
				}
				seen[string(got)] = true
			}
			if want := map[bool]int{false: 3, true: 60}[unique]; len(seen) != want {
				t.Errorf("%s, unique %v: %d different images, want %d", form, unique, len(seen), want)
			}
		}
	}
}

// TestPicks holds that content depends on the seed alone, and is spread as it
// is said to be.
func TestPicks(t *testing.T) {
	t.Parallel()
	const requests = 30_000
	for _, c := range []struct {
		pick   load.Pick
		shares []float64
	}{
		{load.InTurn, []float64{1. / 3, 1. / 3, 1. / 3}},
		{load.Uniform, []float64{1. / 3, 1. / 3, 1. / 3}},
		{load.Zipf, []float64{6. / 11, 3. / 11, 2. / 11}}, // 1, 1/2, 1/3
	} {
		config := func(cfg *load.PicturesConfig) {
			cfg.Pick, cfg.ZipfS, cfg.Units, cfg.UnitHeader = c.pick, 1, 4, "X-Unit"
			cfg.Checkpoints, cfg.CheckpointPick = []string{"one", "a b"}, load.Uniform
		}
		w, again := workload(t, config), workload(t, config)
		images, checkpoints, units := map[string]int{}, map[string]int{}, map[string]int{}
		for n := range requests {
			var p, q load.Payload
			w.Fill(n, &p)
			again.Fill(n, &q)
			if !slices.EqualFunc(p.Body, q.Body, bytes.Equal) || !bytes.Equal(p.Query, q.Query) ||
				!bytes.Equal(p.Header, q.Header) {
				t.Fatalf("request %d differs between two workloads of one seed", n)
			}
			images[string(p.Body[0])]++
			checkpoints[string(p.Query)]++
			units[string(p.Header)]++
		}
		near := func(what string, got int, share float64) {
			if d := float64(got)/requests - share; d > 0.015 || d < -0.015 {
				t.Errorf("%s: %s has a share of %.3f, want %.3f", c.pick, what, float64(got)/requests, share)
			}
		}
		for i, p := range pictures() {
			near(p.Name, images[string(p.Data)], c.shares[i])
		}
		near("a b", checkpoints["checkpoint=a+b"], 0.5)
		for _, u := range []string{"0", "1", "2", "3"} {
			near("unit "+u, units["X-Unit: unit-"+u+"\r\n"], 0.25)
		}
	}
}
