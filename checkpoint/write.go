package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/agiqa/agiqa/quality"
)

// WriteBundle writes b as the folder dir, which [Open] reads. The folder
// appears whole or not at all, and the same bundle gives the same bytes. A
// folder that already holds them is left alone; one that holds anything else is
// a *[quality.Error] of kind conflict. A bundle without golden cases is one of
// kind checkpoint_invalid; see [Bundle.WithGolden].
func WriteBundle(b *Bundle, dir string) error {
	if len(b.manifest.Golden) == 0 {
		return quality.Errorf(quality.KindCheckpointInvalid, "checkpoint bundle %q: %w", b.manifest.Name, errNoGolden)
	}
	manifest, weights, err := Encode(b)
	if err != nil {
		return err
	}
	var indented bytes.Buffer // people read it
	if err := json.Indent(&indented, manifest, "", "  "); err != nil {
		return fmt.Errorf("%s: %w", ManifestFile, err)
	}
	indented.WriteByte('\n')
	dir, err = filepath.Abs(dir) // so that "." has a name and a parent
	if err != nil {
		return err
	}
	files := folder{ManifestFile: indented.Bytes(), WeightsFile: weights}
	if err := install(filepath.Dir(dir), filepath.Base(dir), files); err != nil {
		return fmt.Errorf("checkpoint bundle %s: %w", dir, err)
	}
	return nil
}
