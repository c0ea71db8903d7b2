package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// Logs are for their owner only: an error of a model may quote what it was sent.
const logMode = 0o600

// rotateLog renames the log at path, if there is one, to the old log.
func rotateLog(path string) error {
	return errors.Join(ignoreGone(os.Rename(path, path+".1")), ignoreGone(os.Chmod(path+".1", logMode)))
}

// logFile appends to a file and starts a new one when it is full, keeping one
// old file. It drops writes that fail: the server must not block or end because
// a disk is full.
type logFile struct {
	path string
	max  int64
	file *os.File
	size int64
}

func openLog(path string, limit int64) (*logFile, error) {
	l := &logFile{path: path, max: limit}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, logMode)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write implements [io.Writer]. It always reports success.
func (l *logFile) Write(b []byte) (int, error) {
	if l.size+int64(len(b)) > l.max && l.size > 0 {
		// If the new file can't be opened, keep writing to the old one.
		if err := rotateLog(l.path); err == nil {
			old := l.file
			if l.open() == nil {
				old.Close()
			}
		}
	}
	n, _ := l.file.Write(b)
	l.size += int64(n)
	return len(b), nil
}

// Close closes the file.
func (l *logFile) Close() error { return l.file.Close() }

// tailBytes is how much of a log is read for its last lines.
const tailBytes = 64 << 10

// tailLog returns the last n lines of the log at path, including the old log's
// if the current one is shorter. It cuts lines after 500 bytes: the server
// prints tables of any width.
func tailLog(path string, n int) []string {
	lines := lastLines(path, n)
	if len(lines) < n {
		lines = append(lastLines(path+".1", n-len(lines)), lines...)
	}
	return lines
}

func lastLines(path string, n int) []string {
	b, err := lastBytes(path, tailBytes)
	if err != nil {
		return nil
	}
	var lines []string
	for line := range bytes.Lines(b) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) > 0 {
			lines = append(lines, fmt.Sprintf("%.500s", line))
		}
	}
	return lines[max(0, len(lines)-n):]
}

func lastBytes(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(max(0, size-n), io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, n))
}
