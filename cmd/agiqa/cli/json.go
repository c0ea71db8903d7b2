package cli

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

// AddJSON adds the flag --json.
func AddJSON(cmd *cobra.Command) {
	cmd.Flags().Bool("json", false, "print JSON, one object per line for multiple inputs")
}

// AsJSON reports whether --json was given.
func AsJSON(cmd *cobra.Command) bool {
	v, err := cmd.Flags().GetBool("json")
	return err == nil && v
}

// PrintJSON writes v as one line of JSON.
func PrintJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
