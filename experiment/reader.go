package experiment

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxFaultsRead bounds the faults that are told of one text.
const maxFaultsRead = 100

// reader puts a tree of YAML into a [Definition] and collects every fault on the
// way. It is stricter than the library: nothing is rounded, cut or taken for its
// default because it has no value.
type reader struct {
	faults []Fault
	lines  bool // the text has several, so their numbers say something
}

func (r *reader) fault(path string, n *yaml.Node, format string, args ...any) {
	if len(r.faults) == maxFaultsRead {
		return
	}
	message := fmt.Sprintf(format, args...)
	if r.lines {
		message = fmt.Sprintf("line %d: %s", n.Line, message)
	}
	if path == "" {
		path = "definition"
	}
	r.faults = append(r.faults, Fault{Field: path, Message: message})
}

// mapping reads the fields of a struct.
func (r *reader) mapping(path string, n *yaml.Node, into reflect.Value) {
	if n = target(n); n.Kind != yaml.MappingNode {
		r.fault(path, n, "%s where a mapping belongs", described(n))
		return
	}
	fields := map[string]reflect.Value{}
	for i := range into.NumField() {
		fields[into.Type().Field(i).Tag.Get("yaml")] = into.Field(i)
	}
	lines := map[string]int{} // of the fields that are set
	for k, v := range r.pairs(path, n, lines) {
		field, known := fields[k.Value]
		if !known {
			text := fmt.Sprintf("there is no field %.64s", k.Value)
			for name := range fields {
				if strings.EqualFold(strings.ReplaceAll(k.Value, "-", "_"), name) {
					text += "; did you mean " + name + "?"
				}
			}
			r.fault(path, k, "%s", text)
			continue
		}
		r.value(join(path, k.Value), v, field)
	}
}

// pairs goes through the fields of a mapping; those of a merged one (<<) come
// last, and only where the mapping itself doesn't have them.
func (r *reader) pairs(path string, n *yaml.Node, lines map[string]int) func(yield func(k, v *yaml.Node) bool) {
	return func(yield func(k, v *yaml.Node) bool) {
		var merged []*yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			switch {
			case k.Kind != yaml.ScalarNode:
				r.fault(path, k, "the name of a field must be text")
			case k.Tag == "!!merge":
				merged = append(merged, mergedNodes(v)...)
			case lines[k.Value] > 0:
				r.fault(path, k, "%.64s is there twice, first in line %d", k.Value, lines[k.Value])
			default:
				if lines[k.Value] = k.Line; !yield(k, v) {
					return
				}
			}
		}
		for _, m := range merged {
			for i := 0; i+1 < len(m.Content); i += 2 {
				k, v := m.Content[i], m.Content[i+1]
				if k.Kind != yaml.ScalarNode || lines[k.Value] > 0 {
					continue
				}
				if lines[k.Value] = k.Line; !yield(k, v) {
					return
				}
			}
		}
	}
}

// mergedNodes are the mappings that a merge names: one, or a list of them.
func mergedNodes(n *yaml.Node) []*yaml.Node {
	var all []*yaml.Node
	list := []*yaml.Node{n}
	if n = target(n); n.Kind == yaml.SequenceNode {
		list = n.Content
	}
	for _, m := range list {
		if m = target(m); m.Kind == yaml.MappingNode {
			all = append(all, m)
		}
	}
	return all
}

// value reads one value. Definitions are four levels deep, so that an alias of
// what it is in leads nowhere.
func (r *reader) value(path string, n *yaml.Node, into reflect.Value) {
	n = target(n)
	if n.Kind == yaml.ScalarNode && (n.Tag == "!!null" || strings.TrimSpace(n.Value) == "") {
		r.fault(path, n, "has no value; leave the field out for its default")
		return
	}
	switch v := into.Addr().Interface().(type) {
	case *Share:
		r.text(path, n, "a share, such as 12.5%", func(s string) error {
			p, err := ParseShare(s)
			*v = Share(p)
			return err
		})
		return
	case *time.Duration:
		r.text(path, n, `a duration, such as "36h" or "3d",`, func(s string) (err error) {
			*v, err = ParseDuration(s)
			return err
		})
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		to := reflect.New(into.Type().Elem())
		before := len(r.faults)
		if r.value(path, n, to.Elem()); len(r.faults) == before {
			into.Set(to)
		}
	case reflect.Struct:
		r.mapping(path, n, into)
	case reflect.Slice:
		r.list(path, n, into)
	case reflect.Map: // the audience
		r.audience(path, n, into)
	case reflect.Int:
		r.number(path, n, into)
	case reflect.Float64:
		if f := into.Addr().Interface().(*float64); n.Kind != yaml.ScalarNode || n.Decode(f) != nil {
			r.fault(path, n, "%s where a number belongs", described(n))
		}
	case reflect.Bool:
		if b := into.Addr().Interface().(*bool); n.Kind != yaml.ScalarNode || n.Decode(b) != nil {
			r.fault(path, n, "%s where true or false belongs", described(n))
		}
	case reflect.String:
		var s string
		if n.Kind != yaml.ScalarNode || n.Decode(&s) != nil {
			r.fault(path, n, "%s where text belongs", described(n))
			return
		}
		into.SetString(s)
	default:
		panic("a definition has a field of type " + into.Type().String())
	}
}

// text reads a scalar by a rule of its own.
func (r *reader) text(path string, n *yaml.Node, want string, read func(s string) error) {
	if n.Kind != yaml.ScalarNode || read(n.Value) != nil {
		r.fault(path, n, "%s where %s belongs", described(n), want)
	}
}

// number reads a whole number. The library would cut 1.5 to 1.
func (r *reader) number(path string, n *yaml.Node, into reflect.Value) {
	var v any
	if n.Kind == yaml.ScalarNode && n.Decode(&v) == nil {
		switch v := v.(type) {
		case int:
			into.SetInt(int64(v))
			return
		case float64:
			if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
				into.SetInt(int64(v))
				return
			}
		}
	}
	r.fault(path, n, "%s where a whole number belongs", described(n))
}

func (r *reader) list(path string, n *yaml.Node, into reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		r.fault(path, n, "%s where a list belongs", described(n))
		return
	}
	all := reflect.MakeSlice(into.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		r.value(fmt.Sprintf("%s[%d]", path, i), item, all.Index(i))
	}
	into.Set(all)
}

func (r *reader) audience(path string, n *yaml.Node, into reflect.Value) {
	if n.Kind != yaml.MappingNode {
		r.fault(path, n, "%s where a mapping belongs", described(n))
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for k, v := range r.pairs(path, n, map[string]int{}) {
		values := reflect.New(into.Type().Elem()).Elem()
		r.value(join(path, clipped(k.Value)), v, values)
		into.SetMapIndex(reflect.ValueOf(k.Value), values)
	}
}

// target is what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// described says what a node is, for a fault.
func described(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return strconv.Quote(clipped(n.Value))
}

func clipped(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "..."
	}
	return s
}

func join(path, field string) string { return strings.TrimPrefix(path+"."+field, ".") }
