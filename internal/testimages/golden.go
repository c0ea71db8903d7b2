package testimages

import (
	"archive/zip"
	"bytes"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
)

//go:embed golden
var files embed.FS

// Golden returns one golden input by its file name. It panics when there is
// none, which is a mistake in the test.
func Golden(name string) []byte {
	b, err := files.ReadFile(path.Join("golden", name))
	must(err)
	return b
}

// Named returns every golden input by file name.
func Named() map[string][]byte {
	entries, err := files.ReadDir("golden")
	must(err)
	named := make(map[string][]byte, len(entries))
	for _, e := range entries {
		if path.Ext(e.Name()) != ".zip" {
			named[e.Name()] = Golden(e.Name())
		}
	}
	return named
}

// Expectation is what Pillow makes of one golden input.
type Expectation struct {
	Width, Height int
	Mode          string           // Pillow's mode before convert("RGB")
	RGB           [32]byte         // SHA-256 of convert("RGB"), H*W*3 bytes
	Out           [32]byte         // SHA-256 of the 224x224x3 result
	Cells         map[int][32]byte // by size: SHA-256 of the 224x224x3 cells of the picture at that size, row by row
	RGBBytes      []byte           // the bytes of RGB; nil where the archive leaves them out
	OutBytes      []byte           // the bytes of Out; nil where the archive leaves them out
}

// Origin says which versions made the expectations.
type Origin struct{ Pillow, LibjpegTurbo, Libwebp string }

// Expected returns the expectations by file name.
func Expected() (map[string]Expectation, Origin, error) {
	blobs, err := readArchive(Golden("expected.zip"))
	if err != nil {
		return nil, Origin{}, err
	}
	var index struct {
		Pillow       string `json:"pillow"`
		LibjpegTurbo string `json:"libjpeg_turbo"`
		Libwebp      string `json:"libwebp"`
		Cases        map[string]struct {
			Width, Height int
			Mode          string
			RGB, Out      string
			Cells         map[int]string // by size
		} `json:"cases"`
	}
	if err := json.Unmarshal(blobs["index.json"], &index); err != nil {
		return nil, Origin{}, fmt.Errorf("golden index: %w", err)
	}
	all := make(map[string]Expectation, len(index.Cases))
	for name, c := range index.Cases {
		e := Expectation{Width: c.Width, Height: c.Height, Mode: c.Mode, RGBBytes: blobs[name+".rgb"],
			OutBytes: blobs[name+".224"]}
		if _, err := hex.Decode(e.RGB[:], []byte(c.RGB)); err != nil {
			return nil, Origin{}, fmt.Errorf("golden index, %s: %w", name, err)
		}
		if _, err := hex.Decode(e.Out[:], []byte(c.Out)); err != nil {
			return nil, Origin{}, fmt.Errorf("golden index, %s: %w", name, err)
		}
		e.Cells = make(map[int][32]byte, len(c.Cells))
		for size, text := range c.Cells {
			var sum [32]byte
			if _, err := hex.Decode(sum[:], []byte(text)); err != nil {
				return nil, Origin{}, fmt.Errorf("golden index, %s at %d: %w", name, size, err)
			}
			e.Cells[size] = sum
		}
		all[name] = e
	}
	return all, Origin{index.Pillow, index.LibjpegTurbo, index.Libwebp}, nil
}

func readArchive(data []byte) (map[string][]byte, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("golden archive: %w", err)
	}
	blobs := make(map[string][]byte, len(z.File))
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("golden archive, %s: %w", f.Name, err)
		}
		if blobs[f.Name], err = io.ReadAll(r); err != nil {
			return nil, fmt.Errorf("golden archive, %s: %w", f.Name, err)
		}
		if err := r.Close(); err != nil {
			return nil, fmt.Errorf("golden archive, %s: %w", f.Name, err)
		}
	}
	return blobs, nil
}
