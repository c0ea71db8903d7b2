package torchfile

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// The entries that are read, below the archive's own folder.
const (
	pickleEntry    = "data.pkl"
	byteOrderEntry = "byteorder" // since PyTorch 2.1
	versionEntry   = "version"
	scriptEntry    = "constants.pkl" // only TorchScript has it
	storagePrefix  = "data/"
)

// newestVersion of the archive that PyTorch's own reader knows.
const newestVersion = 10

// archive is the zip around a pickle and its storages.
type archive struct {
	file    io.ReaderAt
	entries map[string]span // by name, without the archive's own folder
}

// span is where an entry's bytes lie in the file: as they are, since nothing
// is compressed.
type span struct {
	offset, size int64
	crc          uint32 // 0: the writer was told to compute none
}

// openArchive reads the directory and checks every entry of it.
func openArchive(file io.ReaderAt, size int64, limits Limits) (*archive, error) {
	if size > limits.ArchiveBytes {
		return nil, fmt.Errorf("has %d bytes, at most %d are allowed", size, limits.ArchiveBytes)
	}
	if err := sniff(file); err != nil {
		return nil, err
	}
	// The directory ends in 22 bytes and at most 64 KiB of comment, which are
	// searched from the end. One entry takes 46 bytes and its name.
	ration := &rationed{file: file, left: 128<<10 + 512*int64(limits.Entries)}
	directory, err := zip.NewReader(ration, size)
	if err != nil {
		return nil, fmt.Errorf("zip directory: %w", err)
	}
	ration.left = math.MaxInt64 // what follows is bounded by the number of entries
	if n := len(directory.File); n > limits.Entries {
		return nil, fmt.Errorf("zip directory has %d entries, at most %d are allowed", n, limits.Entries)
	}
	a := &archive{file: file, entries: make(map[string]span, len(directory.File))}
	if err := a.take(directory.File, size); err != nil {
		return nil, err
	}
	return a, a.checkHeader()
}

// sniff recognises by its first bytes what isn't an archive.
func sniff(file io.ReaderAt) error {
	head := make([]byte, 16)
	n, err := file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return err
	}
	head = head[:n]
	// A pickled number, the first thing in every file of torch.save before 1.6.
	legacy := []byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return nil
	case bytes.HasPrefix(head, legacy):
		return errors.New("is in PyTorch's format from before 1.6, which is not read; " +
			`where you trust the file, convert it with PyTorch 1.6 or newer: torch.save(torch.load("old", map_location="cpu"), "new")`)
	case len(head) > 1 && head[0] == 0x80 && head[1] <= 5:
		return errors.New("is a bare pickle, not a zip archive of torch.save")
	}
	return errors.New("is not a zip archive, which torch.save writes since PyTorch 1.6")
}

// take checks the entries and keeps where they lie.
func (a *archive) take(files []*zip.File, size int64) error {
	if len(files) == 0 {
		return errors.New("zip archive is empty")
	}
	if slices.ContainsFunc(files, func(f *zip.File) bool { return strings.HasSuffix(f.Name, "/"+scriptEntry) }) {
		return errors.New("is TorchScript, a program; save its state_dict() with torch.save")
	}
	folder, _, _ := strings.Cut(files[0].Name, "/")
	var spans []span
	for _, f := range files {
		if err := checkEntry(f, folder); err != nil {
			return fmt.Errorf("entry %.140q: %w", f.Name, err)
		}
		name := strings.TrimPrefix(f.Name, folder+"/")
		if _, ok := a.entries[name]; ok {
			return fmt.Errorf("entry %.140q appears twice", f.Name)
		}
		offset, err := f.DataOffset()
		if err != nil {
			return fmt.Errorf("entry %.140q: %w", f.Name, err)
		}
		s := span{offset: offset, size: int64(f.UncompressedSize64), crc: f.CRC32}
		if offset > size || s.size > size-offset {
			return fmt.Errorf("entry %.140q: %d bytes from byte %d on end outside the file of %d", f.Name, s.size, offset, size)
		}
		a.entries[name] = s
		spans = append(spans, s)
	}
	slices.SortFunc(spans,
		func(x, y span) int { return cmp.Or(cmp.Compare(x.offset, y.offset), cmp.Compare(x.size, y.size)) })
	for i := 1; i < len(spans); i++ {
		if end := spans[i-1].offset + spans[i-1].size; spans[i].offset < end {
			return fmt.Errorf("two entries overlap at byte %d", spans[i].offset)
		}
	}
	return nil
}

// checkEntry refuses what torch.save never writes.
func checkEntry(f *zip.File, folder string) error {
	const encrypted = 1 // bit of the flags
	switch {
	case !fs.ValidPath(f.Name) ||
		strings.ContainsFunc(f.Name, func(r rune) bool { return r == '\\' || !unicode.IsPrint(r) }):
		return errors.New("the name is not a plain relative path")
	case !strings.HasPrefix(f.Name, folder+"/"):
		return fmt.Errorf("is not in the archive's one folder %.140q", folder)
	case f.Flags&encrypted != 0:
		return errors.New("is encrypted")
	case f.Method != zip.Store:
		return fmt.Errorf("is compressed (method %d); torch.save stores everything as it is", f.Method)
	case f.CompressedSize64 != f.UncompressedSize64 || f.UncompressedSize64 > math.MaxInt64:
		return fmt.Errorf("is stored, but has %d bytes of %d", f.CompressedSize64, f.UncompressedSize64)
	}
	return nil
}

// checkHeader checks the small entries that say what kind of archive it is.
func (a *archive) checkHeader() error {
	const short = 16
	b, err := a.read(versionEntry, short)
	if err != nil {
		return err
	}
	version, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 16)
	if err != nil || version < 1 || version > newestVersion {
		return fmt.Errorf("%s is %q, want 1 to %d", versionEntry, b, newestVersion)
	}
	if _, ok := a.entries[byteOrderEntry]; !ok {
		return nil // before 2.1 the order was not written down, and was little-endian
	}
	if b, err = a.read(byteOrderEntry, short); err != nil {
		return err
	}
	if string(b) != "little" {
		return fmt.Errorf("%s is %q, only \"little\" is read", byteOrderEntry, b)
	}
	return nil
}

// read returns the bytes of an entry of at most limit bytes.
func (a *archive) read(name string, limit int64) ([]byte, error) {
	s, ok := a.entries[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("archive has no %s", name)
	case s.size > limit:
		return nil, fmt.Errorf("%s has %d bytes, at most %d are allowed", name, s.size, limit)
	}
	b, err := a.load(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// load returns the bytes of a span, whose size the file's own bounds.
func (a *archive) load(s span) ([]byte, error) {
	b := make([]byte, s.size)
	if _, err := io.ReadFull(io.NewSectionReader(a.file, s.offset, s.size), b); err != nil {
		return nil, err
	}
	if got := crc32.ChecksumIEEE(b); s.crc != 0 && got != s.crc {
		return nil, fmt.Errorf("checksum is %08x, the archive says %08x", got, s.crc)
	}
	return b, nil
}

// rationed is a file of which only so much may be read.
type rationed struct {
	file io.ReaderAt
	left int64
}

// ReadAt implements [io.ReaderAt].
func (r *rationed) ReadAt(p []byte, offset int64) (int, error) {
	if int64(len(p)) > r.left {
		return 0, errors.New("is longer than its entries may make it")
	}
	n, err := r.file.ReadAt(p, offset)
	r.left -= int64(n)
	return n, err
}
