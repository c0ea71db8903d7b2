package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// startFault is what was found damaged, or could not be written, when the server
// started. It scores without it.
type startFault struct {
	check    string // of /readyz
	critical bool   // nothing is scored by default because of it
	detail   string // one sentence
}

// degrade notes a fault that the server starts with. The cause is for the log.
func (s *Server) degrade(f startFault, cause error) {
	s.logger.Warn("starting degraded: "+f.detail, "check", f.check, "cause", cause)
	s.faults = append(s.faults, f)
}

// faultChecks are red or yellow until the next start.
func faultChecks(faults []startFault) []gateway.Check {
	var all []gateway.Check
	for _, f := range faults {
		all = append(all, gateway.Check{Name: f.check, Critical: f.critical, Run: func(context.Context) error {
			return quality.Errorf(quality.KindStoreUnavailable, "%s", f.detail)
		}})
	}
	return all
}

// diskFaults are errors of a disk or a file that may go away, or that somebody has
// to mend: a server can score meanwhile.
var diskFaults = []error{fs.ErrPermission, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EIO,
	syscall.ESTALE}

// diskFault returns in a few words what is wrong with a disk, "" for an error that
// is none of it.
func diskFault(err error) string {
	for _, fault := range diskFaults {
		if errors.Is(err, fault) {
			return fault.Error()
		}
	}
	return ""
}

// tryWriting finds out whether files can be written in a folder. Permissions don't
// tell: the disk may be full, or mounted read-only.
func tryWriting(dir string) error {
	f, err := os.CreateTemp(dir, ".write-")
	if err != nil {
		return err
	}
	_, err = f.WriteString("agiqa\n")
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// temporaryFolder takes the place of a data folder that can't be written, for what
// an embedded Triton needs while it runs.
func temporaryFolder() (dir string, release func() error, err error) {
	if dir, err = os.MkdirTemp("", "agiqa-"); err != nil {
		return "", nil, err
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}

// inDataFolder names a file of the data folder for people who may not know where
// that is.
func inDataFolder(path string) string { return filepath.Base(path) + " in the data folder" }
