package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Setting is one declared setting.
type Setting struct {
	Key     string // kebab-case: the flag; see [EnvName] and [FileKey]
	Group   string // a heading of the reference page
	Default string
	Help    string
	Type    string // for people: "integer", "duration", ...
	Bounds  string // for people: "at least 1", "auto or go"; empty: any value of the type
	Use     Use
	FileOf  string // key of the secret whose file this setting names; "": it is a setting of its own

	set func(text string) error // parses, checks and fills the field
}

// of declares a setting that fills field, with at most one rule. Where the
// default is empty, an empty text means that nothing is set, and the rule
// doesn't apply.
func of[T any](field *T, key, def, help string, rules ...rule[T]) Setting {
	st := Setting{Key: key, Default: def, Help: help, Type: typeName(reflect.TypeFor[T]())}
	for _, r := range rules {
		st.Bounds = r.text
	}
	st.set = func(text string) error {
		if strings.ContainsFunc(text, unicode.IsControl) {
			return errors.New("contains a control character")
		}
		var v T
		if err := parseInto(&v, text); err != nil {
			return err
		}
		if text != "" || def != "" {
			for _, r := range rules {
				if err := r.check(&v); err != nil {
					return err
				}
			}
		}
		*field = v
		return nil
	}
	return st
}

// group declares settings under one heading.
func group(name string, settings ...Setting) []Setting {
	for i := range settings {
		settings[i].Group = name
	}
	return settings
}

func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[Bytes]():
		return "bytes"
	case reflect.TypeFor[Secret]():
		return secretType
	case reflect.TypeFor[Peers]():
		return "boolean or networks"
	case reflect.TypeFor[Networks]():
		return "networks"
	case reflect.TypeFor[[]string]():
		return "list"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Float64:
		return "number"
	case reflect.Int, reflect.Int64:
		return "integer"
	}
	return "text"
}

// parseInto fills field, a pointer to one of the types of [Settings].
func parseInto(field any, text string) (err error) {
	switch v := field.(type) {
	case *string:
		*v = text
	case *Secret:
		*v = Secret(text)
	case *Peers:
		*v, err = ParsePeers(text)
	case *Networks:
		*v, err = ParseNetworks(text)
	case *[]string:
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*v = append(*v, item)
			}
		}
	case *Bytes:
		*v, err = ParseBytes(text)
	case *time.Duration:
		if *v, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("%q is not a duration such as 500ms or 30s", text)
		}
	case *float64:
		if *v, err = strconv.ParseFloat(text, 64); err != nil || math.IsInf(*v, 0) || math.IsNaN(*v) {
			return fmt.Errorf("%q is not a number", text)
		}
	case *bool:
		if *v, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
	case *int:
		if *v, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
	case *int64:
		if *v, err = strconv.ParseInt(text, 10, 64); err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
	default:
		panic(fmt.Sprintf("config: no parser for %T", field))
	}
	return err
}
