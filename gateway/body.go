package gateway

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// maxJSONDepth is far above what a valid body needs (4).
const maxJSONDepth = 16

// maxFaults bounds how many faults of one body are told.
const maxFaults = 20

// maxFieldBytes bounds a multipart field that is not an image.
const maxFieldBytes = 4096

// Parts of an answer that have to be asked for.
const (
	includeEmbedding = "embedding"
	includeArms      = "all_arms" // of an experiment; wants the admin key
)

// batch is what a body of any of the three forms asks for.
type batch struct {
	items       []scoring.Item
	checkpoints []string
	include     []string
	preprocess  quality.PreprocessMode // empty: not asked for
}

// mode joins the body's wish with the query's.
func (b batch) mode(query string) (quality.PreprocessMode, error) {
	asked := quality.PreprocessMode(query)
	switch {
	case asked == "":
		return b.preprocess, nil
	case b.preprocess != "" && b.preprocess != asked:
		return "", quality.Errorf(quality.KindBadRequest, "preprocess is %s in the query and %s in the body", asked, b.preprocess)
	}
	return asked, nil
}

// bodyReader reads the three forms of a scoring body: one raw image,
// multipart/form-data, and JSON with base64.
type bodyReader struct {
	maxImages     int
	maxImageBytes int64
	registry      huma.Registry // knows the schema of ScoreRequest
	schema        *huma.Schema
}

// read parses body. A fault of a single image stays with its item; everything
// else is the error of the request: bad_request, payload_too_large,
// json_too_deep, invalid_utf8, unknown_field, unsupported_media_type.
func (r *bodyReader) read(contentType, contentEncoding string, body []byte) (batch, error) {
	if contentEncoding != "" && !strings.EqualFold(contentEncoding, "identity") {
		return batch{}, quality.Errorf(quality.KindUnsupportedMediaType, "bodies with a Content-Encoding are not accepted; images are compressed already")
	}
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return batch{}, quality.Errorf(quality.KindUnsupportedMediaType, "the Content-Type cannot be parsed")
	}
	switch {
	case mediaType == "application/octet-stream", strings.HasPrefix(mediaType, "image/"):
		return batch{items: []scoring.Item{r.item("0", body)}}, nil
	case mediaType == "multipart/form-data":
		return r.multipart(body, params["boundary"])
	case mediaType == "application/json":
		return r.json(body)
	}
	return batch{}, quality.Errorf(quality.KindUnsupportedMediaType,
		"Content-Type must be image/*, application/octet-stream, multipart/form-data or application/json")
}

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

// multipart reads parts named image, and the fields checkpoint, checkpoints,
// include and preprocess. Nothing is ever written to disk.
func (r *bodyReader) multipart(body []byte, boundary string) (batch, error) {
	if boundary == "" {
		return batch{}, quality.Errorf(quality.KindBadRequest, "multipart/form-data without a boundary")
	}
	var b batch
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for n := 0; ; n++ {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return batch{}, quality.Errorf(quality.KindBadRequest, "the multipart body cannot be read").Because(err)
		}
		if n >= r.maxImages+64 {
			return batch{}, r.tooMany()
		}
		if err := r.part(&b, part); err != nil {
			return batch{}, err
		}
	}
	if len(b.items) == 0 {
		return batch{}, quality.Errorf(quality.KindBadRequest, "the multipart body has no part named image")
	}
	return b, nil
}

