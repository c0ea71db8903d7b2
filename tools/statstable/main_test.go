package main

import (
	"strings"
	"testing"
)

// A small run prints every table, without a figure that is not a number.
func TestTables(t *testing.T) {
	if testing.Short() {
		t.Skip("a second of simulation")
	}
	var out strings.Builder
	if err := run(&out, "", 10, 1); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Population: 2,982 synthetic images", "Nothing differs, alpha 5 %, 5,000 labels, 10 runs",
		"Labels that are alike", "30 raters who agree", "Sample ratio", "Difference of SRCC",
		"how long it takes", "Labels that lean",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "NaN") {
		t.Errorf("NaN in\n%s", &out)
	}
	if err := run(&out, "no/such/file.csv", 10, 1); err == nil {
		t.Error("a file that is not there: got no error")
	}
	if err := run(&out, "", 1, 1); err == nil {
		t.Error("one run: got no error")
	}
}
