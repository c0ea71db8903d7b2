package imageprep_test

import (
	"context"
	"testing"

	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// TestInspectAgreesWithPrepare: the same facts about what is accepted, the
// same kind of error for what the limits refuse.
func TestInspectAgreesWithPrepare(t *testing.T) {
	p := newPreparer(t)
	files := testimages.Named()
	for name, data := range testimages.Hostile() {
		files[name] = data
	}
	files["too large"] = make([]byte, 20_000_001)
	files["text"] = []byte("no image")
	files["scan flood"] = testimages.ScanFlood(64, 64, 31)
	for name, data := range files {
		in, err := p.Inspect(data)
		img, prepareErr := p.Prepare(context.Background(), data)
		if in.Info != img.Info || (err == nil) != (prepareErr == nil) || err != nil &&
			quality.KindOf(err) != quality.KindOf(prepareErr) {
			t.Errorf("%s: Inspect says %+v, %v; Prepare %+v, %v", name, in.Info, err, img.Info, prepareErr)
		}
	}
}
