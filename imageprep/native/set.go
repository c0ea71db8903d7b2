package native

import (
	"fmt"
	"strings"

	"github.com/agiqa/agiqa/imageprep"
)

// Set is what was found on this machine.
type Set struct {
	Found   []imageprep.Native
	Missing []Missing
}

// Missing is a library that could not be used.
type Missing struct {
	Format  imageprep.Format
	Package string // Debian's name for what would bring it; empty where none would
	Err     error
}

// Advice is the command that installs what is missing, or "".
func (s *Set) Advice() string {
	var packages []string
	for _, m := range s.Missing {
		if m.Package != "" {
			packages = append(packages, m.Package)
		}
	}
	if packages == nil {
		return ""
	}
	return "apt-get install " + strings.Join(packages, " ")
}

// checkSize guards the memory that C code writes to.
func checkSize(dst, data []byte, width, height int) error {
	if len(data) == 0 {
		return fmt.Errorf("no data")
	}
	if width < 1 || height < 1 || width > 1<<16 || height > 1<<16 || len(dst) < 3*width*height {
		return fmt.Errorf("%d bytes for %d x %d pixels", len(dst), width, height)
	}
	return nil
}
