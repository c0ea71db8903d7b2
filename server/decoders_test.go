package server

import (
	"strings"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
)

// brokenDecoder draws black.
type brokenDecoder struct{}

func (brokenDecoder) Format() imageprep.Format { return imageprep.WebP }
func (brokenDecoder) Name() string             { return "libbroken 0.1" }
func (brokenDecoder) Tag() string              { return "broken-1" }
func (brokenDecoder) Decode(dst, _ []byte, _, _ int) error {
	clear(dst)
	return nil
}

// TestUnsoundDecodersAreLeftOut: the fault names the decoder.
func TestUnsoundDecodersAreLeftOut(t *testing.T) {
	sound, faults := VerifyDecoders(t.Context(), []imageprep.Native{brokenDecoder{}})
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
		check := selfTestCheck(preparer)
		if err := check.Run(t.Context()); (err == nil) != (tc.want == "") || err != nil &&
			!strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
		if !check.Critical || check.Name != "preprocessing" {
			t.Errorf("%s: check %q, critical %v", name, check.Name, check.Critical)
		}
	}
}
