package labels_test

import (
	"fmt"
	"testing"

	"github.com/agiqa/agiqa/internal/labels"
)

func TestBound(t *testing.T) {
	t.Parallel()
	var b labels.Bound
	for i := range labels.Most {
		if name := fmt.Sprint(i); b.Of(name) != name {
			t.Errorf("name %d became %q", i, b.Of(name))
		}
	}
	for _, test := range []struct{ name, want string }{{"one more", labels.Other},
		{"another", labels.Other}, {"0", "0"}, {"63", "63"}} {
		if got := b.Of(test.name); got != test.want {
			t.Errorf("%q became %q, want %q", test.name, got, test.want)
		}
	}
}
