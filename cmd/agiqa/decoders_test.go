package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/imageprep/native"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/server"
)

// TestDecodersSetting: "go" opens no library, whatever the machine has, and
// the id and the doctor say what works.
func TestDecodersSetting(t *testing.T) {
	found, advice := "", "Go"
	for _, n := range native.Load().Found {
		found, advice = "+webp-1", n.Name()+", Go"
	}
	for setting, want := range map[string]struct{ id, finding string }{
		"go":   {"pillow12-bicubic-224/go-2", "pure Go"},
		"auto": {"pillow12-bicubic-224/go-2" + found, advice},
	} {
		s := config.Default()
		s.Decoders = setting
		var log bytes.Buffer
		preparer, err := server.NewPreparer(context.Background(), s, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if got := preparer.ID("", quality.Pillow12); string(got) != want.id || log.Len() > 0 {
			t.Errorf("%s: id %s, want %s; log %q", setting, got, want.id, log.String())
		}
		if f := lookAtDecoders(t.Context(), s); !f.OK || !strings.Contains(f.Detail, want.finding) {
			t.Errorf("%s: finding %+v, want %q in it", setting, f, want.finding)
		}
	}
}
