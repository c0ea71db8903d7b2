package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
)

// opinion is one row of a data set.
type opinion struct {
	image string // relative to the folder of images
	mos   float64
}

// columns names the columns of a data set; empty: the first of the usual ones.
type columns struct{ image, mos string }

// readDataset reads a CSV with a header, divided by commas, semicolons or tabs.
// Every fault names its line.
func readDataset(file string, c columns) ([]opinion, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	reader := csv.NewReader(bytes.NewReader(data))
	reader.Comma = delimiter(data)
	header, err := reader.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	image, err := column(header, c.image, "image", "name")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	mos, err := column(header, c.mos, "mos", "score", "mos_quality")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var rows []opinion
	seen := map[string]bool{}
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		line, _ := reader.FieldPos(image)
		row := opinion{image: strings.TrimSpace(record[image])}
		number := strings.TrimSpace(record[mos])
		if reader.Comma == ';' { // spreadsheets that write semicolons write decimal commas too
			number = strings.Replace(number, ",", ".", 1)
		}
		row.mos, err = strconv.ParseFloat(number, 64)
		switch {
		case err != nil || math.IsNaN(row.mos) || math.IsInf(row.mos, 0):
			return nil, fmt.Errorf("%s:%d: %q is not a finite number", file, line, record[mos])
		case !filepath.IsLocal(row.image):
			return nil, fmt.Errorf("%s:%d: %q is not a path below the folder of images", file, line, row.image)
		case seen[row.image]:
			return nil, fmt.Errorf("%s:%d: %q is named twice", file, line, row.image)
		}
		seen[row.image] = true
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s: no rows", file)
	}
	return rows, nil
}

// delimiter is the one of comma, semicolon and tab that the header has most of.
func delimiter(data []byte) rune {
	header, _, _ := bytes.Cut(data, []byte("\n"))
	best := ','
	for _, other := range ";\t" {
		if bytes.Count(header, []byte(string(other))) > bytes.Count(header, []byte(string(best))) {
			best = other
		}
	}
	return best
}

// column finds a column by its name: as it is written, or else in any case.
func column(header []string, name string, usual ...string) (int, error) {
	if name != "" {
		usual = []string{name}
	}
	for _, same := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		for _, u := range usual {
			if i := slices.IndexFunc(header, func(h string) bool { return same(strings.TrimSpace(h), u) }); i >= 0 {
				return i, nil
			}
		}
	}
	return 0, fmt.Errorf("no column %q among %q", usual, header)
}

// imageFolder finds the images that a data set names.
type imageFolder struct {
	root  string
	index map[string][]string // paths by what a data set may call them; nil: not needed so far
	walk  cli.Selection
}

func openImageFolder(root string) (*imageFolder, error) {
	info, err := os.Stat(root)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", root)
	}
	if err != nil {
		return nil, fmt.Errorf("--images: %w", err)
	}
	return &imageFolder{root: root}, nil
}

// find returns the path of an image: that of its name or, where there is no such
// file, the only one that is called so without the suffix, without the folders
// above it, or without both.
func (f *imageFolder) find(name string) (string, error) {
	exact := filepath.Join(f.root, filepath.FromSlash(name))
	switch info, err := os.Stat(exact); {
	case err == nil && info.Mode().IsRegular():
		return exact, nil
	case err == nil && !info.IsDir():
		return "", fmt.Errorf("%s is not a regular file", exact)
	}
	if f.index == nil {
		f.buildIndex()
	}
	switch found := f.index[filepath.ToSlash(filepath.Clean(name))]; len(found) {
	case 0:
		return "", fmt.Errorf("no such image in %s", f.root)
	case 1:
		return found[0], nil
	default:
		return "", fmt.Errorf("%s and %s both have that name", found[0], found[1])
	}
}

