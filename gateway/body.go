package gateway

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
	"github.com/go-json-experiment/json"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// maxFieldBytes bounds a multipart field that is not an image.
const maxFieldBytes = 4096

// Parts of an answer that have to be asked for.
const (
	includeEmbedding = "embedding"
	includeViews     = "views"
	includeArms      = "all_arms" // of an experiment; needs the scope admin
)

// includes are all of them.
var includes = []string{includeEmbedding, includeViews, includeArms}

// batch is what a body of any of the three forms asks for.
type batch struct {
	items       []scoring.Item
	checkpoints []string
	aspects     []string // TASK or TASK=CHECKPOINT
	include     []string
	omit        []string
	preprocess  quality.PreprocessMode // empty: not asked for
}

// mode joins the body's wish with the query's.
func (b batch) mode(query string) (quality.PreprocessMode, error) {
	asked := quality.PreprocessMode(query)
	switch {
	case asked == "":
		return b.preprocess, nil
	case b.preprocess != "" && b.preprocess != asked:
		return "",
			quality.Errorf(quality.KindBadRequest, "preprocess is %s in the query and %s in the body", asked, b.preprocess)
	}
	return asked, nil
}

// name adds the checkpoints or aspects that a field names, with commas between
// them.
func (b *batch) name(field, text string) error {
	names := splitNames(text)
	switch {
	case len(names) == 0 && field == "aspects":
		return quality.Errorf(quality.KindBadRequest, "aspects is empty; name a task or leave it out")
	case len(names) == 0:
		return quality.Errorf(quality.KindBadRequest, "%s is empty; name a checkpoint or leave it out", field)
	case field == "aspects":
		b.aspects = append(b.aspects, names...)
	default:
		b.checkpoints = append(b.checkpoints, names...)
	}
	return nil
}

// bodyReader reads the three forms of a scoring body: one raw image,
// multipart/form-data, and JSON with base64.
type bodyReader struct {
	maxImages     int
	maxImageBytes int64
	registry      huma.Registry // knows the schema of ScoreRequest
	schema        *huma.Schema
	text          jsonText
	form          *huma.Schema // of multipart/form-data
	fields        []string     // its properties
}

func newBodyReader(maxImages int, maxImageBytes int64, registry huma.Registry) *bodyReader {
	names := func(what string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Description: what + ", with commas between them or in a field each"}
	}
	r := &bodyReader{
		maxImages: maxImages, maxImageBytes: maxImageBytes, registry: registry, text: newJSONText(maxImages),
		schema: registry.Schema(reflect.TypeFor[ScoreRequest](), true, "ScoreRequest"),
		form: &huma.Schema{
			Type: huma.TypeObject,
			Properties: map[string]*huma.Schema{
				imageField: {
					Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString, Format: "binary"},
					Description: "One or more image files. The names " + strings.Join(imageAliases, ", ") + " mean the same",
				},
				"checkpoint":  names("Names of checkpoints"),
				"checkpoints": names("As checkpoint; both count"),
				"aspects":     names("Tasks to score, or TASK=CHECKPOINT"),
				"include":     names("Further parts of the answer"),
				"omit":        names("Parts of the answer to leave out: interval, distribution"),
				promptField: {
					Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString},
					Description: "The prompt that each image was made from, in the order of the images, or one for all of them. " +
						"For checkpoints that read prompts",
				},
				"preprocess": {Type: huma.TypeString, Enum: []any{string(quality.Exact), string(quality.Fast)}},
			},
			Required: []string{imageField}, AdditionalProperties: false,
		},
	}
	for name := range r.form.Properties {
		r.fields = append(r.fields, name)
	}
	slices.Sort(r.fields)
	return r
}

// imageField is the multipart field with an image. The aliases are what HTTP
// clients and web forms call a file by habit.
const imageField = "image"

var imageAliases = []string{"images", "image[]", "images[]", "file", "files", "file[]"}

// read parses body, and reuses its memory for the images in it. account is
// charged for what parsing takes besides. A fault of a single image stays with its item; everything
// else is the error of the request: bad_request, payload_too_large,
// json_too_deep, invalid_utf8, unknown_field, unsupported_media_type, overloaded.
func (r *bodyReader) read(
	contentType, contentEncoding string, body []byte, account func(n int64) error,
) (batch, error) {
	if contentEncoding != "" && !strings.EqualFold(contentEncoding, "identity") {
		return batch{}, quality.Errorf(quality.KindUnsupportedMediaType, "Content-Encoding is not supported; send the "+
			"body without it, images are compressed already")
	}
	mediaType, params, err := mediaTypeOf(contentType, body)
	if err != nil {
		return batch{}, err
	}
	switch {
	case mediaType == "application/octet-stream", strings.HasPrefix(mediaType, "image/"):
		return batch{items: []scoring.Item{r.item("0", body)}}, nil
	case mediaType == "multipart/form-data":
		return r.multipart(body, params["boundary"])
	case mediaType == "application/json" && !isUTF8(params):
		return batch{}, errCharset
	case mediaType == "application/json":
		return r.json(body, account)
	}
	return batch{}, quality.Errorf(quality.KindUnsupportedMediaType, "unsupported Content-Type %s; %s",
		quality.Quote(mediaType), acceptedTypes)
}

