package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// Setting is one entry of the table that the tags of [Settings] make.
type Setting struct {
	Key, Group, Default, Help, Type string
	index                           int
}

// EnvName returns the environment variable of a setting: AGIQA_MAX_IMAGES for
// max-images.
func EnvName(key string) string {
	return "AGIQA_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

// FileKey returns the key of a setting in the YAML file: max_images.
func FileKey(key string) string { return strings.ReplaceAll(key, "-", "_") }

// All lists the settings in the order of the fields.
func All() []Setting {
	t := reflect.TypeFor[Settings]()
	all := make([]Setting, t.NumField())
	for i := range all {
		f := t.Field(i)
		all[i] = Setting{
			Key: f.Tag.Get("key"), Group: f.Tag.Get("group"), Default: f.Tag.Get("default"),
			Help: f.Tag.Get("help"), Type: typeName(f.Type), index: i,
		}
	}
	return all
}

// Default returns the settings with every default in place.
func Default() Settings {
	s, err := Load(Sources{})
	if err != nil {
		panic(fmt.Sprintf("config: a default is not valid: %v", err)) // held by a test
	}
	return s
}

// AddFlags adds the flags of the settings whose group is among groups.
func AddFlags(flags *pflag.FlagSet, groups ...string) {
	for _, st := range All() {
		if !slices.Contains(groups, st.Group) || flags.Lookup(st.Key) != nil {
			continue
		}
		help := strings.TrimSuffix(st.Help, ".") + " (" + EnvName(st.Key) + ")"
		flags.String(st.Key, st.Default, help)
		if st.Type == "boolean" || st.Type == "networks" {
			flags.Lookup(st.Key).NoOptDefVal = "true"
		}
	}
}

// Sources are where values come from, the strongest first.
type Sources struct {
	Flags    *pflag.FlagSet // only flags that were set count; nil: none
	Environ  []string       // as os.Environ gives it
	File     []byte         // YAML; nil: none
	FileName string         // for messages
}

// Load merges flags over environment over file over defaults and validates
// the result. The error joins every [Fault].
func Load(src Sources) (Settings, error) {
	var (
		s      Settings
		faults []error
		env    = Environment(src.Environ)
	)
	file, err := readFile(src)
	if err != nil {
		faults = append(faults, err)
	}
	value := reflect.ValueOf(&s).Elem()
	for _, st := range All() {
		text, source := st.Default, "default"
		if v, ok := file[FileKey(st.Key)]; ok {
			text, source = v, src.FileName
		}
		if v, ok := env[EnvName(st.Key)]; ok {
			text, source = v, EnvName(st.Key)
		}
		if src.Flags != nil && src.Flags.Changed(st.Key) {
			text, source = src.Flags.Lookup(st.Key).Value.String(), "--"+st.Key
		}
		if err := parseInto(value.Field(st.index), text); err != nil {
			faults = append(faults, &Fault{Key: st.Key, Source: source, Text: err.Error()})
			// The default keeps Validate from reporting the same setting twice.
			if err := parseInto(value.Field(st.index), st.Default); err != nil {
				panic(fmt.Sprintf("config: default of %s: %v", st.Key, err))
			}
		}
	}
	if err := s.Validate(); err != nil {
		faults = append(faults, err)
	}
	return s, errors.Join(faults...)
}

// UnknownVariables lists the AGIQA_* variables that no setting reads: most
// often a typing error, worth a warning.
func UnknownVariables(environ []string) []string {
	known := map[string]bool{"AGIQA_CONFIG": true}
	for _, st := range All() {
		known[EnvName(st.Key)] = true
	}
	var unknown []string
	for name := range Environment(environ) {
		if strings.HasPrefix(name, "AGIQA_") && !known[name] {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// Environment reads os.Environ's form into a map.
func Environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok {
			env[name] = value
		}
	}
	return env
}

// readFile returns the file's values as text, by file key. A list becomes a
// comma-separated text.
func readFile(src Sources) (map[string]string, error) {
	if len(src.File) == 0 {
		return nil, nil
	}
	var raw map[string]yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(src.File))
	if err := dec.Decode(&raw); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", src.FileName, err)
	}
	known := map[string]bool{}
	for _, st := range All() {
		known[FileKey(st.Key)] = true
	}
	values := map[string]string{}
	var faults []error
	for key, node := range raw {
		switch {
		case !known[key]:
			faults = append(faults, fmt.Errorf("%s:%d: unknown setting %q", src.FileName, node.Line, key))
		case node.Kind == yaml.ScalarNode:
			values[key] = node.Value
		case node.Kind == yaml.SequenceNode:
			items := make([]string, len(node.Content))
			for i, c := range node.Content {
				items[i] = c.Value
			}
			values[key] = strings.Join(items, ",")
		default:
			faults = append(faults, fmt.Errorf("%s:%d: setting %q must be a value or a list", src.FileName, node.Line, key))
		}
	}
	return values, errors.Join(faults...)
}

func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[Bytes]():
		return "bytes"
	case reflect.TypeFor[Secret]():
		return "secret"
	case reflect.TypeFor[Peers]():
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

func parseInto(field reflect.Value, text string) error {
	switch v := field.Addr().Interface().(type) {
	case *string:
		*v = text
	case *Secret:
		*v = Secret(text)
	case *Peers:
		p, err := ParsePeers(text)
		if err != nil {
			return err
		}
		*v = p
	case *[]string:
		*v = nil
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*v = append(*v, item)
			}
		}
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 500ms or 30s", text)
		}
		*v = d
	case *Bytes:
		b, err := ParseBytes(text)
		if err != nil {
			return err
		}
		*v = b
	case *float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		*v = f
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
		*v = b
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*v = n
	case *int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*v = n
	default:
		panic(fmt.Sprintf("config: no parser for %s", field.Type()))
	}
	return nil
}
