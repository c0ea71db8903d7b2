package contract

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// numberFormats are those of OpenAPI's registry, which a validator of JSON
// Schema doesn't know.
func numberFormats() []*jsonschema.Format {
	integer := func(bits int) func(v any) error {
		return func(v any) error {
			if n, is := v.(json.Number); is {
				if _, err := strconv.ParseInt(n.String(), 10, bits); err != nil {
					return err
				}
			}
			return nil
		}
	}
	float := func(most float64) func(v any) error {
		return func(v any) error {
			n, is := v.(json.Number)
			if !is {
				return nil
			}
			f, err := n.Float64()
			if err == nil && math.Abs(f) > most {
				return fmt.Errorf("%s is out of range", n)
			}
			return err
		}
	}
	return []*jsonschema.Format{
		{Name: "int32", Validate: integer(32)}, {Name: "int64", Validate: integer(64)},
		{Name: "float", Validate: float(math.MaxFloat32)}, {Name: "double", Validate: float(math.MaxFloat64)},
	}
}
