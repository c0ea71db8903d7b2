package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/server"
)

func newPreprocess(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "preprocess FILE|DIR|- --out F.npy|F.png|DIR",
		Short: "Write the exact 224x224 pixels that the model sees",
		Long: "Decodes, resizes and crops images locally, without a server. Writes one image to F.npy " +
			"(uint8 [224,224,3]) or F.png, and each image of a folder to NAME.npy in DIR. --view 448/r0c1 writes " +
			"another square of the image: the cell in row 0 and column 1 of the middle 448x448 pixels, after a " +
			"resize to a short side of 448.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			return preprocessCommand(cmd, t, s, args)
		},
	}
	cli.AddJSON(cmd)
	cmd.Flags().String("out", "", "output: a .npy or .png file, or a folder")
	cmd.Flags().String("view", quality.View{}.String(),
		"square of the image: 224, or a cell such as 448/r0c1; "+
			"another recipe follows a colon, as in 224:pillow13-bicubic-224")
	cmd.Flags().Int("threads", runtime.NumCPU(), "number of images to process concurrently")
	config.AddFlags(cmd.Flags(), "Images", "Program")
	return cmd
}

type preparedLine struct {
	File       string               `json:"file"`
	Out        string               `json:"out,omitempty"`
	SHA256     string               `json:"sha256,omitempty"`
	Format     string               `json:"format,omitempty"`
	Width      int                  `json:"width,omitempty"`
	Height     int                  `json:"height,omitempty"`
	Decoder    string               `json:"decoder,omitempty"`
	Preprocess quality.PreprocessID `json:"preprocess,omitempty"`
	Error      *gateway.Problem     `json:"error"`
}

func preprocessCommand(cmd *cobra.Command, t *cli.Terminal, s config.Settings, args []string) error {
	out, err := cmd.Flags().GetString("out")
	if err != nil || out == "" {
		return errors.Join(err, errors.New("--out is required: a .npy or .png file, or a folder"))
	}
	threads, err := cmd.Flags().GetInt("threads")
	if err != nil || threads < 1 {
		return errors.Join(err, errors.New("--threads must be at least 1"))
	}
	text, err := cmd.Flags().GetString("view")
	if err != nil {
		return err
	}
	view, err := quality.ParseView(text)
	if err != nil {
		return fmt.Errorf("--view: %w", err)
	}
	selected, err := cli.Pictures(args, t.In)
	if err != nil {
		return err
	}
	selected.Note(t)
	target, err := newTarget(args[0], out)
	if err != nil {
		return err
	}
	if err := target.holdsEach(selected.List); err != nil {
		return err
	}
	preparer, err := server.NewPreparer(s)
	if err != nil {
		return err
	}
	failed := 0
	bar := t.Progress(len(selected.List), "preprocessing")
	cli.InOrder(selected.List, threads, func(p cli.Picture) preparedLine {
		return prepareOne(cmd, preparer, view, target, p)
	}, func(p cli.Picture, line preparedLine) {
		bar.Clear()
		switch {
		case cli.AsJSON(cmd):
			_ = cli.PrintJSON(t.Out, line)
		case line.Error != nil:
			t.Note("agiqa: %s: %s", p.Name, line.Error.Detail)
		default:
			fmt.Fprintf(t.Out, "%s  %s %dx%d\n", line.Out, line.Format, line.Width, line.Height)
		}
		if line.Error != nil {
			failed++
		}
		bar.Step()
	})
	bar.Done()
	return selected.Outcome(failed, "preprocessed")
}

func prepareOne(
	cmd *cobra.Command, preparer *imageprep.Preparer, view quality.View, target target, p cli.Picture,
) preparedLine {
	line := preparedLine{File: p.Name, Preprocess: preparer.ID("", view.Recipe()).At(view)}
	fail := func(err error) preparedLine {
		line.Error = asProblem(err)
		return line
	}
	if err := p.Load(); err != nil {
		return fail(err)
	}
	in, err := preparer.Inspect(p.Data)
	if err != nil {
		return fail(err)
	}
	prepared, err := preparer.PrepareViews(cmd.Context(), in, "", []quality.View{view})
	if err != nil {
		return fail(err)
	}
	line.SHA256, line.Format = in.Info.Digest.Hex(), in.Info.Format
	line.Width, line.Height, line.Decoder = in.Info.Width, in.Info.Height, prepared.Decoder
	line.Out = target.path(p)
	if err := writePixels(line.Out, prepared.Views[0]); err != nil {
		return fail(err)
	}
	return line
}

// target says where the pixels of a picture go: all to one folder, under the
// path they had in theirs, or one to one file.
type target struct {
	file   string
	folder string
	root   string // the folder that was given
}

func newTarget(input, out string) (target, error) {
	info, err := os.Stat(input)
	many := err == nil && info.IsDir()
	suffix := strings.ToLower(filepath.Ext(out))
	isFile := suffix == ".npy" || suffix == ".png"
	if many && isFile {
		return target{}, fmt.Errorf("--out must be a folder for the images of a folder, not %s", out)
	}
	if isFile {
		return target{file: out}, nil
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return target{}, fmt.Errorf("--out: %w", err)
	}
	root := filepath.Dir(input)
	if many {
		root = input
	}
	return target{folder: out, root: root}, nil
}

func (t target) path(p cli.Picture) string {
	if t.file != "" {
		return t.file
	}
	name := "stdin"
	if p.Path != "" {
		name = filepath.Base(p.Path)
		if rel, err := filepath.Rel(t.root, p.Path); err == nil {
			name = rel
		}
	}
	return filepath.Join(t.folder, cli.WithoutImageSuffix(name)+".npy")
}

// holdsEach refuses pictures whose pixels would overwrite each other's.
func (t target) holdsEach(list []cli.Picture) error {
	taken := map[string]string{}
	for _, p := range list {
		out := t.path(p)
		if other, ok := taken[out]; ok {
			return fmt.Errorf("%s and %s would both become %s: rename one, or give them folders of their own", other, p.Name,
				out)
		}
		taken[out] = p.Name
	}
	return nil
}

func writePixels(path string, p quality.Pixels) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if strings.EqualFold(filepath.Ext(path), ".png") {
		b, err := gateway.PNG(p)
		if err != nil {
			return err
		}
		return os.WriteFile(path, b, 0o644)
	}
	return os.WriteFile(path, npy(p), 0o644)
}

// npy encodes pixels in NumPy's format, version 1.0: magic, header length, a
// header padded so that the data begins at a multiple of 64, the data.
func npy(p quality.Pixels) []byte {
	header := fmt.Sprintf("{'descr': '|u1', 'fortran_order': False, 'shape': (%d, %d, 3), }",
		quality.ImageSize, quality.ImageSize)
	const fixed = 10
	padding := (64 - (fixed+len(header)+1)%64) % 64
	header += strings.Repeat(" ", padding) + "\n"
	b := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(b[8:], uint16(len(header)))
	return append(append(b, header...), p.Bytes()...)
}
