package contract

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"mime"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The names under which the validator knows the document and its meta-schema.
// They are absolute URLs: relative ones are taken for files of the working
// folder, whose path may have any character.
const (
	root     = "https://agiqa.invalid/openapi.json"
	metaRoot = "https://agiqa.invalid/openapi-3.1.schema.json"
)

// metaSchema describes OpenAPI documents, without the schemas in them.
//
//go:embed openapi-3.1.schema.json
var metaSchema []byte

// Document is an OpenAPI 3.1 document. It is safe for concurrent use.
type Document struct {
	doc    object
	routes []route

	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema // by their pointer in the document
}

type object = map[string]any

// route is a path of the document.
type route struct {
	path       string
	match      *regexp.Regexp
	operations object // by method in lower case
}

var parameter = regexp.MustCompile(`\\\{[^}]*\\\}`)

// Parse reads a document, and refuses one that OpenAPI's own schema refuses,
// whose schemas the validator can't compile, or that leaves open which members
// an object has.
func Parse(data []byte) (*Document, error) {
	d, err := Read(data)
	if err != nil {
		return nil, err
	}
	meta, err := jsonschema.UnmarshalJSON(bytes.NewReader(metaSchema))
	if err != nil {
		return nil, err
	}
	if err := d.compiler.AddResource(metaRoot, meta); err != nil {
		return nil, err
	}
	schema, err := d.compiler.Compile(metaRoot)
	if err != nil {
		return nil, err
	}
	if err := schema.Validate(d.doc); err != nil {
		return nil, fmt.Errorf("not an OpenAPI 3.1 document: %w", err)
	}
	return d, d.walk("#", d.doc)
}

// Read reads a document that [Parse] takes, without that proof. Schemas are
// compiled when they are needed.
func Read(data []byte) (*Document, error) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	doc, ok := value.(object)
	if !ok {
		return nil, errors.New("the document is not an object")
	}
	d := &Document{doc: doc, compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	d.compiler.AssertContent()
	for _, format := range numberFormats() {
		d.compiler.RegisterFormat(format)
	}
	if err := d.compiler.AddResource(root, doc); err != nil {
		return nil, err
	}
	paths, _ := doc["paths"].(object)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		pattern := parameter.ReplaceAllString(regexp.QuoteMeta(path), "[^/]*")
		item, _ := paths[path].(object)
		d.routes = append(d.routes, route{path, regexp.MustCompile("^" + pattern + "$"), item})
	}
	// A path without parameters comes before one with them.
	slices.SortStableFunc(d.routes, func(a, b route) int {
		return strings.Count(a.path, "{") - strings.Count(b.path, "{")
	})
	return d, nil
}

// walk compiles every schema of the document and validates every example.
func (d *Document) walk(pointer string, v any) error {
	var faults []error
	switch v := v.(type) {
	case object:
		if _, is := v["schema"].(object); is {
			faults = append(faults, d.examples(pointer, v))
		}
		if _, is := v["properties"].(object); is && v["type"] == "object" && v["additionalProperties"] == nil {
			faults = append(faults, fmt.Errorf("%s has properties, and leaves open whether it has others", pointer))
		}
		for name, child := range v {
			if name != "example" && name != "examples" && name != "enum" {
				faults = append(faults, d.walk(pointer+"/"+escape(name), child))
			}
		}
		if strings.Count(pointer, "/") == 3 && strings.HasPrefix(pointer, "#/components/schemas/") {
			_, err := d.schema(pointer)
			faults = append(faults, err)
		}
	case []any:
		for i, child := range v {
			faults = append(faults, d.walk(fmt.Sprintf("%s/%d", pointer, i), child))
		}
	}
	return errors.Join(faults...)
}

// Operation returns the operation of a method and a path of the document, or
// nil.
func (d *Document) Operation(method, path string) map[string]any {
	for _, r := range d.routes {
		if r.path == path {
			operation, _ := r.operations[strings.ToLower(method)].(object)
			return operation
		}
	}
	return nil
}

// Operations returns every operation as its method and path.
func (d *Document) Operations() [][2]string {
	var all [][2]string
	for _, r := range d.routes {
		for _, method := range slices.Sorted(maps.Keys(r.operations)) {
			all = append(all, [2]string{strings.ToUpper(method), r.path})
		}
	}
	return all
}

// examples validates the examples of a parameter, header or media type.
func (d *Document) examples(pointer string, v object) error {
	schema, err := d.schema(pointer + "/schema")
	if err != nil {
		return err
	}
	all := []any{}
	if one, has := v["example"]; has {
		all = append(all, one)
	}
	named, _ := v["examples"].(object)
	for _, example := range named {
		if value, has := example.(object)["value"]; has {
			all = append(all, value)
		}
	}
	var faults []error
	for _, example := range all {
		if err := schema.Validate(example); err != nil {
			faults = append(faults, fmt.Errorf("%s: the example does not fit: %w", pointer, err))
		}
	}
	return errors.Join(faults...)
}

// schema compiles the schema at a pointer, once.
func (d *Document) schema(pointer string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.schemas[pointer]; s != nil {
		return s, nil
	}
	s, err := d.compiler.Compile(root + pointer)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", pointer, err)
	}
	d.schemas[pointer] = s
	return s, nil
}

// escape writes a name as part of a JSON pointer in a URL's fragment.
func escape(name string) string {
	name = strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	return strings.NewReplacer("%", "%25", "{", "%7B", "}", "%7D", "*", "%2A", ";", "%3B").Replace(name)
}

// find returns the operation of a request with its pointer, and the methods
// that its path has; no methods: there is no such path.
func (d *Document) find(method, path string) (pointer string, operation object, methods []string) {
	method = strings.ToLower(method)
	if method == "head" {
		method = "get"
	}
	for _, r := range d.routes {
		if !r.match.MatchString(path) {
			continue
		}
		if operation, ok := r.operations[method].(object); ok {
			return "#/paths/" + escape(r.path) + "/" + method, operation, []string{method}
		}
		methods = append(methods, slices.Sorted(maps.Keys(r.operations))...)
	}
	return "", nil, methods
}

// mediaType is a Content-Type without its parameters.
func mediaType(contentType string) string {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return contentType
	}
	return t
}
