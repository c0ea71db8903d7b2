package quality_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/quality"
)

func TestNoCheckpointNamesWhatThereIs(t *testing.T) {
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("c%02d", i))
	}
	for _, test := range []struct {
		names []string
		known []string
		want  string
	}{
		{[]string{"x"}, nil, `checkpoint "x" not found; the server has none`},
		{[]string{"x"}, []string{"a", "b"}, `checkpoint "x" not found; available: a, b`},
		{[]string{"x\r\n\u202e"}, []string{"a"}, `checkpoint "x\r\n\u202e" not found; available: a`},
		{[]string{strings.Repeat("é", 40)}, []string{"a"}, `checkpoint "` + strings.Repeat(`\u00e9`, 32) +
			`"... not found; available: a`},
		{[]string{"x"}, many, `checkpoint "x" not found; available: ` + strings.Join(many[:10], ", ") + " and 2 more"},
		{[]string{"x", "y"}, []string{"a"}, `checkpoints "x", "y" not found; available: a`},
	} {
		err := quality.NoCheckpoint(test.names, test.known)
		if err.Kind != quality.KindCheckpointNotFound || err.Detail != test.want {
			t.Errorf("NoCheckpoint(%q): %s %q, want %q", test.names, err.Kind, err.Detail, test.want)
		}
	}
}
