package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
)

func newDraw(t *cli.Terminal) *cobra.Command {
	var r requestFlags
	var out string
	var copies int
	cmd := &cobra.Command{
		Use:   "draw --sizes 256,512 --out DIR",
		Short: "Write generated images to a folder, for --images of other commands",
		Long: "Writes generated images to a folder, for --images of other commands. --copies writes several files of each, " +
			"with equal pixels but different bytes, so that caches treat them as different images.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if copies < 1 || copies > 10_000 {
				return fmt.Errorf("--copies is %d, must be 1 to 10000", copies)
			}
			pictures, err := r.pictures(t)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(out, 0o755); err != nil {
				return fmt.Errorf("--out: %w", err)
			}
			for _, p := range pictures {
				format, _, _ := strings.Cut(p.Name, "-")
				for c := range copies {
					name, data := p.Name, p.Data
					if c > 0 { // what follows the end of an image is not part of it
						name, data = fmt.Sprintf("%s-%d", name, c), fmt.Appendf(slices.Clone(data), "copy %d", c)
					}
					if err := os.WriteFile(filepath.Join(out, name+"."+format), data, 0o644); err != nil {
						return fmt.Errorf("--out: %w", err)
					}
				}
			}
			_, err = fmt.Fprintf(t.Out, "%d images in %s\n", copies*len(pictures), out)
			return err
		},
	}
	r.addDrawn(cmd.Flags())
	cmd.Flags().IntVar(&copies, "copies", 1, "number of files per image")
	cmd.Flags().StringVar(&out, "out", "images", "folder to write to")
	return cmd
}
