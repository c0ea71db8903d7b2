// Package durable writes files that outlive a crash.
package durable

import (
	"errors"
	"io/fs"
	"os"
)

// WriteFile creates a file with exactly that mode, whatever the umask is, and
// waits until the disk has its content. A file that exists is an error.
func WriteFile(name string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}
