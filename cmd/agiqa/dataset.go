package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/agiqa/agiqa/evaluation"
)

// opinion is one row of a data set.
type opinion struct {
	image string // relative to the folder of images
	mos   float64
}

// columns names the columns of a data set; empty: the first of the usual ones.
type columns struct{ image, mos string }

// readDataset reads a CSV with a header. Every fault names its line.
func readDataset(path string, c columns) ([]opinion, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	header, err := reader.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	image, err := column(header, c.image, "image", "name")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	mos, err := column(header, c.mos, "mos", "score", "mos_quality")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var rows []opinion
	seen := map[string]bool{}
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		line, _ := reader.FieldPos(image)
		row := opinion{image: record[image]}
		row.mos, err = strconv.ParseFloat(record[mos], 64)
		switch {
		case err != nil || math.IsNaN(row.mos) || math.IsInf(row.mos, 0):
			return nil, fmt.Errorf("%s:%d: %q is not a finite number", path, line, record[mos])
		case !filepath.IsLocal(row.image):
			return nil, fmt.Errorf("%s:%d: %q is not a path below the folder of images", path, line, row.image)
		case seen[row.image]:
			return nil, fmt.Errorf("%s:%d: %q is named twice", path, line, row.image)
		}
		seen[row.image] = true
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s: no rows", path)
	}
	return rows, nil
}

func column(header []string, name string, usual ...string) (int, error) {
	if name != "" {
		usual = []string{name}
	}
	for _, u := range usual {
		if i := slices.Index(header, u); i >= 0 {
			return i, nil
		}
	}
	return 0, fmt.Errorf("no column %q among %q", usual, header)
}

// scoreBook is a file of scores that grows line by line. A line that was cut
// off when the program died is dropped, so that only that image is scored again.
type scoreBook struct {
	path   string
	file   *os.File
	judge  string             // digest of the checkpoint
	scores map[string]float64 // by image
}

// scoreColumns are what agiqa-train evaluate --scores reads, and the checkpoint.
var scoreColumns = []string{"image", "score", "mos", "checkpoint"}

// openScores opens or makes a book of one checkpoint's scores.
func openScores(path, judge string) (*scoreBook, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	b := &scoreBook{path: path, file: file, judge: judge, scores: map[string]float64{}}
	if err := b.read(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return b, nil
}

func (b *scoreBook) read() error {
	data, err := io.ReadAll(b.file)
	if err != nil {
		return err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	if err := b.file.Truncate(int64(len(whole))); err != nil {
		return err
	}
	if _, err := b.file.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if len(whole) == 0 {
		return b.write(scoreColumns)
	}
	records, err := csv.NewReader(bytes.NewReader(whole)).ReadAll()
	if err != nil || !slices.Equal(records[0], scoreColumns) {
		return errors.Join(err, fmt.Errorf("%s is not a file of scores; give another --out", b.path))
	}
	for i, record := range records[1:] {
		score, err := strconv.ParseFloat(record[1], 64)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", b.path, i+2, err)
		}
		if record[3] != b.judge {
			return fmt.Errorf("%s holds scores of another checkpoint (%s); give another --out, or remove it", b.path, record[3])
		}
		b.scores[record[0]] = score
	}
	return nil
}

// add writes one score down. All digits of the float64 are kept, so that
// whoever reads the file computes on the same numbers.
func (b *scoreBook) add(row opinion, score float32) error {
	v := float64(score)
	b.scores[row.image] = v
	digits := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	return b.write([]string{row.image, digits(v), digits(row.mos), b.judge})
}

func (b *scoreBook) write(record []string) error {
	var line bytes.Buffer
	w := csv.NewWriter(&line)
	if err := w.Write(record); err != nil {
		return err
	}
	w.Flush()
	_, err := b.file.Write(line.Bytes())
	return errors.Join(err, w.Error())
}

func (b *scoreBook) close() error { return errors.Join(b.file.Sync(), b.file.Close()) }

// report compares the scores with the opinions, in the order of the data set.
func (b *scoreBook) report(dataset []opinion, o evaluation.Bootstrap) (report evaluation.Report, scores, mos []float64, err error) {
	for _, row := range dataset {
		scores, mos = append(scores, b.scores[row.image]), append(mos, row.mos)
	}
	report, err = evaluation.Evaluate(scores, mos, o)
	return report, scores, mos, err
}
