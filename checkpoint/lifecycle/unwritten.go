package lifecycle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/agiqa/agiqa/quality"
)

// unwritten makes of a file system's error that the store is unavailable, and says
// which folder, to whoever may change checkpoints. Other errors stay as they are.
func unwritten(err error) error {
	if _, ok := errors.AsType[*quality.Error](err); ok {
		return err
	}
	path := ""
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		path = e.Path
	} else if e, ok := errors.AsType[*os.LinkError](err); ok {
		path = e.New
	}
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok || path == "" {
		return err
	}
	folder := filepath.Dir(path)
	if at := strings.Index(folder, string(filepath.Separator)+workFolder); at > 0 {
		folder = folder[:at]
	}
	return quality.Errorf(quality.KindStoreUnavailable, "the folder %s can't be written: %s", folder, errno.Error()).
		Because(err)
}
