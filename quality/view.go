package quality

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Bounds of views.
const (
	MaxViews    = 16            // of one checkpoint
	MaxViewSize = 5 * ImageSize // 1120 pixels
)

// View is one square of [ImageSize] pixels of a picture: one row of a call to
// the image encoder. The picture is resized to a short side of Size and its
// middle Size x Size is cut into cells of [ImageSize]; the view is one of them.
//
// A view has a [Recipe] too: the same square by two recipes is two views, so
// that rows, caches and embeddings of different recipes never mix.
//
// Its text form is "S/rRcC", such as "448/r0c1" for the second cell of the
// first row at 448 pixels; the only cell at 224 pixels is "224". Another recipe
// than [Pillow12] follows after a colon: "448/r0c1:pillow13-bicubic-224". The
// zero value is "224". Views are comparable: each has one value and one text
// form.
type View struct {
	more        uint8 // cells of a side beyond the first
	row, column uint8
	recipe      Recipe
}

// NewView returns the cell in a row and a column, both from 0, of a picture at
// a size, which is a multiple of [ImageSize] up to [MaxViewSize].
func NewView(size, row, column int) (View, error) {
	if size < ImageSize || size > MaxViewSize || size%ImageSize != 0 {
		return View{}, fmt.Errorf("view: size %d must be a multiple of %d up to %d", size, ImageSize, MaxViewSize)
	}
	cells := size / ImageSize
	if row < 0 || row >= cells || column < 0 || column >= cells {
		return View{}, fmt.Errorf("view: size %d has rows and columns 0 to %d, not r%dc%d", size, cells-1, row, column)
	}
	return View{more: uint8(cells - 1), row: uint8(row), column: uint8(column)}, nil
}

// ParseView reads the text form. It accepts no other spelling of a view than
// [View.String] gives, so that equal views are equal strings.
func ParseView(s string) (View, error) {
	square, name, hasRecipe := strings.Cut(s, ":")
	recipe := Pillow12
	if hasRecipe {
		var err error
		if recipe, err = ParseRecipe(name); err != nil {
			return View{}, fmt.Errorf("view %s: %w", Quote(s), err)
		}
	}
	size, cell, hasCell := strings.Cut(square, "/")
	var row, column string
	inForm := true
	if hasCell {
		row, column, inForm = strings.Cut(strings.TrimPrefix(cell, "r"), "c")
	} else {
		row, column = "0", "0"
	}
	var numbers [3]int
	for i, text := range []string{size, row, column} {
		n, err := strconv.Atoi(text)
		inForm = inForm && err == nil
		numbers[i] = n
	}
	if inForm {
		v, err := NewView(numbers[0], numbers[1], numbers[2])
		if err != nil {
			return View{}, err
		}
		if v = v.By(recipe); v.String() == s {
			return v, nil
		}
	}
	return View{}, fmt.Errorf(`view %s is not of the form "%d" or "%d/r0c1"`, Quote(s), ImageSize, 2*ImageSize)
}

// Size is the short side to which the picture is resized, in pixels.
func (v View) Size() int { return (int(v.more) + 1) * ImageSize }

// Cell returns the row and the column of the view in the picture's middle
// square, both from 0.
func (v View) Cell() (row, column int) { return int(v.row), int(v.column) }

// Recipe is how the picture is resized.
func (v View) Recipe() Recipe { return v.recipe }

// By returns the same square by a recipe.
func (v View) By(r Recipe) View {
	v.recipe = r
	return v
}

// Square returns the text form without the recipe.
func (v View) Square() string {
	if v.more == 0 {
		return strconv.Itoa(ImageSize)
	}
	return fmt.Sprintf("%d/r%dc%d", v.Size(), v.row, v.column)
}

// String returns the text form.
func (v View) String() string {
	if v.recipe == Pillow12 {
		return v.Square()
	}
	return v.Square() + ":" + v.recipe.String()
}

// MarshalText implements [encoding.TextMarshaler].
func (v View) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (v *View) UnmarshalText(b []byte) error {
	parsed, err := ParseView(string(b))
	if err != nil {
		return err
	}
	*v = parsed
	return nil
}

// Views are the distinct views of a checkpoint, in order: 1 to [MaxViews] of
// them, all by one recipe. The zero value has the one view "224". Views are
// comparable.
type Views struct {
	more uint8 // views beyond the first
	at   [MaxViews]View
}

// NewViews returns the views, in their order.
func NewViews(views ...View) (Views, error) {
	if n := len(views); n < 1 || n > MaxViews {
		return Views{}, fmt.Errorf("views: %d, want 1 to %d", n, MaxViews)
	}
	vs := Views{more: uint8(len(views) - 1)}
	for i, v := range views {
		if slices.Contains(views[:i], v) {
			return Views{}, fmt.Errorf("views: %s is listed twice", v)
		}
		if v.recipe != views[0].recipe {
			return Views{}, fmt.Errorf("views: %s and %s are of different recipes", views[0], v)
		}
		vs.at[i] = v
	}
	return vs, nil
}

// ParseViews reads the text forms of views.
func ParseViews(texts []string) (Views, error) {
	if n := len(texts); n > MaxViews {
		return Views{}, fmt.Errorf("views: %d, want 1 to %d", n, MaxViews)
	}
	views := make([]View, len(texts))
	for i, text := range texts {
		var err error
		if views[i], err = ParseView(text); err != nil {
			return Views{}, err
		}
	}
	return NewViews(views...)
}

// Len is the number of views, at least 1.
func (vs Views) Len() int { return int(vs.more) + 1 }

// List returns the views in order.
func (vs Views) List() []View { return slices.Clone(vs.at[:vs.Len()]) }

// Recipe is that of every view.
func (vs Views) Recipe() Recipe { return vs.at[0].recipe }

// By returns the same squares by a recipe.
func (vs Views) By(r Recipe) Views {
	for i := range vs.Len() {
		vs.at[i].recipe = r
	}
	return vs
}

// Squares returns the text forms without the recipe, in order.
func (vs Views) Squares() []string {
	out := make([]string, vs.Len())
	for i := range out {
		out[i] = vs.at[i].Square()
	}
	return out
}

// Strings returns the text forms in order.
func (vs Views) Strings() []string {
	out := make([]string, vs.Len())
	for i := range out {
		out[i] = vs.at[i].String()
	}
	return out
}

// String returns the text forms, separated by commas.
func (vs Views) String() string { return strings.Join(vs.Strings(), ",") }

// Box is a rectangle of a picture, in pixels from its upper left corner.
type Box struct{ X, Y, Width, Height int }