const (
	formType      = "application/x-www-form-urlencoded"
	acceptedTypes = "send image/*, application/octet-stream, multipart/form-data or application/json"
)

var errCharset = quality.Errorf(quality.KindUnsupportedMediaType,
	"text is read as UTF-8 only; send it so, without another charset")

// mediaTypeOf parses the Content-Type. Where it is missing, or is the one that
// curl sends unless told otherwise, the first bytes decide whether the body is
// an image. They never make it JSON or multipart: a web page may send a body
// without a Content-Type to another site without asking first.
func mediaTypeOf(contentType string, body []byte) (mediaType string, params map[string]string, err error) {
	if contentType != "" {
		if mediaType, params, err = mime.ParseMediaType(contentType); err != nil {
			return "", nil, quality.Errorf(quality.KindUnsupportedMediaType, "invalid Content-Type %s; %s",
				quality.Quote(contentType), acceptedTypes)
		}
	}
	if mediaType != "" && mediaType != formType {
		return mediaType, params, nil
	}
	const raw = "application/octet-stream"
	start := bytes.TrimLeft(bytes.TrimPrefix(body, byteOrderMark), " \t\r\n")
	wanted := ""
	switch {
	case strings.HasPrefix(http.DetectContentType(body), "image/"):
		return raw, nil, nil
	case bytes.HasPrefix(start, []byte("{")):
		wanted = "the body looks like JSON: send it with Content-Type: application/json"
	case bytes.HasPrefix(start, []byte("--")):
		wanted = "the body looks like multipart/form-data: send that Content-Type, with the boundary"
	case mediaType == "":
		return raw, nil, nil // image preparation says what it is not
	default:
		wanted = acceptedTypes
	}
	if mediaType == "" {
		return "", nil, quality.Errorf(quality.KindUnsupportedMediaType, "the header Content-Type is missing; %s", wanted)
	}
	return "", nil, quality.Errorf(quality.KindUnsupportedMediaType,
		"Content-Type %s is not accepted (curl sends it unless -H sets another) and the body is not an image; %s", mediaType,
		wanted)
}

// byteOrderMark may stand before UTF-8. Windows tools write it.
var byteOrderMark = []byte("\xef\xbb\xbf")

func (r *bodyReader) item(id string, data []byte) scoring.Item {
	if int64(len(data)) > r.maxImageBytes {
		return scoring.Item{ID: id, Err: r.tooLarge()}
	}
	return scoring.Item{ID: id, Data: data}
}

func (r *bodyReader) tooLarge() error {
	return quality.Errorf(quality.KindPayloadTooLarge, "the image is larger than %d bytes", r.maxImageBytes)
}

func (r *bodyReader) tooMany() error {
	return quality.Errorf(quality.KindPayloadTooLarge, "more than %d images in one request", r.maxImages)
}

// leadingBoundary returns the boundary that a multipart body begins with, or
// "". Clients that openapi-python-client before 0.29 generated, and everybody
// who sets the Content-Type of a form by hand, send none in the header.
func leadingBoundary(body []byte) string {
	const longest = 70 // RFC 2046, 5.1.1
	line, _, found := bytes.Cut(body[:min(len(body), len("--\r\n")+longest)], []byte("\n"))
	boundary, dashes := bytes.CutPrefix(bytes.TrimRight(line, "\r"), []byte("--"))
	if !found || !dashes {
		return ""
	}
	return string(boundary)
}

// multipart reads images (see imageField) and text fields. Nothing is ever
// written to disk.
func (r *bodyReader) multipart(body []byte, boundary string) (batch, error) {
	if boundary = cmp.Or(boundary, leadingBoundary(body)); boundary == "" {
		return batch{}, quality.Errorf(quality.KindBadRequest,
			"multipart/form-data without a boundary: leave the Content-Type to the library that writes the form")
	}
	var b batch
	var prompts []string
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	free := body // the parts' contents are moved together at its beginning
	for n := 0; ; n++ {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return batch{}, quality.Errorf(quality.KindBadRequest, "the multipart body is malformed").Because(err)
		}
		if n >= r.maxImages+64 {
			return batch{}, r.tooMany()
		}
		if err := r.part(&b, &prompts, part, &free); err != nil {
			return batch{}, err
		}
	}
	if len(b.items) == 0 {
		return batch{}, quality.Errorf(quality.KindBadRequest, "the multipart body has no part named image")
	}
	return b, b.formPrompts(prompts)
}

