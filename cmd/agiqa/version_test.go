package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/version"
)

func TestVersion(t *testing.T) {
	for _, test := range []struct {
		name  string
		build version.Info
		want  []string // in this order
	}{
		{
			"a release", version.Info{Version: "1.2.3", Commit: "abc", Date: "2026-11-29T12:00:00Z",
				Go: "go1.26.8", Platform: "linux/arm64"},
			[]string{"agiqa 1.2.3\n", "commit    abc\n", "2026-11-29T12:00:00Z\n", "go1.26.8\n", "linux/arm64\n"},
		},
		{
			"with changes", version.Info{Version: "1.2.3-dev+abc.modified", Commit: "abc", Modified: true},
			[]string{"agiqa 1.2.3-dev+abc.modified\n", "abc, with changes\n"},
		},
		{"nothing known", version.Info{Version: "1.2.3-dev"},
			[]string{"agiqa 1.2.3-dev\n", "commit    unknown\n", "date      unknown\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := printVersion(&out, test.build); err != nil {
				t.Fatal(err)
			}
			rest := out.String()
			for _, part := range test.want {
				var found bool
				if _, rest, found = strings.Cut(rest, part); !found {
					t.Errorf("%q is missing, or not in its place:\n%s", part, out.String())
				}
			}
		})
	}
	var out bytes.Buffer
	root := newRoot(&cli.Terminal{Out: &out})
	root.SetArgs([]string{"version", "--json"})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got version.Info
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(version.Current(), got); diff != "" || got.Version == "" || got.Go == "" {
		t.Errorf("agiqa version --json prints %s (-want +got):\n%s", out.String(), diff)
	}
}