func (r *bodyReader) part(b *batch, part *multipart.Part) error {
	name, limit := part.FormName(), int64(maxFieldBytes)
	if name == "image" {
		if len(b.items) >= r.maxImages {
			return r.tooMany()
		}
		limit = r.maxImageBytes
	}
	data, err := io.ReadAll(io.LimitReader(part, limit+1))
	if err != nil {
		return quality.Errorf(quality.KindBadRequest, "the multipart body ends in the middle of a part").Because(err)
	}
	if name != "image" && int64(len(data)) > limit {
		return quality.Errorf(quality.KindPayloadTooLarge, "a multipart field is longer than %d bytes", maxFieldBytes)
	}
	if name != "image" && !utf8.Valid(data) {
		return quality.Errorf(quality.KindInvalidUTF8, "a multipart field is not UTF-8")
	}
	switch name {
	case "image":
		b.items = append(b.items, r.item(partID(part, len(b.items)), data))
	case "checkpoint", "checkpoints":
		b.checkpoints = append(b.checkpoints, splitNames(string(data))...)
	case "include":
		for _, name := range splitNames(string(data)) {
			if name != includeEmbedding && name != includeArms {
				return quality.Errorf(quality.KindBadRequest, "include knows only %s and %s", includeEmbedding, includeArms)
			}
			b.include = append(b.include, name)
		}
	case "preprocess":
		mode := quality.PreprocessMode(data)
		if !mode.Known() || b.preprocess != "" && b.preprocess != mode {
			return quality.Errorf(quality.KindBadRequest, "preprocess is either %s or %s", quality.Exact, quality.Fast)
		}
		b.preprocess = mode
	default:
		return quality.Errorf(quality.KindUnknownField, "unknown multipart field; known are image, checkpoint, checkpoints, include and preprocess")
	}
	return nil
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

// json checks the text (UTF-8, syntax, depth, no name twice), then the schema
// that the OpenAPI document shows, then reads it.
func (r *bodyReader) json(body []byte) (batch, error) {
	if err := r.checkJSON(body); err != nil {
		return batch{}, err
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return batch{}, quality.Errorf(quality.KindBadRequest, "the JSON body cannot be read").Because(err)
	}
	if err := r.validate(value); err != nil {
		return batch{}, err
	}
	var request ScoreRequest
	err := json.Unmarshal(body, &request, json.RejectUnknownMembers(true))
	switch {
	case errors.Is(err, json.ErrUnknownName): // huma's validation does not mind the case of names
		return batch{}, quality.Errorf(quality.KindUnknownField, "the JSON body has a name that is not known; names are in lower case").Because(err)
	case err != nil:
		return batch{}, quality.Errorf(quality.KindBadRequest, "the JSON body does not fit its schema").Because(err)
	case len(request.Images) == 0:
		return batch{}, quality.Errorf(quality.KindBadRequest, "the JSON body has no images")
	}
	if len(request.Images) > r.maxImages {
		return batch{}, r.tooMany()
	}
	b := batch{checkpoints: request.Checkpoints, include: request.Include, preprocess: quality.PreprocessMode(request.Preprocess)}
	if request.Checkpoint != "" {
		b.checkpoints = append([]string{request.Checkpoint}, b.checkpoints...)
	}
	for i, input := range request.Images {
		b.items = append(b.items, r.input(input, i))
	}
	return b, nil
}

// maxTokens is well above what a body with r.maxImages images needs. Three
// bytes of text can cost a hundred in memory, so the bound comes before any
// value is built.
func (r *bodyReader) maxTokens() int { return 1024 + 16*r.maxImages }

func (r *bodyReader) checkJSON(body []byte) error {
	if !utf8.Valid(body) {
		return quality.Errorf(quality.KindInvalidUTF8, "the JSON body is not UTF-8")
	}
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	for n := 0; ; n++ {
		_, err := dec.ReadToken()
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case n >= r.maxTokens():
			return quality.Errorf(quality.KindPayloadTooLarge, "the JSON body holds far more values than %d images need", r.maxImages)
		case errors.Is(err, jsontext.ErrDuplicateName):
			return quality.Errorf(quality.KindBadRequest, "a name appears twice in a JSON object").Because(err)
		case err != nil:
			return quality.Errorf(quality.KindBadRequest, "the body is not valid JSON (byte %d)", dec.InputOffset()).Because(err)
		case dec.StackDepth() > maxJSONDepth:
			return quality.Errorf(quality.KindJSONTooDeep, "the JSON body is nested deeper than %d", maxJSONDepth)
		case dec.StackDepth() == 0 && dec.InputOffset() < int64(len(bytes.TrimRight(body, " \t\r\n"))):
			return quality.Errorf(quality.KindBadRequest, "something follows the JSON value")
		}
	}
}

// validate holds value against the schema of ScoreRequest and reports every
// fault at once.
func (r *bodyReader) validate(value any) error {
	path, result := huma.NewPathBuffer([]byte{}, 0), &huma.ValidateResult{}
	path.Push("body")
	huma.Validate(r.registry, r.schema, path, huma.ModeWriteToServer, value, result)
	if len(result.Errors) == 0 {
		return nil
	}
	invalid := &InvalidBody{Kind: quality.KindBadRequest}
	if len(result.Errors) > maxFaults {
		result.Errors = result.Errors[:maxFaults]
	}
	for _, err := range result.Errors {
		d, ok := errors.AsType[*huma.ErrorDetail](err)
		if !ok {
			d = &huma.ErrorDetail{Location: "body", Message: "does not fit the schema"}
		}
		if d.Message == "unexpected property" {
			invalid.Kind = quality.KindUnknownField
		}
		invalid.Fields = append(invalid.Fields, ProblemField{Location: clip(d.Location, 128), Message: clip(d.Message, 256)})
	}
	return invalid
}

// InvalidBody is a body that does not fit its schema, with every fault found.
type InvalidBody struct {
	Kind   quality.Kind
	Fields []ProblemField
}

func (e *InvalidBody) Error() string {
	return fmt.Sprintf("the body does not fit its schema: %s: %s", e.Fields[0].Location, e.Fields[0].Message)
}

// Unwrap lets [quality.KindOf] see the kind.
func (e *InvalidBody) Unwrap() error { return quality.Errorf(e.Kind, "%s", e.Error()) }

func (r *bodyReader) input(in ImageInput, position int) scoring.Item {
	id := in.ID
	if id == "" {
		id = strconv.Itoa(position)
	}
	switch {
	case in.URL != "" && in.Data != "":
		return scoring.Item{ID: id, Err: quality.Errorf(quality.KindBadRequest, "an image has either data or url, not both")}
	case in.URL != "":
		return scoring.Item{ID: id, Err: quality.Errorf(quality.KindImageURLForbidden, "this server fetches no URLs; send the image itself")}
	case in.Data == "":
		return scoring.Item{ID: id, Err: quality.Errorf(quality.KindBadRequest, "an image needs data")}
	case int64(base64.StdEncoding.DecodedLen(len(in.Data)))-2 > r.maxImageBytes:
		return scoring.Item{ID: id, Err: r.tooLarge()}
	}
	data, err := base64.StdEncoding.Strict().DecodeString(in.Data)
	if err != nil {
		return scoring.Item{ID: id, Err: quality.Errorf(quality.KindBadBase64, "data is not base64 (standard alphabet, padded)").Because(err)}
	}
	return r.item(id, data)
}
