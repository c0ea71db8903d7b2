package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/agiqa/agiqa/internal/testimages"
)

func TestReadDataset(t *testing.T) {
	for name, text := range map[string]string{
		"plain":                      "image,mos\na.png,1.5\nb.png,2\n",
		"AGIQA-1K":                   "Image,Score\r\na.png,1.5\r\nb.png,2\r\n",
		"byte order mark":            "\xef\xbb\xbfimage,mos\na.png,1.5\nb.png,2\n",
		"semicolons, decimal commas": "Name;Prompt;MOS\na.png;\"x, y\";1,5\nb.png;z;2\n",
		"tabs":                       "NAME\tmos_quality\na.png\t1.5\nb.png\t2",
		"spaces":                     "image , mos\na.png , 1.5\nb.png, 2\n",
		"exact name first":           "Image,image,mos\nx,a.png,1.5\nx,b.png,2\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "data.csv")
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := readDataset(path, columns{})
			if want := []opinion{{"a.png", 1.5}, {"b.png", 2}}; err != nil || !slices.Equal(got, want) {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
		})
	}
}

func TestImageFolderFindsByName(t *testing.T) {
	png := testimages.PNG(8, 8)
	root := testimages.Tree(t, map[string][]byte{
		"a.png": png, "one/b.png": png, "one/c.png": png, "two/c.jpg": png, "two/no-suffix": png,
		"two/raw.bin": []byte("x"), "d": png, "two/d": png,
	})
	if err := syscall.Mkfifo(filepath.Join(root, "pipe.png"), 0o644); err != nil {
		t.Fatal(err)
	}
	folder, err := openImageFolder(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a.png": "a.png", "a": "a.png", "b": "one/b.png", "b.png": "one/b.png", "one/b": "one/b.png", "./one/c": "one/c.png",
		"c.jpg": "two/c.jpg", "no-suffix": "two/no-suffix", "two/raw.bin": "two/raw.bin", "d": "d", "two/d": "two/d",
	} {
		got, err := folder.find(name)
		if err != nil || got != filepath.Join(root, want) {
			t.Errorf("find(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
	for name, want := range map[string]string{
		"c": "both have that name", "x.png": "no such image", "one": "no such image",
		"pipe.png": "not a regular file", "raw.bin": "no such image",
	} {
		if got, err := folder.find(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("find(%q) = %q, %v, want an error with %q", name, got, err, want)
		}
	}
}
