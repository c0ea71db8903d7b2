package server

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/internal/config"
)

type selfTest struct{ err error }

func (s selfTest) SelfTest(context.Context) error { return s.err }

// TestReadinessNamesTheDecoderThatIsOff: a preparer that gives other pixels
// than Pillow makes the server unready, and says whose they are.
func TestReadinessNamesTheDecoderThatIsOff(t *testing.T) {
	preparer, err := NewPreparer(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	if err := selfTestCheck(preparer).Run(t.Context()); err != nil {
		t.Error(err)
	}
	check := selfTestCheck(selfTest{errors.New("the webp decoder is off")})
	if err := check.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "the webp decoder is off") {
		t.Errorf("error %v, want one that names the decoder", err)
	}
	if !check.Critical || check.Name != "preprocessing" {
		t.Errorf("check %q, critical %v", check.Name, check.Critical)
	}
}
