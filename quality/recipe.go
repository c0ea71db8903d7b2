package quality

import (
	"fmt"
	"strings"
)

// Recipe names how a decoded picture is resized and cropped: what a checkpoint
// was trained on. It is the first part of a [PreprocessID] and part of a
// [View]. The zero value is [Pillow12].
//
// Both recipes are Pillow's bicubic resize with 8 bits between its two passes,
// and differ in the order of the passes, which shows in the last bits.
type Recipe uint8

// The recipes.
const (
	// Pillow12 resizes horizontally and then vertically, as Pillow did up to 12.
	Pillow12 Recipe = iota
	// Pillow13 resizes vertically first where the height shrinks by more than
	// twice as many pixels as the width, as Pillow does from 13 on.
	Pillow13
)

var recipeNames = [...]string{Pillow12: "pillow12-bicubic-224", Pillow13: "pillow13-bicubic-224"}

// Recipes returns every recipe. The first is the one of checkpoints that name
// none.
func Recipes() []Recipe { return []Recipe{Pillow12, Pillow13} }

// ParseRecipe reads a name. The error lists those that exist.
func ParseRecipe(s string) (Recipe, error) {
	for r, name := range recipeNames {
		if s == name {
			return Recipe(r), nil
		}
	}
	return 0, fmt.Errorf("unknown recipe %s; the recipes are %s", Quote(s), strings.Join(recipeNames[:], " and "))
}

// String returns the name.
func (r Recipe) String() string { return recipeNames[r] }

// MarshalText implements [encoding.TextMarshaler].
func (r Recipe) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Recipe) UnmarshalText(b []byte) error {
	parsed, err := ParseRecipe(string(b))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}
