package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// EnvName returns the environment variable of a setting: AGIQA_MAX_IMAGES for
// max-images.
func EnvName(key string) string {
	return "AGIQA_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

// FileKey returns the key of a setting in the YAML file: max_images.
func FileKey(key string) string { return strings.ReplaceAll(key, "-", "_") }

// All lists the settings in the order of the reference page. Each secret is
// followed by the setting that names a file with it.
func All() []Setting { return withFiles(new(Settings).declare()) }

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
		notes := EnvName(st.Key)
		if st.Bounds != "" {
			notes = st.Bounds + "; " + notes
		}
		help := strings.TrimSuffix(st.Help, ".") + " (" + notes + ")"
		flags.String(st.Key, st.Default, help)
		if st.Type == "boolean" || st.Type == "boolean or networks" {
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

// Load merges flags over environment over file over defaults and checks each
// value. A variable that is empty is not set. The error joins every [Fault].
func Load(src Sources) (Settings, error) {
	var s Settings
	env := Environment(src.Environ)
	file, err := readFile(src)
	faults := []error{err}
	for _, st := range s.declare() {
		text, source, err := src.value(st, file, env)
		if err == nil {
			err = st.set(strings.TrimSpace(text))
		}
		if strings.HasPrefix(source, "OTEL_") {
			err = errors.Join(err, checkOTel(source, env))
		}
		if err != nil {
			faults = append(faults, &Fault{Key: st.Key, Source: source, Text: err.Error()})
		}
	}
	return s, errors.Join(faults...)
}

// value is lookup, but reads a secret that is in a file.
func (src Sources) value(st Setting, file, env map[string]string) (text, source string, err error) {
	text, source = src.lookup(st, file, env)
	if st.Type != secretType {
		return text, source, nil
	}
	path, from := src.lookup(fileOf(st), file, env)
	if path = strings.TrimSpace(path); path == "" {
		return text, source, nil
	}
	from += ", " + path
	if source != "default" && text != "" {
		return "", from, fmt.Errorf("is also given by %s: leave one of the two out", source)
	}
	text, err = readSecret(path)
	return text, from, err
}

// lookup returns the text of a setting and where it came from.
func (src Sources) lookup(st Setting, file, env map[string]string) (text, source string) {
	if src.Flags != nil && src.Flags.Changed(st.Key) {
		return src.Flags.Lookup(st.Key).Value.String(), "--" + st.Key
	}
	if v := env[EnvName(st.Key)]; strings.TrimSpace(v) != "" {
		return v, EnvName(st.Key)
	}
	if v, ok := file[FileKey(st.Key)]; ok {
		return v, src.FileName
	}
	if st.Key == "otlp-endpoint" {
		if name := otelEndpoint(env); name != "" {
			return env[name], name
		}
	}
	return st.Default, "default"
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

func isNested(n *yaml.Node) bool { return n.Kind != yaml.ScalarNode }

// readFile returns the file's values as text, by file key. A list becomes a
// comma-separated text.
func readFile(src Sources) (map[string]string, error) {
	if len(src.File) == 0 {
		return nil, nil
	}
	if !utf8.Valid(src.File) { // YAML may be UTF-16 as well
		return nil, fmt.Errorf("%s: the file is not UTF-8", src.FileName)
	}
	var raw map[string]yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(src.File))
	if err := dec.Decode(&raw); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", src.FileName, err)
	}
	if err := dec.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: something follows the first document", src.FileName)
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
			meant := strings.ReplaceAll(strings.ToLower(key), "-", "_")
			if !known[meant] {
				meant = ""
			} else {
				meant = "; did you mean " + meant + "?"
			}
			faults = append(faults, fmt.Errorf("%s:%d: unknown setting %q%s", src.FileName, node.Line, key, meant))
		case node.Tag == "!!null": // as in `key:` with nothing behind it
		case node.Kind == yaml.ScalarNode:
			values[key] = node.Value
		case node.Kind == yaml.SequenceNode && !slices.ContainsFunc(node.Content, isNested):
			items := make([]string, len(node.Content))
			for i, c := range node.Content {
				items[i] = c.Value
			}
			values[key] = strings.Join(items, ",")
		default:
			faults = append(faults,
				fmt.Errorf("%s:%d: setting %q must be a value or a list", src.FileName, node.Line, key))
		}
	}
	return values, errors.Join(faults...)
}
