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

// Close frees what the libraries keep between calls. No decoder of the set may
// be in use. The libraries themselves stay loaded.
func (s *Set) Close() {
	for _, n := range s.Found {
		if c, ok := n.(interface{ Close() }); ok {
			c.Close()
		}
	}
}

// checkSize guards the memory that C code writes to.
func checkSize(dst, data []byte, width, height, samples int) error {
	if len(data) == 0 {
		return fmt.Errorf("no data")
	}
	if width < 1 || height < 1 || width > 1<<16 || height > 1<<16 || len(dst) < width*height*samples {
		return fmt.Errorf("%d bytes for %d x %d pixels of %d samples", len(dst), width, height, samples)
	}
	return nil
}
