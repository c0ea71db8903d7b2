package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agiqa/agiqa/quality"
)

// Picture is one input of a command.
type Picture struct {
	Name string // as the person wrote it
	Path string // empty for standard input
	Data []byte
}

// Load reads the file, if it is one.
func (p *Picture) Load() error {
	if p.Path == "" {
		return nil
	}
	data, err := os.ReadFile(p.Path)
	p.Data = data
	return err
}

// imageSuffixes are the usual ends of the names of images that agiqa decodes.
var imageSuffixes = []string{".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif"}

// imageTypes are the media types of those images.
var imageTypes = []string{"image/jpeg", "image/png", "image/webp", "image/gif"}

func hasImageSuffix(path string) bool {
	return slices.Contains(imageSuffixes, strings.ToLower(filepath.Ext(path)))
}

// WithoutImageSuffix keeps what only looks like a suffix, as in "sd1.5".
func WithoutImageSuffix(path string) string {
	if hasImageSuffix(path) {
		return strings.TrimSuffix(path, filepath.Ext(path))
	}
	return path
}

// Selection is what the arguments of a command select.
type Selection struct {
	List       []Picture
	Skipped    []string // entries of folders that are not images, each with the reason
	Unreadable []error  // entries of folders that could not be read
}

// Pictures expands arguments: files, folders, and - for standard input. A file
// that is named outright is taken whatever its name and kind.
func Pictures(args []string, in io.Reader) (Selection, error) {
	var all Selection
	for _, arg := range args {
		switch {
		case arg == "-":
			data, err := io.ReadAll(in)
			if err != nil {
				return all, fmt.Errorf("standard input: %w", err)
			}
			all.List = append(all.List, Picture{Name: "-", Data: data})
		case strings.HasPrefix(arg, "http://"), strings.HasPrefix(arg, "https://"):
			return all, quality.Errorf(
				quality.KindImageURLForbidden,
				"%s: images are not fetched; give the file itself, or - and the image on standard input",
				arg,
			)
		default:
			s, err := OnDisk(arg)
			if err != nil {
				return all, err
			}
			all.List = append(all.List, s.List...)
			all.Skipped = append(all.Skipped, s.Skipped...)
			all.Unreadable = append(all.Unreadable, s.Unreadable...)
		}
	}
	return all, nil
}

func OnDisk(arg string) (Selection, error) {
	info, err := os.Stat(arg)
	if err != nil {
		return Selection{}, err
	}
	if !info.IsDir() {
		return Selection{List: []Picture{{Name: arg, Path: arg}}}, nil
	}
	s := Walk(arg)
	if len(s.List) == 0 {
		err := fmt.Errorf("%s: no images in this folder (JPEG, PNG, WebP or GIF)", arg)
		return s, errors.Join(append([]error{err}, s.Unreadable...)...)
	}
	return s, nil
}

// Walk selects the images in a folder and those below it, in order of name.
// Links to folders are followed after everything else, and no folder is read
// twice, so that a link to a parent ends nothing and repeats nothing.
func Walk(root string) Selection {
	w := walker{visited: map[string]bool{}}
	w.folder(root)
	for len(w.linked) > 0 {
		next := w.linked[0]
		w.linked = w.linked[1:]
		w.folder(next)
	}
	return w.Selection
}

type walker struct {
	Selection
	visited map[string]bool // by path without links
	linked  []string        // folders behind links, still to be read
}

func (w *walker) folder(path string) {
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		w.Unreadable = append(w.Unreadable, err)
		return
	}
	if w.visited[real] {
		return
	}
	w.visited[real] = true
	entries, err := os.ReadDir(path)
	if err != nil {
		w.Unreadable = append(w.Unreadable, err)
	}
	for _, e := range entries { // those before the error
		w.entry(filepath.Join(path, e.Name()), e)
	}
}

func (w *walker) entry(path string, e fs.DirEntry) {
	skip := func(reason string) { w.Skipped = append(w.Skipped, path+" ("+reason+")") }
	if name := e.Name(); strings.HasPrefix(name, "._") || name == "__MACOSX" {
		skip("macOS metadata")
		return
	}
	mode, isLink := e.Type(), e.Type()&fs.ModeSymlink != 0
	if isLink {
		info, err := os.Stat(path)
		if err != nil {
			w.Unreadable = append(w.Unreadable, err)
			return
		}
		mode = info.Mode()
	}
	switch {
	case mode.IsDir() && isLink:
		w.linked = append(w.linked, path)
	case mode.IsDir():
		w.folder(path)
	case !mode.IsRegular():
		skip("not a regular file")
	case hasImageSuffix(path) || looksLikeImage(path):
		w.List = append(w.List, Picture{Name: path, Path: path})
	default:
		skip("not an image")
	}
}

// looksLikeImage decides by the first bytes of a file.
func looksLikeImage(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 512) // what DetectContentType looks at
	n, _ := io.ReadFull(f, head)
	return slices.Contains(imageTypes, http.DetectContentType(head[:n]))
}

// maxNamed is how many skipped entries a note names.
const maxNamed = 5

// Note names what was left out of folders, once.
func (s Selection) Note(t *Terminal) {
	if n := len(s.Skipped); n > 0 {
		text := strings.Join(s.Skipped[:min(n, maxNamed)], ", ")
		if n > maxNamed {
			text += fmt.Sprintf(" and %d more", n-maxNamed)
		}
		t.Note("agiqa: skipped %s: %s", count(n, "entry", "entries"), text)
	}
	for _, err := range s.Unreadable {
		t.Note("agiqa: %v", err)
	}
}

// Outcome is the error that a command over many images ends with: nil when all
// that was selected could be read and none failed. done is a participle, such as
// "scored".
func (s Selection) Outcome(failed int, done string) error {
	var faults []string
	if failed > 0 {
		faults = append(
			faults,
			fmt.Sprintf("%d of %s could not be %s", failed, count(len(s.List), "image", "images"), done),
		)
	}
	if n := len(s.Unreadable); n > 0 {
		faults = append(faults, fmt.Sprintf("%s of folders could not be read", count(n, "entry", "entries")))
	}
	if len(faults) == 0 {
		return nil
	}
	return errors.New(strings.Join(faults, "; "))
}

// count writes a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// InOrder runs work on every picture, workers at a time, and gives each result
// to emit in the order of the list.
func InOrder[T any](list []Picture, workers int, work func(p Picture) T, emit func(p Picture, result T)) {
	results := make([]chan T, len(list))
	for i := range results {
		results[i] = make(chan T, 1)
	}
	turns := make(chan struct{}, max(1, workers))
	go func() {
		for i := range list {
			turns <- struct{}{}
			go func() {
				defer func() { <-turns }()
				results[i] <- work(list[i])
			}()
		}
	}()
	for i := range list {
		emit(list[i], <-results[i])
	}
}