func (f *imageFolder) buildIndex() {
	f.index, f.walk = map[string][]string{}, cli.Walk(f.root)
	for _, p := range f.walk.List {
		rel, err := filepath.Rel(f.root, p.Path)
		if err != nil {
			continue
		}
		rel = filepath.ToSlash(rel)
		names := []string{rel, cli.WithoutImageSuffix(rel), path.Base(rel), cli.WithoutImageSuffix(path.Base(rel))}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			f.index[name] = append(f.index[name], p.Path)
		}
	}
}

// scoreKey is what a score depends on besides the image.
type scoreKey struct {
	checkpoint string // digest
	preprocess string // id
}

// scoreBook is a file of scores that grows line by line. A line that was cut
// off when the program died is dropped, so that only that image is scored again.
type scoreBook struct {
	path  string
	file  *os.File
	key   scoreKey
	known map[string]float64 // scores when it was opened, by the SHA-256 of the image
}

// scoreColumns are those that agiqa-train evaluate --scores reads, and what the
// score depends on.
var scoreColumns = []string{"image", "score", "mos", "checkpoint", "preprocess", "sha256"}

// scoreRow is a line of a book.
type scoreRow struct {
	opinion
	score  float64
	sha256 string // of the image, in hexadecimal
}

// openScores opens or makes a book of one checkpoint's scores.
func openScores(file string, key scoreKey) (*scoreBook, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	b := &scoreBook{path: file, file: f, key: key, known: map[string]float64{}}
	if err := b.read(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return b, nil
}

func (b *scoreBook) read() error {
	data, err := io.ReadAll(b.file)
	if err != nil {
		return err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	if len(whole) == 0 {
		if err := b.file.Truncate(0); err != nil {
			return err
		}
		if _, err := b.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return b.write(b.file, scoreColumns)
	}
	records, err := csv.NewReader(bytes.NewReader(whole)).ReadAll()
	if err != nil || !slices.Equal(records[0], scoreColumns) {
		return fmt.Errorf(
			"%s does not have the columns %s; give another --out, or remove it",
			b.path,
			strings.Join(scoreColumns, ","),
		)
	}
	for i, record := range records[1:] {
		score, err := strconv.ParseFloat(record[1], 64)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", b.path, i+2, err)
		}
		if record[3] != b.key.checkpoint {
			return fmt.Errorf(
				"%s holds scores of another checkpoint (%s); give another --out, or remove it",
				b.path,
				record[3],
			)
		}
		if record[4] != b.key.preprocess {
			return fmt.Errorf(
				"%s holds scores of images preprocessed in another way (%s); give another --out, or remove it",
				b.path,
				record[4],
			)
		}
		b.known[record[5]] = score
	}
	if err := b.file.Truncate(int64(len(whole))); err != nil {
		return err
	}
	_, err = b.file.Seek(0, io.SeekEnd)
	return err
}

// add writes one score down.
func (b *scoreBook) add(row scoreRow) error { return b.write(b.file, b.record(row)) }

// record keeps all digits of a float64, so that whoever reads the file computes
// on the same numbers.
func (b *scoreBook) record(row scoreRow) []string {
	digits := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	return []string{row.image, digits(row.score), digits(row.mos), b.key.checkpoint, b.key.preprocess, row.sha256}
}

func (b *scoreBook) write(to io.Writer, records ...[]string) error {
	var lines bytes.Buffer
	if err := csv.NewWriter(&lines).WriteAll(records); err != nil {
		return err
	}
	_, err := to.Write(lines.Bytes())
	return err
}

// close keeps what was added and closes the file.
func (b *scoreBook) close() error { return errors.Join(b.file.Sync(), b.file.Close()) }

// replace writes the book anew with rows alone: an image that was scored earlier
// and is no longer part of the data set has no place among its scores.
func (b *scoreBook) replace(rows []scoreRow) error {
	temporary, err := os.OpenFile(b.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	records := [][]string{scoreColumns}
	for _, row := range rows {
		records = append(records, b.record(row))
	}
	err = errors.Join(b.write(temporary, records...), temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), b.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}
