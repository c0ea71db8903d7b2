package gateway

import (
	"bytes"
	"errors"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// jsonFormat writes answers as huma does. It reads bodies strictly, UTF-8 and
// no name twice, and says what is wrong with them in words of JSON.
var jsonFormat = huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: unmarshal}

func unmarshal(data []byte, v any) error {
	err := json.Unmarshal(bytes.TrimPrefix(data, byteOrderMark), v, json.MatchCaseInsensitiveNames(true))
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return errors.New("the name " + clip(syntax.JSONPointer.LastToken(), 64) + " appears twice in an object")
		}
		return errors.New("the body is not valid JSON")
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return errors.New("the value at " + clip(string(semantic.JSONPointer), 128) + " is out of range or malformed")
	}
	return err
}