// readPart reads at most limit bytes of a part to the beginning of free, which
// is in the memory that the part is read from. What is there was read before:
// every part has a header, so that writing never overtakes reading.
func readPart(part io.Reader, limit int64, free *[]byte) ([]byte, error) {
	room := (*free)[:min(int64(len(*free)), limit)]
	n := 0
	for n < len(room) {
		m, err := part.Read(room[n:])
		n += m
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	*free = (*free)[n:]
	return room[:n:n], nil
}

func (r *bodyReader) part(b *batch, prompts *[]string, part *multipart.Part, free *[]byte) error {
	name, err := partName(part)
	if err != nil {
		return err
	}
	limit := int64(maxFieldBytes)
	if slices.Contains(imageAliases, name) {
		name = imageField
	}
	switch {
	case name == imageField && len(b.items) >= r.maxImages:
		return r.tooMany()
	case name == imageField:
		limit = r.maxImageBytes
	case !slices.Contains(r.fields, name):
		return r.unknownPart(part)
	}
	data, err := readPart(part, limit+1, free)
	if err != nil {
		return quality.Errorf(quality.KindBadRequest, "the multipart body ends in the middle of a part").Because(err)
	}
	if name != imageField && int64(len(data)) > limit {
		return quality.Errorf(quality.KindPayloadTooLarge,
			"the multipart field %s is longer than %d bytes", name, maxFieldBytes)
	}
	if name != imageField && !utf8.Valid(data) {
		return quality.Errorf(quality.KindInvalidUTF8, "the multipart field %s is not UTF-8", name)
	}
	switch name {
	case imageField:
		b.items = append(b.items, r.item(partID(part, len(b.items)), data))
	case "checkpoint", "checkpoints", "aspects":
		return b.name(name, string(data))
	case "include":
		return addEnum(&b.include, name, string(data), includes...)
	case promptField:
		if len(data) == 0 {
			return quality.Errorf(quality.KindBadRequest, "%s is empty; give it a text or leave it out", promptField)
		}
		*prompts = append(*prompts, string(data))
	case "omit":
		return addEnum(&b.omit, name, string(data), omitInterval, omitDistribution)
	case "preprocess":
		mode := quality.PreprocessMode(data)
		if !mode.Known() {
			return quality.Errorf(quality.KindBadRequest, "preprocess must be %s or %s", quality.Exact, quality.Fast)
		}
		if b.preprocess != "" && b.preprocess != mode {
			return quality.Errorf(quality.KindBadRequest, "preprocess is both %s and %s in the body", b.preprocess, mode)
		}
		b.preprocess = mode
	}
	return nil
}

// addEnum adds the values of a field, each of which must be one of known.
func addEnum(to *[]string, field, text string, known ...string) error {
	for _, value := range splitNames(text) {
		if !slices.Contains(known, value) {
			return quality.Errorf(quality.KindBadRequest, "%s must be one of %s", field, strings.Join(known, ", "))
		}
		*to = append(*to, value)
	}
	return nil
}

// unknownPart names a part that means nothing here, and the name that was
// likely meant.
func (r *bodyReader) unknownPart(part *multipart.Part) error {
	name := part.FormName()
	switch {
	case name == "":
		return quality.Errorf(quality.KindUnknownField, "a multipart part has no name; name the images %s", imageField)
	case part.FileName() != "":
		return quality.Errorf(quality.KindUnknownField, "unknown multipart file %s; name the images %s",
			quality.Quote(name), imageField)
	}
	return quality.Errorf(quality.KindUnknownField, "unknown multipart field %s; %s",
		quality.Quote(name), suggestion(name, r.fields))
}

// partID is the part's file name where that is a plain one, otherwise its
// position.
func partID(part *multipart.Part, position int) string {
	name := part.FileName()
	plain := name != "" && len(name) <= 256 && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
	if !plain {
		return strconv.Itoa(position)
	}
	return name
}

func splitNames(s string) []string {
	var names []string
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// splitEach splits every text of a list.
func splitEach(texts []string) []string {
	var names []string
	for _, text := range texts {
		names = append(names, splitNames(text)...)
	}
	return names
}

// json checks the text, then the schema that the OpenAPI document shows, then
// reads it.
func (r *bodyReader) json(body []byte, account func(n int64) error) (batch, error) {
	body = bytes.TrimPrefix(body, byteOrderMark)
	if !utf8.Valid(body) {
		return batch{}, r.text.check(body)
	}
	short, err := condense(body, r.maxImages)
	if err != nil {
		return batch{}, err
	}
	if err := account(textCost * int64(len(short.text))); err != nil {
		return batch{}, err
	}
	if err := r.text.checkAt(short.text, short.position); err != nil {
		return batch{}, err
	}
	var value any
	if err := json.Unmarshal(short.text, &value); err != nil {
		return batch{}, quality.Errorf(quality.KindBadRequest, "the JSON body cannot be read").Because(err)
	}
	if err := short.stray(value); err != nil {
		return batch{}, err
	}
	if err := r.validate(value); err != nil {
		return batch{}, err
	}
	var request ScoreRequest
	err = json.Unmarshal(short.text, &request, json.RejectUnknownMembers(true))
	switch {
	case err != nil:
		return batch{}, quality.Errorf(quality.KindBadRequest, "the JSON body does not match its schema").Because(err)
	case len(request.Images) == 0:
		return batch{}, quality.Errorf(quality.KindBadRequest, "the JSON body has no images")
	}
	if len(request.Images) > r.maxImages {
		return batch{}, r.tooMany()
	}
	b := batch{include: request.Include, omit: request.Omit, preprocess: quality.PreprocessMode(request.Preprocess)}
	for _, field := range []struct {
		name  string
		texts CheckpointNames
	}{{"checkpoint", request.Checkpoint}, {"checkpoints", request.Checkpoints}, {"aspects", request.Aspects}} {
		for _, text := range field.texts {
			if err := b.name(field.name, text); err != nil {
				return batch{}, err
			}
		}
	}
	for i, input := range request.Images {
		item, err := r.input(input, i, short)
		if err != nil {
			return batch{}, err
		}
		b.items = append(b.items, withPrompt(item, input.Prompt))
	}
	return b, nil
}

// checkNames checks the text and the names of a body whose values have a reader
// of their own.
func (r *bodyReader) checkNames(body []byte, schema *huma.Schema) error {
	if err := r.text.check(body); err != nil {
		return err
	}
	var value any
	if err := json.Unmarshal(bytes.TrimPrefix(body, byteOrderMark), &value); err != nil {
		return quality.Errorf(quality.KindBadRequest, "the JSON body cannot be read").Because(err)
	}
	unknown := slices.DeleteFunc(r.faults(value, schema), func(err error) bool {
		d, ok := errors.AsType[*huma.ErrorDetail](err)
		return !ok || d.Message != validation.MsgUnexpectedProperty
	})
	if len(unknown) == 0 {
		return nil
	}
	return r.text.invalidBody(r.registry, schema, unknown)
}

// validate holds value against the schema of ScoreRequest and reports every
// fault at once.
func (r *bodyReader) validate(value any) error {
	if faults := r.faults(value, r.schema); len(faults) > 0 {
		return r.text.invalidBody(r.registry, r.schema, faults)
	}
	return nil
}

func (r *bodyReader) faults(value any, schema *huma.Schema) []error {
	path, result := huma.NewPathBuffer([]byte{}, 0), &huma.ValidateResult{}
	path.Push("body")
	huma.Validate(r.registry, schema, path, huma.ModeWriteToServer, value, result)
	return result.Errors
}

// InvalidRequest is a body or a query that does not fit its schema, with every
// fault found.
type InvalidRequest struct {
	Kind   quality.Kind
	Detail string // empty: the first fault of a body
	Fields []ProblemField
}

func (e *InvalidRequest) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return fmt.Sprintf("the body does not fit its schema: %s: %s", e.Fields[0].Location, e.Fields[0].Message)
}

// Unwrap lets [quality.KindOf] see the kind.
func (e *InvalidRequest) Unwrap() error { return quality.Errorf(e.Kind, "%s", e.Error()) }

// input turns an image of a JSON body into an item. The error is that of the
// request.
func (r *bodyReader) input(in ImageInput, position int, short *condensed) (scoring.Item, error) {
	id := in.ID
	if id == "" {
		id = strconv.Itoa(position)
	}
	switch {
	case in.URL != "" && in.Data != "":
		return scoring.Item{ID: id, Err: quality.Errorf(quality.KindBadRequest,
			"an image has either data or url, not both")}, nil
	case in.URL != "":
		return scoring.Item{ID: id, Err: quality.Errorf(quality.KindImageURLForbidden,
			"this server does not fetch URLs; send the image itself")}, nil
	case in.Data == "":
		return scoring.Item{ID: id, Err: quality.Errorf(quality.KindBadRequest, "the image has no data")}, nil
	}
	text, err := short.take(in.Data)
	if err != nil {
		return scoring.Item{}, err
	}
	digits, padding, err := base64Digits(text)
	if err != nil {
		return scoring.Item{ID: id, Err: err}, nil
	}
	if int64(base64.RawStdEncoding.DecodedLen(len(digits))) > r.maxImageBytes {
		return scoring.Item{ID: id, Err: r.tooLarge()}, nil
	}
	data, err := decodeBase64(digits, padding)
	if err != nil {
		return scoring.Item{ID: id, Err: err}, nil
	}
	return r.item(id, data), nil
}
