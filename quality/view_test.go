package quality_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/quality"
)

func TestParseView(t *testing.T) {
	for _, test := range []struct {
		text        string
		size        int
		row, column int
		recipe      quality.Recipe
		fault       string // part of the error; "" for none
	}{
		{text: "224", size: 224},
		{text: "448/r0c0", size: 448},
		{text: "448/r0c1", size: 448, column: 1},
		{text: "1120/r4c3", size: 1120, row: 4, column: 3},

		{text: "224:pillow13-bicubic-224", size: 224, recipe: quality.Pillow13},
		{text: "448/r1c0:pillow13-bicubic-224", size: 448, row: 1, recipe: quality.Pillow13},

		{text: "224:pillow12-bicubic-224", fault: "form"}, // it has no other spelling
		{text: "224:", fault: "unknown recipe"},
		{text: "224:pillow14", fault: "the recipes are pillow12-bicubic-224 and pillow13-bicubic-224"},
		{text: "448:pillow13-bicubic-224", fault: "form"},
		{text: "", fault: "form"},
		{text: "448", fault: "form"},
		{text: "224/r0c0", fault: "form"},
		{text: "0224", fault: "form"},
		{text: "+224", fault: "form"},
		{text: " 224", fault: "form"},
		{text: "448/r0", fault: "form"},
		{text: "448/0c1", fault: "form"},
		{text: "448/rr0c1", fault: "form"},
		{text: "448/r0c01", fault: "form"},
		{text: "448/r0c1/", fault: "form"},
		{text: "448/r0c1\n", fault: "form"},
		{text: "448/c0r1", fault: "form"},
		{text: "448/r-1c0", fault: "rows and columns 0 to 1"},
		{text: "448/r2c0", fault: "rows and columns 0 to 1"},
		{text: "448/r0c2", fault: "rows and columns 0 to 1"},
		{text: "0", fault: "multiple of 224 up to 1120"},
		{text: "300/r0c0", fault: "multiple of 224 up to 1120"},
		{text: "1344/r0c0", fault: "multiple of 224 up to 1120"},
		{text: "99999999999999999999/r0c0", fault: "form"},
	} {
		v, err := quality.ParseView(test.text)
		if test.fault != "" {
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("ParseView(%q): %v, %v; want an error with %q", test.text, v, err, test.fault)
			}
			continue
		}
		row, column := v.Cell()
		if err != nil || v.Size() != test.size || v.Recipe() != test.recipe || row != test.row || column != test.column || v.String() != test.text {
			t.Errorf("ParseView(%q): %v of size %d, cell %d,%d, %v", test.text, v, v.Size(), row, column, err)
		}
		if made, err := quality.NewView(test.size, test.row, test.column); made.By(test.recipe) != v || err != nil {
			t.Errorf("NewView(%d, %d, %d): %v, %v; want %v", test.size, test.row, test.column, made, err, v)
		}
	}
}

func TestViews(t *testing.T) {
	var zero quality.Views
	if one, err := quality.ParseViews([]string{"224"}); one != zero || err != nil {
		t.Errorf(`ParseViews("224"): %v, %v; want the zero value`, one, err)
	}
	if got := zero.Strings(); !slices.Equal(got, []string{"224"}) || zero.Len() != 1 {
		t.Errorf("the zero value has views %v", got)
	}
	texts := []string{"448/r1c1", "224", "448/r0c0"}
	views, err := quality.ParseViews(texts)
	if err != nil || !slices.Equal(views.Strings(), texts) || views.Len() != 3 ||
		views.String() != "448/r1c1,224,448/r0c0" {
		t.Errorf("ParseViews(%v): %v, %v", texts, views, err)
	}
	if again, err := quality.NewViews(views.List()...); again != views || err != nil {
		t.Errorf("NewViews(List()): %v, %v; want %v", again, err, views)
	}
	views.List()[0] = quality.View{}
	if !slices.Equal(views.Strings(), texts) {
		t.Error("changing what List returned changed the views")
	}
	swapped, err := quality.ParseViews([]string{"224", "448/r1c1", "448/r0c0"})
	if err != nil || swapped == views {
		t.Errorf("another order gives equal views: %v", err)
	}
	var every []string
	for _, row := range "01234" {
		for _, column := range "01234" {
			every = append(every, "1120/r"+string(row)+"c"+string(column))
		}
	}
	if most, err := quality.ParseViews(every[:quality.MaxViews]); err != nil || most.Len() != quality.MaxViews {
		t.Errorf("%d views: %v", quality.MaxViews, err)
	}
	other := views.By(quality.Pillow13)
	if other == views || other.Recipe() != quality.Pillow13 || other.By(quality.Pillow12) != views ||
		!slices.Equal(other.Squares(), texts) || other.Strings()[1] != "224:pillow13-bicubic-224" {
		t.Errorf("by another recipe: %v, squares %v", other, other.Squares())
	}
	for name, texts := range map[string][]string{
		"none": {}, "twice": {"224", "448/r0c0", "224"},
		"two recipes": {"224", "448/r0c0:pillow13-bicubic-224"},
		"too many":    every[:quality.MaxViews+1], "a bad one": {"224", "448"},
	} {
		if got, err := quality.ParseViews(texts); err == nil || got != zero {
			t.Errorf("%s: %v, %v; want an error", name, got, err)
		}
	}
}

func TestViewAsText(t *testing.T) {
	in := map[quality.View]int{{}: 1}
	b, err := json.Marshal(in)
	if err != nil || string(b) != `{"224":1}` {
		t.Fatalf("Marshal: %s, %v", b, err)
	}
	var out []quality.View
	err = json.Unmarshal([]byte(`["224","448/r1c0"]`), &out)
	if err != nil || len(out) != 2 || out[1].String() != "448/r1c0" {
		t.Errorf("Unmarshal: %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`["448"]`), &out); err == nil {
		t.Error("a view that does not parse is accepted")
	}
}

func TestPreprocessIDOfAView(t *testing.T) {
	for text, want := range map[string]quality.PreprocessID{
		"224": "way/1", "448/r1c0": "way/1@448/r1c0",
		"224:pillow13-bicubic-224": "way/1", "448/r1c0:pillow13-bicubic-224": "way/1@448/r1c0",
	} {
		v, err := quality.ParseView(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := quality.PreprocessID("way/1").At(v); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
