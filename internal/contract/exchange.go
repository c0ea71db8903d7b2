package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Exchange is a request, as far as it matters, and its answer.
type Exchange struct {
	Method string
	Path   string // escaped, without the query
	Status int
	Header http.Header
	Body   []byte
}

// transport are headers that need no description: HTTP's own.
var transport = []string{
	"Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Connection", "Date", "Vary", "Etag",
	"Last-Modified", "Accept-Ranges", "Trailer", "Keep-Alive",
	// Of sharing between origins, as a setting allows it.
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Allow-Credentials",
}

// Check returns everything in which an exchange differs from the document, or
// nil.
func (d *Document) Check(x Exchange) error {
	faults := d.check(x)
	if faults == nil {
		return nil
	}
	return fmt.Errorf("%s %s answers %d, contrary to the document: %w\n%.2000s",
		x.Method, x.Path, x.Status, faults, x.Body)
}

func (d *Document) check(x Exchange) error {
	vary := strings.Join(x.Header.Values("Vary"), ",")
	if x.Method == http.MethodOptions && x.Status == http.StatusNoContent && len(x.Body) == 0 &&
		strings.Contains(vary, "Access-Control-Request-Method") {
		return nil // to a browser that asks before it sends
	}
	pointer, operation, methods := d.find(x.Method, x.Path)
	if operation == nil {
		return d.checkUnknown(x, methods)
	}
	status := strconv.Itoa(x.Status)
	responses, _ := operation["responses"].(object)
	response, ok := responses[status].(object)
	if !ok {
		return fmt.Errorf("status %s is not documented", status)
	}
	pointer += "/responses/" + status
	faults := []error{d.checkHeaders(pointer, response, x.Header)}
	content, _ := response["content"].(object)
	return errors.Join(append(faults, d.checkBody(pointer, content, x))...)
}

// checkUnknown checks the answer to a request for which there is no
// operation: a problem, and one of those that come before any operation.
func (d *Document) checkUnknown(x Exchange, methods []string) error {
	allowed := []int{http.StatusNotFound, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable,
		http.StatusMisdirectedRequest, http.StatusForbidden}
	if len(methods) > 0 {
		allowed[0] = http.StatusMethodNotAllowed
	}
	if !slices.Contains(allowed, x.Status) {
		return fmt.Errorf("the document has no such operation (its methods there: %v)", methods)
	}
	var faults []error
	if x.Status == http.StatusMethodNotAllowed && x.Header.Get("Allow") == "" {
		faults = append(faults, errors.New("no Allow header"))
	}
	if got := x.Header.Get("Content-Type"); got != "application/problem+json" {
		faults = append(faults, fmt.Errorf("Content-Type %q", got))
	}
	if x.Method != http.MethodHead {
		faults = append(faults, d.checkJSON("#/components/schemas/Problem", x.Body))
	}
	return errors.Join(faults...)
}

func (d *Document) checkHeaders(pointer string, response object, sent http.Header) error {
	described, _ := response["headers"].(object)
	var faults []error
	known := slices.Clone(transport)
	for name, header := range described {
		known = append(known, http.CanonicalHeaderKey(name))
		at := pointer + "/headers/" + escape(name)
		h, _ := header.(object)
		if ref, is := h["$ref"].(string); is {
			at = ref
			h, _ = d.at(ref).(object)
		}
		value, has := sent[http.CanonicalHeaderKey(name)]
		switch {
		case !has && h["required"] == true:
			faults = append(faults, fmt.Errorf("header %s is missing", name))
		case has:
			faults = append(faults, d.checkHeader(at, name, h, strings.Join(value, ", ")))
		}
	}
	for name := range sent {
		if !slices.Contains(known, name) {
			faults = append(faults, fmt.Errorf("header %s is not documented", name))
		}
	}
	return errors.Join(faults...)
}

func (d *Document) checkHeader(pointer, name string, header object, value string) error {
	schema, err := d.schema(pointer + "/schema")
	if err != nil {
		return err
	}
	var v any = value
	if s, _ := header["schema"].(object); s["type"] == "integer" {
		v = json.Number(value)
	}
	if err := schema.Validate(v); err != nil {
		return fmt.Errorf("header %s is %q: %w", name, value, err)
	}
	return nil
}

func (d *Document) checkBody(pointer string, content object, x Exchange) error {
	if x.Method == http.MethodHead {
		return nil
	}
	got := mediaType(x.Header.Get("Content-Type"))
	if len(content) == 0 {
		if len(x.Body) > 0 {
			return errors.New("a body is sent and none is documented")
		}
		return nil
	}
	for documented, media := range content {
		if mediaType(documented) != got {
			continue
		}
		at := pointer + "/content/" + escape(documented) + "/schema"
		m, _ := media.(object)
		if got == "application/json" || strings.HasSuffix(got, "+json") {
			if m["schema"] == nil {
				return nil
			}
			return d.checkJSON(at, x.Body)
		}
		if s, _ := m["schema"].(object); s["contentMediaType"] != nil || s["format"] == "binary" {
			if len(x.Body) == 0 {
				return errors.New("the body is empty")
			}
			return nil
		}
		schema, err := d.schema(at)
		if err != nil {
			return err
		}
		return schema.Validate(string(x.Body))
	}
	return fmt.Errorf("Content-Type %q is not documented", x.Header.Get("Content-Type"))
}

func (d *Document) checkJSON(pointer string, body []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	schema, err := d.schema(pointer)
	if err != nil {
		return err
	}
	return errors.Join(schema.Validate(v), texts(v))
}

// goType matches what Go calls its types, which callers have no use for.
var goType = regexp.MustCompile(`\b(struct|u?int(8|16|32|64)|float(32|64)|Go)\b|\[\]\*?\w|\bmap\[|\b[a-z]+\.[A-Z]\w+`)

// texts looks for names of Go types in every problem, the whole answer or a
// part of it.
func texts(v any) error {
	var faults []error
	switch v := v.(type) {
	case object:
		_, problem := v["code"].(string)
		for name, child := range v {
			if problem && (name == "title" || name == "detail" || name == "errors") {
				faults = append(faults, words(child))
				continue
			}
			faults = append(faults, texts(child))
		}
	case []any:
		for _, child := range v {
			faults = append(faults, texts(child))
		}
	}
	return errors.Join(faults...)
}

func words(v any) error {
	var faults []error
	switch v := v.(type) {
	case string:
		if found := goType.FindString(v); found != "" {
			return fmt.Errorf("a problem says %q, and %q is a word of Go", v, found)
		}
	case object: // an entry of errors, whose location is the caller's own text
		return words(v["message"])
	case []any:
		for _, child := range v {
			faults = append(faults, words(child))
		}
	}
	return errors.Join(faults...)
}

// at follows a pointer within the document.
func (d *Document) at(pointer string) any {
	var v any = d.doc
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "#/"), "/") {
		o, _ := v.(object)
		v = o[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	return v
}
