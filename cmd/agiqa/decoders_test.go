package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/imageprep/native"
	"github.com/agiqa/agiqa/internal/config"
)

// brokenDecoder draws black.
type brokenDecoder struct{}

func (brokenDecoder) Format() imageprep.Format { return imageprep.JPEG }
func (brokenDecoder) Name() string             { return "libbroken 0.1" }
func (brokenDecoder) Tag() string              { return "broken-1" }
func (brokenDecoder) Decode(dst, _ []byte, _, _, _ int) error {
	clear(dst)
	return nil
}

// TestUnsoundDecodersAreLeftOut: the fault names the decoder.
func TestUnsoundDecodersAreLeftOut(t *testing.T) {
	sound, faults := verified(t.Context(), []imageprep.Native{brokenDecoder{}})
	if len(sound) != 0 || len(faults) != 1 || !strings.Contains(faults[0].Error(), "libbroken 0.1") {
		t.Errorf("sound %v, faults %v; want no decoder and one fault that names libbroken 0.1", sound, faults)
	}
}

// TestReadinessNamesTheDecoderThatIsOff: a preparer that gives other pixels
// than Pillow makes the server unready, and says whose they are.
func TestReadinessNamesTheDecoderThatIsOff(t *testing.T) {
	for name, tc := range map[string]struct {
		natives []imageprep.Native
		want    string
	}{"sound": {nil, ""}, "broken": {[]imageprep.Native{brokenDecoder{}}, "libbroken 0.1"}} {
		preparer, err := imageprep.New(imageprep.DefaultConfig(), tc.natives...)
		if err != nil {
			t.Fatal(err)
		}
		check := selfTested(preparer)
		if err := check.Run(t.Context()); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
		if !check.Critical || check.Name != "preprocessing" {
			t.Errorf("%s: check %q, critical %v", name, check.Name, check.Critical)
		}
	}
}

// TestDecodersSetting: "go" opens no library, whatever the machine has, and
// the id and the doctor say what works.
func TestDecodersSetting(t *testing.T) {
	tags := map[imageprep.Format]string{imageprep.JPEG: "+turbo-1", imageprep.WebP: "+webp-1"}
	found := ""
	advice := "Go"
	set := native.Load()
	for _, n := range set.Found {
		found += tags[n.Format()]
	}
	if len(set.Missing) == 0 {
		advice = set.Found[0].Name() + ", " + set.Found[1].Name() + ", Go"
	}
	for setting, want := range map[string]struct{ id, finding string }{
		"go":   {"pillow-bicubic-224/go-1", "pure Go"},
		"auto": {"pillow-bicubic-224/go-1" + found, advice},
	} {
		s := config.Default()
		s.Decoders = setting
		var log bytes.Buffer
		preparer, libraries, err := newPreparer(context.Background(), s, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		defer libraries.Close()
		if got := preparer.ID(""); string(got) != want.id || log.Len() > 0 {
			t.Errorf("%s: id %s, want %s; log %q", setting, got, want.id, log.String())
		}
		if f := lookAtDecoders(t.Context(), s); !f.OK || !strings.Contains(f.Detail, want.finding) {
			t.Errorf("%s: finding %+v, want %q in it", setting, f, want.finding)
		}
	}
}
