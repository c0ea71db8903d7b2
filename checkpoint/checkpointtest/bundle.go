package checkpointtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
)

// WriteBundle writes b as the folder dir, over whatever bundle is there.
func WriteBundle(t testing.TB, b *checkpoint.Bundle, dir string) {
	t.Helper()
	manifest, weights, err := checkpoint.Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		checkpoint.ManifestFile: manifest, checkpoint.WeightsFile: weights,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
