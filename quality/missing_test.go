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
		name  string
		known []string
		want  string
	}{
		{"x", nil, `there is no checkpoint "x", nor any other`},
		{"x", []string{"a", "b"}, `there is no checkpoint "x"; known are a, b`},
		{"x\r\n\u202e", []string{"a"}, `there is no checkpoint "x\r\n\u202e"; known are a`},
		{strings.Repeat("é", 40), []string{"a"}, `there is no checkpoint "` + strings.Repeat(`\u00e9`, 32) + `"...; known are a`},
		{"x", many, `there is no checkpoint "x"; known are ` + strings.Join(many[:10], ", ") + " and 2 more"},
	} {
		err := quality.NoCheckpoint(test.name, test.known)
		if err.Kind != quality.KindCheckpointNotFound || err.Detail != test.want {
			t.Errorf("NoCheckpoint(%q): %s %q, want %q", test.name, err.Kind, err.Detail, test.want)
		}
	}
}
