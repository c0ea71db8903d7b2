package tracelog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// The files: the one that is written to, and the one before it.
const (
	currentName = "spans.jsonl"
	formerName  = "spans.1.jsonl"
)

// maxLine bounds one export in the file when it is read.
const maxLine = 64 << 20

// File is a log of exports in a folder, of at most about twice the bytes that
// it was opened with. It is safe for concurrent use.
type File struct {
	dir   string
	limit int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// Open opens or makes the log in dir.
func Open(dir string, limit int64) (*File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f := &File{dir: dir, limit: limit}
	return f, f.open()
}

func (f *File) open() error {
	file, err := os.OpenFile(filepath.Join(f.dir, currentName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.size = file, info.Size()
	return nil
}

// Append writes one export as a line.
func (f *File) Append(e Export) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size > 0 && f.size+int64(len(line)) > f.limit {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	n, err := f.file.Write(line)
	f.size += int64(n)
	return err
}

func (f *File) rotate() error {
	if err := f.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(f.dir, currentName), filepath.Join(f.dir, formerName)); err != nil {
		return err
	}
	return f.open()
}

// Close closes the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Close()
}

// ErrNoTraces says that a folder holds no log.
var ErrNoTraces = errors.New("no traces recorded")

// Read returns every span in the log of dir whose trace id begins with
// prefix, the oldest first, each once. A line that is not whole, as the last
// one may be while it is written, is passed over.
func Read(dir, prefix string) ([]Span, error) {
	var (
		spans []Span
		found bool
		seen  = map[string]bool{}
	)
	for _, name := range []string{formerName, currentName} {
		file, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = true
		err = eachSpan(file, prefix, func(s Span) {
			if key := s.Trace + s.ID; !seen[key] {
				seen[key] = true
				spans = append(spans, s)
			}
		})
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
		}
	}
	if !found {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoTraces)
	}
	slices.SortStableFunc(spans, func(a, b Span) int {
		switch {
		case a.Start < b.Start:
			return -1
		case a.Start > b.Start:
			return 1
		}
		return 0
	})
	return spans, nil
}

func eachSpan(file *os.File, prefix string, use func(Span)) error {
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	want := []byte(`"traceId":"` + prefix)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), want) {
			continue
		}
		e, err := parseJSON(lines.Bytes())
		if err != nil {
			continue
		}
		for _, s := range e.Spans() {
			if strings.HasPrefix(s.Trace, prefix) {
				use(s)
			}
		}
	}
	return lines.Err()
}
