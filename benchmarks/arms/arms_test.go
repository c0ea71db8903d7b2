package arms_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"testing/synctest"

	"github.com/agiqa/agiqa/benchmarks/arms"
)

func TestMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := arms.Plan{Counts: []int{1, 4}, Warmup: 1, Duration: time.Second, Seed: 1}
		images := map[int][]int{}
		got, err := arms.Measure(t.Context(), plan, func(_ context.Context, image, n int) error {
			time.Sleep(time.Duration(10*n) * time.Millisecond) // on the test's own clock
			images[image] = append(images[image], n)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		one, four := got[0], got[1]
		if one.Requests != 20 || four.Requests != 20 || one.P50MS != 10 || four.P99MS != 40 || four.MeanMS != 40 ||
			one.PerSecond != 100 || one.MeanRatio != 1 || four.MeanRatio != 4 || four.MedianPaired != 4 {
			t.Errorf("results %+v", got)
		}
		for image, counts := range images {
			if len(counts) != 2 || counts[0] == counts[1] {
				t.Errorf("image %d was scored by %v checkpoints, want each count once", image, counts)
			}
		}
		boom := errors.New("boom")
		if _, err := arms.Measure(t.Context(), plan, func(context.Context, int, int) error { return boom }); !errors.Is(err,
			boom) {
			t.Errorf("error %v, want boom", err)
		}
	})
}

func TestReport(t *testing.T) {
	r := arms.Report{
		Manifest: arms.NewManifest(time.Unix(0, 0), "agiqa bench arms", "abc", arms.DefaultPlan()),
		Results:  arms.Summarise([]int{1, 32}, [][]float64{{10, 20}, {11, 22}}),
	}
	dir := filepath.Join(t.TempDir(), "out")
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	var again arms.Report
	if err := json.Unmarshal(read("results.json"), &again); err != nil || again.Results[1] != r.Results[1] ||
		again.Results[1].MeanRatio != 1.1 {
		t.Errorf("results.json: %v, %+v", err, again)
	}
	if text := read("results.txt"); !bytes.Contains(text, []byte("1.100")) {
		t.Errorf("results.txt:\n%s", text)
	}
	for d := xml.NewDecoder(bytes.NewReader(read("results.svg"))); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("results.svg: %v", err)
		}
	}
}
