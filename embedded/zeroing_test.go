package embedded

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestWithZeroing(t *testing.T) {
	for _, test := range []struct {
		name      string
		env, want []string
		library   string
	}{
		{"no library", []string{"A=1", "LD_PRELOAD=/x.so"}, []string{"A=1", "LD_PRELOAD=/x.so"}, ""},
		{"alone", []string{"A=1"}, []string{"A=1", "LD_PRELOAD=/j.so", "MALLOC_CONF=zero:true"}, "/j.so"},
		{"beside others", []string{"LD_PRELOAD=/x.so", "MALLOC_CONF=narenas:2"},
			[]string{"LD_PRELOAD=/j.so:/x.so", "MALLOC_CONF=narenas:2,zero:true"}, "/j.so"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := withZeroing(test.env, test.library); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFindZeroing(t *testing.T) {
	empty, full := t.TempDir(), t.TempDir()
	path := filepath.Join(full, zeroingLibrary)
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := findZeroing([]string{empty, full}); got != path {
		t.Errorf("found %q, want %q", got, path)
	}
	if got := findZeroing([]string{empty, filepath.Join(full, "none")}); got != "" {
		t.Errorf("found %q", got)
	}
}
