package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// picture is one input of a command.
type picture struct {
	name string // as the person wrote it
	path string // empty for standard input and URLs
	url  string
	data []byte
}

// load reads the file, if it is one.
func (p *picture) load() error {
	if p.path == "" {
		return nil
	}
	data, err := os.ReadFile(p.path)
	p.data = data
	return err
}

// imageSuffixes are the names that a folder's images go by. A file that is
// named outright is taken whatever its name.
var imageSuffixes = []string{".jpg", ".jpeg", ".png", ".webp", ".gif"}

// pictures expands arguments: files, folders (walked, in order of name), URLs
// and - for standard input. Files in folders whose names are not an image's
// are counted in passed.
func pictures(args []string, in io.Reader) (list []picture, passed int, err error) {
	for _, arg := range args {
		switch {
		case arg == "-":
			data, err := io.ReadAll(in)
			if err != nil {
				return nil, 0, fmt.Errorf("standard input: %w", err)
			}
			list = append(list, picture{name: "-", data: data})
		case strings.HasPrefix(arg, "http://"), strings.HasPrefix(arg, "https://"):
			list = append(list, picture{name: arg, url: arg})
		default:
			found, skipped, err := onDisk(arg)
			if err != nil {
				return nil, 0, err
			}
			list, passed = append(list, found...), passed+skipped
		}
	}
	return list, passed, nil
}

func onDisk(arg string) (list []picture, passed int, err error) {
	info, err := os.Stat(arg)
	if err != nil {
		return nil, 0, err
	}
	if !info.IsDir() {
		return []picture{{name: arg, path: arg}}, 0, nil
	}
	err = filepath.WalkDir(arg, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return nil
		case slices.Contains(imageSuffixes, strings.ToLower(filepath.Ext(path))):
			list = append(list, picture{name: path, path: path})
		default:
			passed++
		}
		return nil
	})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s: no images in this folder (%s)", arg, strings.Join(imageSuffixes, ", "))
	}
	return list, passed, err
}

// inOrder runs work on every picture, workers at a time, and gives each result
// to emit in the order of the list.
func inOrder[T any](list []picture, workers int, work func(p picture) T, emit func(p picture, result T)) {
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
