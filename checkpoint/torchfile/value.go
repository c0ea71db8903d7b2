package torchfile

import "fmt"

// What stands on the machine's stack, besides bool, int64, float64, string,
// []byte, [global], *[storage] and [Tensor].
type (
	none  struct{}
	tuple []any
	list  struct{ items []any }
	// dict keeps its pairs as they came: that a key appears twice is found when
	// the values are named.
	dict struct{ keys, values []any }
	// marker stands for an object of a class that is known and not read.
	marker struct{ name string }
)

// describe says what a value is, for an error.
func describe(v any) string {
	switch v := v.(type) {
	case none:
		return "None"
	case bool, int64, float64:
		return fmt.Sprint(v)
	case string:
		return fmt.Sprintf("the text %.80q", v)
	case []byte:
		return fmt.Sprintf("%d bytes", len(v))
	case tuple:
		return fmt.Sprintf("a tuple of %d", len(v))
	case *list:
		return fmt.Sprintf("a list of %d", len(v.items))
	case *dict:
		return fmt.Sprintf("a dictionary of %d", len(v.keys))
	case global:
		return v.name
	case *storage:
		return "storage " + v.name
	case Tensor:
		return fmt.Sprintf("a tensor of shape %v", v.Shape)
	case marker:
		return "an object of " + v.name
	}
	return fmt.Sprintf("%T", v)
}
