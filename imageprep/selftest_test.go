package imageprep_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
)

// TestSelfTestKnowsTheGoldens: the embedded copies are the goldens, and their
// sums are those that Pillow gave.
func TestSelfTestKnowsTheGoldens(t *testing.T) {
	expected := expectations(t)
	for _, c := range imageprep.SelfTestCases() {
		want := expected[c.Name]
		if c.RGB != hex.EncodeToString(want.RGB[:]) || c.Out != hex.EncodeToString(want.Out[:]) {
			t.Errorf("%s: sums %s, %s; want %x, %x", c.Name, c.RGB, c.Out, want.RGB, want.Out)
		}
		if !bytes.Equal(c.Data, testimages.Golden(c.Name)) {
			t.Errorf("%s is not the golden of that name", c.Name)
		}
	}
}

func TestSelfTestPasses(t *testing.T) {
	if err := newPreparer(t).SelfTest(context.Background()); err != nil {
		t.Error(err)
	}
}

// fakeNative decodes one format by a function.
type fakeNative struct {
	format imageprep.Format
	decode func(dst []byte, width, height, samples int) error
}

func (n fakeNative) Format() imageprep.Format { return n.format }
func (n fakeNative) Name() string             { return "libfake 1.2" }
func (n fakeNative) Tag() string              { return "fake-1" }
func (n fakeNative) Decode(dst, _ []byte, width, height, samples int) error {
	return n.decode(dst, width, height, samples)
}

// TestVerifyNamesTheDecoderThatIsOff: one that draws other pixels, and one
// that refuses whole pictures.
func TestVerifyNamesTheDecoderThatIsOff(t *testing.T) {
	for _, format := range []imageprep.Format{imageprep.JPEG, imageprep.WebP} {
		for name, decode := range map[string]func([]byte, int, int, int) error{
			"other pixels": func(dst []byte, _, _, _ int) error { clear(dst); return nil },
			"refuses":      func([]byte, int, int, int) error { return errors.New("no") },
		} {
			err := imageprep.Verify(context.Background(), fakeNative{format, decode})
			if err == nil || !strings.Contains(err.Error(), "libfake 1.2") {
				t.Errorf("%s, %s: error %v, want one that names libfake 1.2", format, name, err)
			}
		}
	}
}
